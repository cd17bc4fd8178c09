alter table sync_states drop audit, drop audit_at;
