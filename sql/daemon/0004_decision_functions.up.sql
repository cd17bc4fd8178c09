create table decision_functions (
    id uuid primary key default gen_random_uuid(),
    name text collate "C" not null unique,
    description text,
    language text not null default 'javascript' check (language = 'javascript'),
    decision_fn text not null,
    decision_config jsonb not null default '{}' check (jsonb_typeof(decision_config) = 'object'),
    evaluate_context text not null default 'session' check (evaluate_context in ('session', 'query')),
    on_error text not null default 'deny' check (on_error in ('deny', 'skip')),
    log_level text not null default 'off' check (log_level in ('off', 'error', 'info')),
    is_enabled boolean not null default true,
    version integer not null default 1,
    created_by uuid,
    updated_by uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table decision_functions is 'JavaScript that decides whether policies take part; databases compile it themselves';

alter table policies add decision_function_id uuid references decision_functions;
create index on policies (decision_function_id) where decision_function_id is not null;

-- No reference: versions outlive functions.
alter table policy_versions add decision_function_id uuid;
