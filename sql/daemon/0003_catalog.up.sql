-- Discovery jobs, and the catalog: what of each data source may exist for its users at all.

alter table data_sources add column catalog_mode text not null default 'everything'
    check (catalog_mode in ('selected', 'everything'));
alter table data_sources alter column catalog_mode set default 'selected';
comment on column data_sources.catalog_mode is 'selected: what is not selected in the catalog does not exist for users';

create table catalog_schemas (
    id uuid primary key default gen_random_uuid(),
    data_source_id uuid not null references data_sources on delete cascade,
    schema_name text collate "C" not null,
    is_selected boolean not null,
    unique (data_source_id, schema_name)
);

create table catalog_tables (
    id uuid primary key default gen_random_uuid(),
    schema_id uuid not null references catalog_schemas on delete cascade,
    table_name text collate "C" not null,
    table_type text not null,
    is_selected boolean not null,
    unique (schema_id, table_name)
);

create table catalog_columns (
    id uuid primary key default gen_random_uuid(),
    table_id uuid not null references catalog_tables on delete cascade,
    column_name text collate "C" not null,
    ordinal_position integer not null,
    data_type text not null,
    is_nullable boolean not null,
    column_default text,
    arrow_type text,
    is_selected boolean not null,
    unique (table_id, column_name)
);
comment on table catalog_columns is 'the columns of selected tables as they were when they were last looked at';

create table discovery_jobs (
    id uuid primary key,
    data_source_id uuid not null references data_sources on delete cascade,
    action text not null,
    status text not null default 'running' check (status in ('running', 'completed', 'failed')),
    is_cancelled boolean not null default false,
    progress jsonb not null default '[]',
    result jsonb,
    error text,
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create unique index on discovery_jobs (data_source_id) where status = 'running';
create index on discovery_jobs (data_source_id, created_at);
comment on table discovery_jobs is 'a running one belongs to the daemon that holds its lock; without a lock its daemon is gone';

alter table sync_states
    add column catalog_drift jsonb,
    add column catalog_checked_at timestamptz,
    add column warnings jsonb not null default '[]';
comment on column sync_states.catalog_drift is 'in what the database differs from the saved catalog';
comment on column sync_states.warnings is 'what the role of the data source may not do there, with the command that mends it';
