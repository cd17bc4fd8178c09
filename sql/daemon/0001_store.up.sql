-- The store of betweenrowsd: what is wanted in each database it manages. What is there is in the databases themselves.
--
-- Every change of a table that a policy document is computed from goes with a row of admin_audit and a higher
-- sync_states.requested, in the same transaction. PostgreSQL 15 or later.

create table settings (
    key text primary key,
    value jsonb not null
);
comment on table settings is 'facts about this store; "store_id" marks the login roles that it created';
insert into settings (key, value) values ('store_id', to_jsonb(gen_random_uuid()));

create table users (
    id uuid primary key default gen_random_uuid(),
    username text collate "C" not null unique,
    is_admin boolean not null default false,
    is_active boolean not null default true,
    email text,
    display_name text,
    attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
    password_hash text,
    login_verifier bytea,
    token_generation integer not null default 1,
    last_login_at timestamptz,
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on column users.password_hash is 'argon2id, for the API; null for a user without a password, who comes from a document';
comment on column users.login_verifier is 'SCRAM-SHA-256 verifier for login roles, sealed';
comment on column users.token_generation is 'tokens of an earlier generation are refused';

create table roles (
    id uuid primary key default gen_random_uuid(),
    name text collate "C" not null unique,
    description text,
    is_active boolean not null default true,
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table role_members (
    role_id uuid not null references roles on delete cascade,
    user_id uuid not null references users on delete cascade,
    created_at timestamptz not null default now(),
    primary key (role_id, user_id)
);
create index on role_members (user_id);

create table role_parents (
    role_id uuid not null references roles on delete cascade,
    parent_id uuid not null references roles on delete cascade,
    created_at timestamptz not null default now(),
    primary key (role_id, parent_id),
    check (role_id <> parent_id)
);
create index on role_parents (parent_id);

create table attribute_definitions (
    id uuid primary key default gen_random_uuid(),
    key text collate "C" not null unique,
    entity_type text not null default 'user' check (entity_type = 'user'),
    display_name text not null,
    value_type text not null check (value_type in ('string', 'integer', 'boolean', 'list')),
    default_value jsonb,
    allowed_values jsonb check (jsonb_typeof(allowed_values) = 'array'),
    required boolean not null default false,
    description text,
    version integer not null default 1,
    created_by uuid,
    updated_by uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table policies (
    id uuid primary key default gen_random_uuid(),
    name text collate "C" not null unique,
    description text,
    policy_type text not null
        check (policy_type in ('row_filter', 'column_mask', 'column_allow', 'column_deny', 'table_deny')),
    targets jsonb not null check (jsonb_typeof(targets) = 'array'),
    definition jsonb check (jsonb_typeof(definition) = 'object'),
    is_enabled boolean not null default true,
    version integer not null default 1,
    created_by uuid,
    updated_by uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table policy_versions (
    policy_id uuid not null,
    version integer not null,
    operation text not null check (operation in ('create', 'update', 'delete')),
    name text not null,
    description text,
    policy_type text not null,
    targets jsonb not null,
    definition jsonb,
    is_enabled boolean not null,
    changed_by uuid,
    changed_at timestamptz not null default now(),
    primary key (policy_id, version)
);
comment on table policy_versions is 'every version of every policy, deleted ones included; append-only';

create table data_sources (
    id uuid primary key default gen_random_uuid(),
    name text collate "C" not null unique,
    ds_type text not null default 'postgres' check (ds_type = 'postgres'),
    host text not null,
    port integer not null check (port between 1 and 65535),
    database text not null,
    username text not null,
    password bytea,
    sslmode text not null check (sslmode in ('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full')),
    ssl_root_cert text,
    is_active boolean not null default true,
    access_mode text not null check (access_mode in ('open', 'policy_required')),
    drift text not null default 'repair' check (drift in ('repair', 'keep')),
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on column data_sources.password is 'sealed';
comment on column data_sources.drift is 'what happens to managed objects that somebody changed in the database';

create table data_source_users (
    data_source_id uuid not null references data_sources on delete cascade,
    user_id uuid not null references users on delete cascade,
    primary key (data_source_id, user_id)
);
create index on data_source_users (user_id);

create table data_source_roles (
    data_source_id uuid not null references data_sources on delete cascade,
    role_id uuid not null references roles on delete cascade,
    primary key (data_source_id, role_id)
);
create index on data_source_roles (role_id);

create table policy_assignments (
    id uuid primary key default gen_random_uuid(),
    policy_id uuid not null references policies on delete cascade,
    data_source_id uuid not null references data_sources on delete cascade,
    user_id uuid references users on delete cascade,
    role_id uuid references roles on delete cascade,
    priority integer not null default 100,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique nulls not distinct (policy_id, data_source_id, user_id, role_id),
    check (user_id is null or role_id is null)
);
create index on policy_assignments (data_source_id);
create index on policy_assignments (user_id) where user_id is not null;
create index on policy_assignments (role_id) where role_id is not null;

create table sync_states (
    data_source_id uuid primary key references data_sources on delete cascade,
    requested bigint not null default 1,
    done bigint not null default 0,
    state text not null default 'pending' check (state in ('pending', 'in_sync', 'partial', 'failed', 'drifted')),
    error text,
    problems jsonb not null default '[]',
    steps jsonb not null default '[]',
    drift jsonb not null default '[]',
    failures integer not null default 0,
    retry_at timestamptz,
    attempted_at timestamptz,
    succeeded_at timestamptz,
    managed jsonb not null default '{}',
    applied_digest text,
    remote_digest text,
    system_identifier text
);
comment on column sync_states.requested is 'grows with every change that concerns the data source';
comment on column sync_states.done is 'the value of requested that is in force there';
comment on column sync_states.problems is 'policies that the database refuses, with what it says; the rest is in force';
comment on column sync_states.managed is 'names of what this store may have created there: only these are ever removed';
comment on column sync_states.applied_digest is 'of the document that was applied last';
comment on column sync_states.remote_digest is 'of the catalog as it was left: another one means that somebody changed it';

create table admin_audit (
    id uuid primary key default gen_random_uuid(),
    seq bigint generated always as identity,
    resource_type text not null,
    resource_id uuid,
    action text not null,
    actor_id uuid,
    actor_name text not null,
    client_address text,
    request_id text,
    changes jsonb not null,
    created_at timestamptz not null default clock_timestamp()
);
create index on admin_audit (created_at);
create index on admin_audit (resource_type, resource_id);
comment on table admin_audit is 'who changed what, before and after; append-only';
comment on column admin_audit.actor_id is 'null for a change made on the command line';

create function append_only() returns trigger language plpgsql as $$
begin
    raise exception 'what % has recorded cannot be changed', tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger append_only before update or delete or truncate on admin_audit
    for each statement execute function append_only();
create trigger append_only before update or delete or truncate on policy_versions
    for each statement execute function append_only();
