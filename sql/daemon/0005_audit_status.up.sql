alter table sync_states add audit jsonb, add audit_at timestamptz;
comment on column sync_states.audit is 'what betweenrows.audit_status() said there when it was last asked';
