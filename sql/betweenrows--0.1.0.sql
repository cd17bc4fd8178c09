\echo Use "CREATE EXTENSION betweenrows" to load this file. \quit

-- The catalog of betweenrows, in the fixed schema of the same name, and the SQL functions that are the only way to change it.
--
-- Every table that decisions depend on has triggers that call touch(), so that each backend hears of a change when it
-- commits. Nobody but the extension's owner may write to the tables: the functions are SECURITY DEFINER, with a pinned
-- search_path, and may be executed by members of betweenrows_admin.

-- Policies, names and attribute values are compared as text in one encoding, the one that every client's text can be
-- converted to without loss.
do $$
begin
    if pg_catalog.getdatabaseencoding() <> 'UTF8' then
        raise exception using
            errcode = 'feature_not_supported',
            message = pg_catalog.format('betweenrows does not support databases with the encoding %s',
                                        pg_catalog.getdatabaseencoding()),
            hint = 'Create it in a database with the encoding UTF8.';
    end if;
end
$$;

-- Roles ------------------------------------------------------------------------------------------------------------

-- Roles belong to the cluster: another database's betweenrows may have created them, or be doing it right now.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['betweenrows_admin', 'betweenrows_auditor'] loop
        if not exists (select from pg_catalog.pg_roles r where r.rolname = wanted) then
            begin
                execute pg_catalog.format('create role %I nologin', wanted);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
end
$$;

-- Tables -----------------------------------------------------------------------------------------------------------

