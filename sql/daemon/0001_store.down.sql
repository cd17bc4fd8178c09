drop table admin_audit, sync_states, policy_assignments, data_source_roles, data_source_users, data_sources, policy_versions,
    policies, attribute_definitions, role_parents, role_members, roles, users, settings;
drop function append_only();