create table betweenrows.users (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    username text collate "C" not null unique check (octet_length(username) between 1 and 63),
    is_active boolean not null default true,
    attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table betweenrows.users is 'who policies can be assigned to: a user is the login role of that name';
comment on column betweenrows.users.attributes is 'values by attribute key, as expressions see them: {user.key}';

create table betweenrows.roles (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    name text collate "C" not null unique check (char_length(name) between 1 and 100),
    description text,
    is_active boolean not null default true,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table betweenrows.roles is 'groups of users; members of the PostgreSQL role of the same name count as members';
comment on column betweenrows.roles.is_active is 'an inactive role grants nothing and cuts off its parents';

create table betweenrows.role_members (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    role_id uuid not null references betweenrows.roles on delete cascade,
    user_id uuid not null references betweenrows.users on delete cascade,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    unique (role_id, user_id)
);
create index on betweenrows.role_members (user_id);
comment on table betweenrows.role_members is 'which users have which roles';

create table betweenrows.role_parents (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    role_id uuid not null references betweenrows.roles on delete cascade,
    parent_id uuid not null references betweenrows.roles on delete cascade,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    unique (role_id, parent_id),
    check (role_id <> parent_id)
);
create index on betweenrows.role_parents (parent_id);
comment on table betweenrows.role_parents is 'role inheritance: what is assigned to the parent holds for members of the role';

create table betweenrows.attribute_definitions (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    key text collate "C" not null unique check (octet_length(key) between 1 and 64),
    value_type text not null check (value_type in ('string', 'integer', 'boolean', 'list')),
    default_value jsonb,
    allowed_values jsonb check (jsonb_typeof(allowed_values) = 'array'),
    required boolean not null default false,
    description text,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table betweenrows.attribute_definitions is 'the attributes that users can have and expressions can use';
comment on column betweenrows.attribute_definitions.required is
    'a statement that needs the attribute is refused when the user has no value and there is no default';

create table betweenrows.decision_functions (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    name text collate "C" not null unique check (char_length(name) between 1 and 100),
    description text,
    source text not null,
    config jsonb not null default '{}' check (jsonb_typeof(config) = 'object'),
    evaluate_context text not null check (evaluate_context in ('session', 'query')),
    on_error text not null check (on_error in ('deny', 'skip')),
    log_level text not null check (log_level in ('off', 'error', 'info')),
    is_enabled boolean not null default true,
    version integer not null default 1 check (version > 0),
    bytecode bytea not null,
    engine text not null,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    updated_by text not null default session_user,
    updated_at timestamptz not null default now()
);
comment on table betweenrows.decision_functions is 'JavaScript that decides whether the policies that refer to it take part';
comment on column betweenrows.decision_functions.bytecode is
    'the source as its engine runs it; a library with another engine compiles the source when it needs it';
comment on column betweenrows.decision_functions.engine is 'checksum of the engine that made the bytecode';

create table betweenrows.policies (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    name text collate "C" not null unique check (char_length(name) between 1 and 100),
    policy_type text not null
        check (policy_type in ('row_filter', 'column_mask', 'column_allow', 'column_deny', 'table_deny')),
    targets jsonb not null check (jsonb_typeof(targets) = 'array'),
    definition jsonb check (jsonb_typeof(definition) = 'object'),
    decision_function_id uuid references betweenrows.decision_functions,
    description text,
    is_enabled boolean not null default true,
    version integer not null default 1 check (version > 0),
    owner text not null default session_user,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    updated_by text not null default session_user,
    updated_at timestamptz not null default now()
);
create index on betweenrows.policies (decision_function_id) where decision_function_id is not null;
comment on table betweenrows.policies is 'what is filtered, masked, allowed or denied';
comment on column betweenrows.policies.targets is 'list of {schemas, tables, columns}: patterns of the relations it governs';
comment on column betweenrows.policies.version is 'grows with every change; see policy_versions';
comment on column betweenrows.policies.owner is
    'role that wrote the expressions: their subqueries read tables with its rights';

create table betweenrows.policy_versions (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    policy_id uuid not null,
    version integer not null,
    name text collate "C" not null,
    policy_type text not null,
    targets jsonb not null,
    definition jsonb,
    decision_function text,
    description text,
    is_enabled boolean not null,
    owner text not null,
    operation text not null check (operation in ('create', 'alter', 'drop')),
    changed_by text not null default session_user,
    changed_at timestamptz not null default now(),
    unique (policy_id, version)
);
create index on betweenrows.policy_versions (name, version);
comment on table betweenrows.policy_versions is 'every version of every policy, dropped ones included; append-only';

create table betweenrows.policy_assignments (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    policy_id uuid not null references betweenrows.policies on delete cascade,
    user_id uuid references betweenrows.users,
    role_id uuid references betweenrows.roles,
    priority integer not null default 100,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    unique nulls not distinct (policy_id, user_id, role_id),
    check (user_id is null or role_id is null)
);
create index on betweenrows.policy_assignments (user_id) where user_id is not null;
create index on betweenrows.policy_assignments (role_id) where role_id is not null;
comment on table betweenrows.policy_assignments is
    'whom a policy applies to: a user, a role, or everyone when neither is named';
comment on column betweenrows.policy_assignments.priority is 'the lower number wins';

create table betweenrows.access_grants (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    user_id uuid references betweenrows.users,
    role_id uuid references betweenrows.roles,
    -- Not generated: information_schema.column_column_usage would show our tables to superusers beside their own.
    grantee uuid not null unique
        check (grantee = coalesce(user_id, role_id, '00000000-0000-0000-0000-000000000000')),
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    check (user_id is null or role_id is null)
);
create index on betweenrows.access_grants (user_id) where user_id is not null;
create index on betweenrows.access_grants (role_id) where role_id is not null;
comment on table betweenrows.access_grants is
    'who may use the database where a grant is required: a user, a role, or everyone when neither is named';
comment on column betweenrows.access_grants.grantee is 'what the grants that may reach a subject are looked up by';

create table betweenrows.catalog_tables (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    schema_name text collate "C" not null check (octet_length(schema_name) between 1 and 63),
    table_name text collate "C" check (octet_length(table_name) between 1 and 63),
    columns jsonb check (jsonb_typeof(columns) = 'array'),
    looked_up text collate "C" not null check (looked_up = schema_name || '.' || coalesce(table_name, '')),
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    unique nulls not distinct (schema_name, table_name)
);
create index on betweenrows.catalog_tables (looked_up);
comment on table betweenrows.catalog_tables is
    'what the catalog allowlist selects: all of a schema, or of a table all or some columns; in force by a setting';
comment on column betweenrows.catalog_tables.table_name is 'null: all tables of the schema';
comment on column betweenrows.catalog_tables.columns is 'null: all columns';
comment on column betweenrows.catalog_tables.looked_up is 'what the entry for a table is looked up by';

create table betweenrows.exempt_roles (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    rolename text collate "C" not null unique check (octet_length(rolename) between 1 and 63),
    created_by text not null default session_user,
    created_at timestamptz not null default now()
);
comment on table betweenrows.exempt_roles is 'PostgreSQL roles that no policy applies to, each by its exact name';

create table betweenrows.trusted_objects (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    kind text not null check (kind in ('view', 'function')),
    schema_name text collate "C" not null,
    object_name text collate "C" not null,
    identity text collate "C" not null,
    owner text not null,
    definition text not null,
    created_by text not null default session_user,
    created_at timestamptz not null default now(),
    unique (kind, identity)
);
comment on table betweenrows.trusted_objects is 'views and functions whose statements are not governed';
comment on column betweenrows.trusted_objects.identity is 'name, schema-qualified and with argument types';
comment on column betweenrows.trusted_objects.definition is
    'what was trusted: the trust ends when the object or its owner changes';

create table betweenrows.settings (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    key text collate "C" not null unique,
    value jsonb not null,
    updated_by text not null default session_user,
    updated_at timestamptz not null default now()
);
comment on table betweenrows.settings is
    'settings of this database: access_mode, require_access_grant, audit, and catalog, the digest of the allowlist';

create table betweenrows.admin_audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null default session_user,
    actor_role text not null,
    client_addr inet default inet_client_addr(),
    application_name text default current_setting('application_name'),
    action text not null,
    object_kind text not null,
    object_name text not null,
    before jsonb,
    after jsonb
);
create index on betweenrows.admin_audit (at);
create index on betweenrows.admin_audit (object_kind, object_name);
comment on table betweenrows.admin_audit is 'every change of the catalog, written in the same transaction; append-only';
comment on column betweenrows.admin_audit.actor is 'the session''s login role';
comment on column betweenrows.admin_audit.actor_role is 'the role that was current: differs from actor after SET ROLE';
comment on column betweenrows.admin_audit.before is 'the object as it was; null for one that was created';
comment on column betweenrows.admin_audit.after is 'the object as it is; null for one that was dropped';

create table betweenrows.query_audit (
    id uuid not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    user_id uuid,
    username text collate "C" not null,
    login_role text collate "C" not null,
    roles text[] not null,
    database text not null,
    application_name text not null,
    client_addr inet,
    backend_pid integer not null,
    query_id bigint,
    statement_kind text not null,
    original_query text not null,
    rewritten_query text,
    relations jsonb not null,
    policies_applied jsonb not null,
    decisions jsonb not null,
    status text not null check (status in ('started', 'success', 'denied', 'error')),
    sqlstate text,
    error_message text,
    row_count bigint,
    planning_ms double precision,
    execution_ms double precision,
    parameters jsonb,
    backend_start timestamptz not null,
    chain_position bigint,
    chain_hash bytea
) partition by range (started_at);
-- The indexes are those of the partitions: with some of its own, a dump could not be restored, since ATTACH PARTITION would
-- make the indexes that the dump goes on to make.
comment on table betweenrows.query_audit is
    'every statement on governed relations, one partition a day (UTC); filled by a background worker';
comment on column betweenrows.query_audit.finished_at is 'null when the process died before the end of the statement';
comment on column betweenrows.query_audit.user_id is 'the subject''s row in users, if it has one';
comment on column betweenrows.query_audit.username is 'the subject: on whose behalf the statement ran';
comment on column betweenrows.query_audit.login_role is 'session_user';
comment on column betweenrows.query_audit.original_query is 'the statement as the client sent it';
comment on column betweenrows.query_audit.rewritten_query is
    'what really ran, filters in WHERE and masks in place of columns; those of functions follow after a semicolon';
comment on column betweenrows.query_audit.relations is
    'governed relations: [{relation, access, columns, written}]';
comment on column betweenrows.query_audit.policies_applied is
    'the policies that took effect: [{relation, policy, policy_id, version, effect, column}]';
comment on column betweenrows.query_audit.decisions is
    'what decision functions said: [{function, version, context, fire, ruling, fuel, microseconds, logs, error}]';
comment on column betweenrows.query_audit.status is
    'started: its end is not known; success; denied: a policy refused it or a part of it; error: it failed otherwise';
comment on column betweenrows.query_audit.row_count is 'rows sent or changed';
comment on column betweenrows.query_audit.execution_ms is 'how long it was executed, sending rows included';
comment on column betweenrows.query_audit.parameters is 'values as text, in order, when audit_parameters is on';
comment on column betweenrows.query_audit.chain_hash is
    'over the row and the hash before it, when audit_hash_chain is on; see verify_audit()';

-- What the worker needs to move each event exactly once.
create table betweenrows.query_audit_spool (
    file text collate "C" primary key,
    position bigint not null
);
comment on table betweenrows.query_audit_spool is 'how far each file of the spool has been moved into query_audit';
create table betweenrows.query_audit_running (
    epoch bigint,
    session bigint,
    number bigint,
    event jsonb not null,
    primary key (epoch, session, number)
);
comment on table betweenrows.query_audit_running is 'events of statements that have begun and not ended';
create table betweenrows.query_audit_chain (
    day date primary key,
    position bigint not null,
    hash bytea not null,
    unchained bigint not null
);
comment on table betweenrows.query_audit_chain is 'the last link of each day''s hash chain';
comment on column betweenrows.query_audit_chain.unchained is
    'how many rows of the day were recorded without a place in it, while audit_hash_chain was off';

create view betweenrows.recent_denials as
    select started_at, username, login_role, client_addr, application_name, statement_kind, original_query, sqlstate,
           error_message, relations, policies_applied, id
    from betweenrows.query_audit
    where status = 'denied' and started_at > now() - interval '7 days'
    order by started_at desc;
comment on view betweenrows.recent_denials is 'statements that a policy refused, of the last seven days, newest first';

create view betweenrows.access_by_user as
    select username, count(*) as statements, count(*) filter (where status = 'denied') as denied,
           count(*) filter (where status = 'error') as errors, count(distinct login_role) as login_roles,
           count(distinct client_addr) as client_addrs, sum(row_count) as row_count,
           min(started_at) as first_at, max(started_at) as last_at
    from betweenrows.query_audit
    group by username
    order by username;
comment on view betweenrows.access_by_user is 'who ran how many statements on governed relations, and when';

create view betweenrows.access_by_table as
    select r.relation, q.username, r.access, count(*) as statements,
           count(*) filter (where q.status = 'denied') as denied,
           min(q.started_at) as first_at, max(q.started_at) as last_at
    from betweenrows.query_audit q
    cross join lateral (select distinct e ->> 'relation' as relation, e ->> 'access' as access
                        from jsonb_array_elements(q.relations) e) r
    group by r.relation, q.username, r.access
    order by r.relation, q.username, r.access;
comment on view betweenrows.access_by_table is 'which governed relations were used by whom, how, and when';

create view betweenrows.policy_effect as
    select a.policy, a.relation, a.effect, a.column_name, count(*) as statements, count(distinct q.username) as users,
           max(a.version) as last_version, min(q.started_at) as first_at, max(q.started_at) as last_at
    from betweenrows.query_audit q
    cross join lateral jsonb_to_recordset(q.policies_applied)
        as p (policy text, relation text, effect text, "column" text, version integer)
    cross join lateral (select p.policy, p.relation, p.effect, p."column", p.version)
        as a (policy, relation, effect, column_name, version)
    group by a.policy, a.relation, a.effect, a.column_name
    order by a.policy, a.relation, a.effect, a.column_name;
comment on view betweenrows.policy_effect is 'how often each policy took effect on each relation, for how many users, and when last';

-- Channels ---------------------------------------------------------------------------------------------------------

-- Without rows or columns: only their relation cache entries matter, whose invalidation tells every backend of a change.
create table betweenrows.epoch ();
comment on table betweenrows.epoch is 'invalidated when anything but a single user changes';

do $$
begin
    for n in 0..15 loop
        execute pg_catalog.format('create table betweenrows.%I ()', 'bucket_' || pg_catalog.lpad(n::text, 2, '0'));
        execute pg_catalog.format('comment on table betweenrows.%I is %L', 'bucket_' || pg_catalog.lpad(n::text, 2, '0'),
            'invalidated when a user of this hash bucket changes');
    end loop;
end
$$;

-- Triggers ---------------------------------------------------------------------------------------------------------

create function betweenrows.touch() returns trigger
    language c as 'MODULE_PATHNAME', 'touch_wrapper';
comment on function betweenrows.touch() is 'tells every backend that what policies depend on has changed';

create function betweenrows.append_only() returns trigger
    language c as 'MODULE_PATHNAME', 'append_only_wrapper';
comment on function betweenrows.append_only() is 'refuses to change or remove what has been recorded';

-- A row trigger knows the username, so that one user's change disturbs only the plans of one bucket.
create trigger touch after insert or update or delete on betweenrows.users
    for each row execute function betweenrows.touch();
alter table betweenrows.users enable always trigger touch;
create trigger touch_all after truncate on betweenrows.users
    for each statement execute function betweenrows.touch();
alter table betweenrows.users enable always trigger touch_all;

do $$
declare
    relation text;
begin
    foreach relation in array array['roles', 'role_members', 'role_parents', 'attribute_definitions',
                                    'decision_functions', 'policies', 'policy_assignments', 'access_grants',
                                    'catalog_tables', 'exempt_roles', 'trusted_objects', 'settings'] loop
        execute pg_catalog.format('create trigger touch after insert or update or delete or truncate on betweenrows.%I '
            'for each statement execute function betweenrows.touch()', relation);
        execute pg_catalog.format('alter table betweenrows.%I enable always trigger touch', relation);
    end loop;
    foreach relation in array array['policy_versions', 'admin_audit'] loop
        execute pg_catalog.format('create trigger append_only before update or delete or truncate on betweenrows.%I '
            'for each statement execute function betweenrows.append_only()', relation);
        execute pg_catalog.format('alter table betweenrows.%I enable always trigger append_only', relation);
    end loop;
end
$$;

-- Dump -------------------------------------------------------------------------------------------------------------

-- The script inserts no rows of its own, so that a restore finds empty tables.
do $$
declare
    relation text;
begin
    foreach relation in array array['users', 'roles', 'role_members', 'role_parents', 'attribute_definitions',
                                    'decision_functions', 'policies', 'policy_versions', 'policy_assignments',
                                    'access_grants', 'catalog_tables', 'exempt_roles', 'trusted_objects', 'settings', 'admin_audit', 'admin_audit_id_seq', 'query_audit_chain'] loop
        perform pg_catalog.pg_extension_config_dump(pg_catalog.format('betweenrows.%I', relation)::regclass, '');
    end loop;
end
$$;

-- Users ------------------------------------------------------------------------------------------------------------

create function betweenrows.create_user(username text, password text default null, attributes jsonb default '{}',
                                        is_active boolean default true) returns uuid
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'create_user_wrapper';
comment on function betweenrows.create_user(text, text, jsonb, boolean) is
    'creates a user; with a password the login role of that name is created as well';

create function betweenrows.alter_user(username text, is_active boolean default null, attributes jsonb default null)
    returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'alter_user_wrapper';
comment on function betweenrows.alter_user(text, boolean, jsonb) is
    'switches a user on or off, or replaces all its attributes; null leaves alone';

create function betweenrows.set_attribute(username text, key text, value jsonb) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'set_attribute_wrapper';
comment on function betweenrows.set_attribute(text, text, jsonb) is 'sets one attribute of a user; null removes the value';

create function betweenrows.drop_user(username text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'drop_user_wrapper';
comment on function betweenrows.drop_user(text) is 'removes a user and its memberships; the login role stays';

-- Roles and memberships --------------------------------------------------------------------------------------------

create function betweenrows.create_role(name text, description text default null) returns uuid
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'create_role_wrapper';
comment on function betweenrows.create_role(text, text) is 'creates a betweenrows role';

create function betweenrows.alter_role(name text, is_active boolean default null, description text default null)
    returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'alter_role_wrapper';
comment on function betweenrows.alter_role(text, boolean, text) is
    'switches a role on or off or describes it; null leaves alone, an empty description clears';

create function betweenrows.drop_role(name text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'drop_role_wrapper';
comment on function betweenrows.drop_role(text) is 'removes a role with its memberships and its place in the inheritance';

create function betweenrows.add_member(role text, username text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'add_member_wrapper';
comment on function betweenrows.add_member(text, text) is 'makes a user a member of a role';

create function betweenrows.remove_member(role text, username text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'remove_member_wrapper';
comment on function betweenrows.remove_member(text, text) is 'ends a user''s membership in a role';

create function betweenrows.add_parent(role text, parent text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'add_parent_wrapper';
comment on function betweenrows.add_parent(text, text) is 'lets a role inherit what is assigned to another';

create function betweenrows.remove_parent(role text, parent text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'remove_parent_wrapper';
comment on function betweenrows.remove_parent(text, text) is 'ends the inheritance of a role from another';

-- Attributes -------------------------------------------------------------------------------------------------------

create function betweenrows.define_attribute(key text, value_type text, default_value jsonb default null,
                                             allowed_values jsonb default null, required boolean default false,
                                             description text default null) returns uuid
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'define_attribute_wrapper';
comment on function betweenrows.define_attribute(text, text, jsonb, jsonb, boolean, text) is
    'defines a user attribute, or defines it anew as long as all users'' values and all policies fit';

create function betweenrows.drop_attribute(key text, force boolean default false) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'drop_attribute_wrapper';
comment on function betweenrows.drop_attribute(text, boolean) is
    'removes a definition nobody uses; forced, users lose their values and policies that use it close their tables';

-- Policies ---------------------------------------------------------------------------------------------------------

create function betweenrows.create_policy(name text, policy_type text, targets jsonb, definition jsonb default null,
                                          description text default null, decision_function text default null,
                                          is_enabled boolean default true) returns uuid
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'create_policy_wrapper';
comment on function betweenrows.create_policy(text, text, jsonb, jsonb, text, text, boolean) is
    'creates a policy; it takes effect once it is assigned';

create function betweenrows.alter_policy(name text, expected_version integer default null, targets jsonb default null,
                                         definition jsonb default null, description text default null,
                                         decision_function text default null, is_enabled boolean default null)
    returns integer
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'alter_policy_wrapper';
comment on function betweenrows.alter_policy(text, integer, jsonb, jsonb, text, text, boolean) is
    'changes a policy and returns its version; null leaves alone, an empty description or decision function clears';

create function betweenrows.drop_policy(name text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'drop_policy_wrapper';
comment on function betweenrows.drop_policy(text) is 'removes a policy and its assignments; its versions stay readable';

create function betweenrows.assign_policy(policy text, to_user text default null, to_role text default null,
                                          priority integer default 100) returns uuid
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'assign_policy_wrapper';
comment on function betweenrows.assign_policy(text, text, text, integer) is
    'assigns a policy to a user, a role or everyone, or changes the priority of that assignment';

create function betweenrows.unassign_policy(policy text, to_user text default null, to_role text default null)
    returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'unassign_policy_wrapper';
comment on function betweenrows.unassign_policy(text, text, text) is
    'ends the assignment of a policy to a user, a role or everyone';

-- Decision functions -----------------------------------------------------------------------------------------------

create function betweenrows.create_decision_function(name text, source text, config jsonb default '{}',
                                                     evaluate_context text default 'session',
                                                     on_error text default 'deny', log_level text default 'off',
                                                     description text default null, is_enabled boolean default true)
    returns uuid
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'create_decision_function_wrapper';
comment on function betweenrows.create_decision_function(text, text, jsonb, text, text, text, text, boolean) is
    'compiles and stores JavaScript that defines evaluate(ctx, config), for policies to refer to';

create function betweenrows.alter_decision_function(name text, expected_version integer default null,
                                                    source text default null, config jsonb default null,
                                                    evaluate_context text default null, on_error text default null,
                                                    log_level text default null, description text default null,
                                                    is_enabled boolean default null) returns integer
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'alter_decision_function_wrapper';
comment on function betweenrows.alter_decision_function(text, integer, text, jsonb, text, text, text, text, boolean) is
    'changes a decision function and returns its version; null leaves alone, an empty description clears';

create function betweenrows.drop_decision_function(name text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'drop_decision_function_wrapper';
comment on function betweenrows.drop_decision_function(text) is
    'removes a decision function that no policy refers to';

create function betweenrows.test_decision_function(source text, context jsonb, config jsonb default '{}')
    returns table (fire boolean, logs jsonb, error text, fuel bigint, microseconds bigint)
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'test_decision_function_wrapper';
comment on function betweenrows.test_decision_function(text, jsonb, jsonb) is
    'evaluates JavaScript as a decision function would be, without storing anything';

create function betweenrows.decision_context(username text default null, query text default null) returns jsonb
    language c security definer
    as 'MODULE_PATHNAME', 'decision_context_wrapper';
comment on function betweenrows.decision_context(text, text) is
    'what decision functions are told now for a user, and for a statement of that user';

-- Short forms ------------------------------------------------------------------------------------------------------

create function betweenrows.filter_rows(relation regclass, expression text, name text default null,
                                        to_user text default null, to_role text default null) returns text
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'filter_rows_wrapper';
comment on function betweenrows.filter_rows(regclass, text, text, text, text) is
    'creates and assigns a row_filter for one relation; returns the policy''s name';

create function betweenrows.mask_column(relation regclass, column_name text, expression text, name text default null,
                                        to_user text default null, to_role text default null) returns text
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'mask_column_wrapper';
comment on function betweenrows.mask_column(regclass, text, text, text, text, text) is
    'creates and assigns a column_mask for one column; returns the policy''s name';

create function betweenrows.deny_columns(relation regclass, columns text[], name text default null,
                                         to_user text default null, to_role text default null) returns text
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'deny_columns_wrapper';
comment on function betweenrows.deny_columns(regclass, text[], text, text, text) is
    'creates and assigns a column_deny for one relation; returns the policy''s name';

create function betweenrows.deny_table(relation regclass, name text default null, to_user text default null,
                                       to_role text default null) returns text
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'deny_table_wrapper';
comment on function betweenrows.deny_table(regclass, text, text, text) is
    'creates and assigns a table_deny for one relation; returns the policy''s name';

create function betweenrows.allow_columns(relation regclass, columns text[], name text default null,
                                          to_user text default null, to_role text default null) returns text
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'allow_columns_wrapper';
comment on function betweenrows.allow_columns(regclass, text[], text, text, text) is
    'creates and assigns a column_allow for one relation; returns the policy''s name';

-- Settings ---------------------------------------------------------------------------------------------------------

create function betweenrows.set_access_mode(mode text) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'set_access_mode_wrapper';
comment on function betweenrows.set_access_mode(text) is
    'open: ungoverned tables are as without betweenrows; policy_required: they do not exist for subjects';

create function betweenrows.grant_access(to_user text default null, to_role text default null) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'grant_access_wrapper';
comment on function betweenrows.grant_access(text, text) is
    'lets a user, the members of a role or everyone use this database where a grant is required';

create function betweenrows.revoke_access(to_user text default null, to_role text default null) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'revoke_access_wrapper';
comment on function betweenrows.revoke_access(text, text) is 'ends the grant to a user, a role or everyone';

create function betweenrows.require_access_grant(required boolean default true) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'require_access_grant_wrapper';
comment on function betweenrows.require_access_grant(boolean) is
    'shuts out all subjects without an access grant, ungoverned tables included, or ends that';

create function betweenrows.set_catalog(document jsonb) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'set_catalog_wrapper';
comment on function betweenrows.set_catalog(jsonb) is
    'the allowlist of schemas, tables and columns: whatever it does not name does not exist for subjects';

create function betweenrows.clear_catalog() returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'clear_catalog_wrapper';
comment on function betweenrows.clear_catalog() is 'removes the allowlist';

create function betweenrows.exempt_role(role text, exempt boolean default true) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'exempt_role_wrapper';
comment on function betweenrows.exempt_role(text, boolean) is 'exempts exactly this PostgreSQL role from all policies, or ends that';

create function betweenrows.trust(object text, trusted boolean default true) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'trust_wrapper';
comment on function betweenrows.trust(text, boolean) is
    'lets what a view, or a function of an exempt owner, does itself run ungoverned, until it changes';

-- Documents --------------------------------------------------------------------------------------------------------

create function betweenrows.apply(document jsonb, prune boolean default false, dry_run boolean default false)
    returns table (action text, kind text, name text, detail text)
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'apply_wrapper';
comment on function betweenrows.apply(jsonb, boolean, boolean) is
    'brings the catalog in line with a policy document and says what it did, or with dry_run what it would do';

create function betweenrows.export() returns jsonb
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'export_wrapper';
comment on function betweenrows.export() is 'the catalog as a policy document';

create function betweenrows.catalog_digest() returns text
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'catalog_digest_wrapper';
comment on function betweenrows.catalog_digest() is
    'a text that is another one after every change of the catalog, by whatever means and by whomever';

-- Looking ----------------------------------------------------------------------------------------------------------

-- Runs with the caller's rights: who asks is what it tells.
create function betweenrows.whoami() returns jsonb
    language c stable set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'whoami_wrapper';
comment on function betweenrows.whoami() is 'the session as policies see it: user, roles and attributes';

create function betweenrows.validate_expression(
    relation regclass, expression text, kind text default 'filter', column_name text default null)
    returns table (severity text, sqlstate text, message text, "position" integer, hint text)
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'validate_expression_wrapper';
comment on function betweenrows.validate_expression(regclass, text, text, text) is
    'what is wrong with an expression over the rows of a relation; no rows when it can be used';

-- The search_path is the caller's, as it is for the statement that is shown.
create function betweenrows.rewritten_query(query text, username text default null) returns text
    language c security definer
    as 'MODULE_PATHNAME', 'rewritten_query_wrapper';
comment on function betweenrows.rewritten_query(text, text) is
    'what would run for a user, as SQL: filters in WHERE, masks in place of columns';

create function betweenrows.effective_policies(username text, relation regclass default null)
    returns table (on_relation text, policy text, policy_type text, effect text, column_name text, assigned_to text,
                   priority integer, version integer)
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'effective_policies_wrapper';
comment on function betweenrows.effective_policies(text, regclass) is
    'what took effect for a user on a relation, or on all of them, with the policies in order of precedence';

create function betweenrows.status() returns jsonb
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'status_wrapper';
comment on function betweenrows.status() is 'the state of betweenrows in this database: mode, numbers and findings';

create function betweenrows.discover(schemas text[], names text[] default null) returns setof jsonb
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'discover_wrapper';
comment on function betweenrows.discover(text[], text[]) is
    'the relations of schemas, or those of these names (one of each array) with columns and ancestors, hidden ones as well';

-- Audit ------------------------------------------------------------------------------------------------------------

create function betweenrows.set_audit(level text, policy text default null, to_user text default null,
                                      to_role text default null) returns void
    language c security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'set_audit_wrapper';
comment on function betweenrows.set_audit(text, text, text, text) is
    'records off, denied or all statements of one policy, user or role, whatever betweenrows.audit says; null ends that';

create function betweenrows.audit_flush(timeout_ms integer default 60000) returns boolean
    language c volatile security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'audit_flush_wrapper';
comment on function betweenrows.audit_flush(integer) is
    'waits until all events written so far are in query_audit; false when that takes too long';

create function betweenrows.audit_status() returns jsonb
    language c volatile security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'audit_status_wrapper';
comment on function betweenrows.audit_status() is
    'the state of the audit in this database: backlog, size of the spool, lost events, when something was moved last';

create function betweenrows.spooled_audit() returns setof jsonb
    language c volatile security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'spooled_audit_wrapper';
comment on function betweenrows.spooled_audit() is
    'the events in the spool that are not in query_audit, also on a standby, as objects with its columns, as they ended';

create function betweenrows.discard_spooled_audit(before timestamptz) returns integer
    language c volatile security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'discard_spooled_audit_wrapper';
comment on function betweenrows.discard_spooled_audit(timestamptz) is
    'on a standby, removes files of the spool that were last written before a time; returns how many';

create function betweenrows.verify_audit(from_time timestamptz default '-infinity', to_time timestamptz default 'infinity')
    returns table (day date, row_id uuid, "position" bigint, problem text)
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'verify_audit_wrapper';
comment on function betweenrows.verify_audit(timestamptz, timestamptz) is
    'the rows of the days between two times that were altered, removed or added since they were recorded, by their hash chain';

-- Privileges -------------------------------------------------------------------------------------------------------

-- The functions that anyone may call are granted where they are defined; betweenrows_admin manages everything else.
grant usage on schema betweenrows to public;
revoke all on all functions in schema betweenrows from public;
grant execute on all functions in schema betweenrows to betweenrows_admin;
grant execute on function betweenrows.whoami() to public;
revoke all on function betweenrows.touch(), betweenrows.append_only() from betweenrows_admin;
grant select on betweenrows.users, betweenrows.roles, betweenrows.role_members, betweenrows.role_parents,
    betweenrows.attribute_definitions, betweenrows.decision_functions, betweenrows.policies,
    betweenrows.policy_versions, betweenrows.policy_assignments, betweenrows.access_grants, betweenrows.catalog_tables,
    betweenrows.exempt_roles, betweenrows.trusted_objects, betweenrows.settings, betweenrows.admin_audit
    to betweenrows_admin;
grant select on betweenrows.policies, betweenrows.policy_versions, betweenrows.admin_audit to betweenrows_auditor;
grant select on betweenrows.query_audit, betweenrows.query_audit_running, betweenrows.recent_denials,
    betweenrows.access_by_user, betweenrows.access_by_table, betweenrows.policy_effect
    to betweenrows_auditor, betweenrows_admin;
grant execute on function betweenrows.audit_status(), betweenrows.audit_flush(integer), betweenrows.spooled_audit(),
    betweenrows.verify_audit(timestamptz, timestamptz)
    to betweenrows_auditor;
revoke all on function betweenrows.discard_spooled_audit(timestamptz) from betweenrows_admin;

-- Visibility -------------------------------------------------------------------------------------------------------

-- Statements of subjects that read a system catalog call these for each of its rows. Everybody may call them, so they tell
-- nothing: false for what is hidden from whoever asks as for what does not exist.

create function betweenrows.visibility_support(internal) returns internal
    language c strict as 'MODULE_PATHNAME', 'visibility_support_wrapper';
comment on function betweenrows.visibility_support(internal) is 'tells the planner that most rows of a catalog are visible';
revoke all on function betweenrows.visibility_support(internal) from public;

create function betweenrows.relation_visible(relation oid) returns boolean
    language c stable strict parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'relation_visible_wrapper';
comment on function betweenrows.relation_visible(oid) is
    'whether a table, view, index, sequence or TOAST table exists for the current subject; 0 stands for none';

create function betweenrows.column_visible(relation oid, number smallint) returns boolean
    language c stable strict parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'column_visible_wrapper';
comment on function betweenrows.column_visible(oid, smallint) is 'whether a column exists for the current subject';

create function betweenrows.columns_visible(relation oid, numbers smallint[]) returns boolean
    language c stable parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'columns_visible_wrapper';
comment on function betweenrows.columns_visible(oid, smallint[]) is
    'whether all these columns exist for the current subject; 0 among them stands for any of the table';

create function betweenrows.type_visible(type oid) returns boolean
    language c stable strict parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'type_visible_wrapper';
comment on function betweenrows.type_visible(oid) is 'whether a type is not the row type of a table that is hidden';

create function betweenrows.object_visible(class oid, object oid, part integer) returns boolean
    language c stable strict parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'object_visible_wrapper';
comment on function betweenrows.object_visible(oid, oid, integer) is
    'whether an object neither is nor names anything that is hidden';

create function betweenrows.statistics_visible(relation oid, number smallint) returns boolean
    language c stable strict parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'statistics_visible_wrapper';
comment on function betweenrows.statistics_visible(oid, smallint) is
    'whether the current subject sees all rows of a table and the raw values of a column';

create function betweenrows.extended_statistics_visible(statistics oid) returns boolean
    language c stable strict parallel safe cost 10 support betweenrows.visibility_support
    as 'MODULE_PATHNAME', 'extended_statistics_visible_wrapper';
comment on function betweenrows.extended_statistics_visible(oid) is
    'whether the current subject sees all rows and the raw values that statistics were made of';

-- Writing ----------------------------------------------------------------------------------------------------------

-- Part of statements that write to foreign tables. Volatile, so that it is not called before there is a row to refuse.
create function betweenrows.refuse_row(relation name) returns boolean
    language c volatile strict as 'MODULE_PATHNAME', 'refuse_row_wrapper';
comment on function betweenrows.refuse_row(name) is 'raises the error for a new row that does not fulfil the row filters';

-- Barrier ----------------------------------------------------------------------------------------------------------

create function betweenrows.safe_functions() returns table (function regprocedure, condition text)
    language c stable security definer set search_path = pg_catalog, pg_temp
    as 'MODULE_PATHNAME', 'safe_functions_wrapper';
comment on function betweenrows.safe_functions() is
    'the functions that leave row filters ordinary conditions, and what their arguments have to fulfil';
revoke all on function betweenrows.safe_functions() from public;
grant execute on function betweenrows.safe_functions() to betweenrows_admin;
