-- Roles, memberships and inheritance.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.create_role('regress_api_staff') IS NOT NULL AS created;
SELECT betweenrows.create_role('regress_api_support', 'first line') IS NOT NULL AS created;
SELECT betweenrows.create_role('regress_api_support');  -- fail
SELECT betweenrows.alter_role('regress_api_support', is_active => false);
SELECT betweenrows.alter_role('regress_api_support', is_active => true, description => '');
SELECT betweenrows.alter_role('regress_api_support');
SELECT betweenrows.alter_role('regress_api_nobody', is_active => true);  -- fail
SELECT betweenrows.create_user('regress_api_alice') IS NOT NULL AS created;
SELECT betweenrows.add_member('regress_api_support', 'regress_api_alice');
SELECT betweenrows.add_member('regress_api_support', 'regress_api_alice');
SELECT betweenrows.add_member('regress_api_nobody', 'regress_api_alice');  -- fail
SELECT betweenrows.add_member('regress_api_support', 'regress_api_nobody');  -- fail
SELECT betweenrows.remove_member('regress_api_staff', 'regress_api_alice');  -- fail

-- Inheritance has no circles, whatever way they close.
SELECT betweenrows.add_parent('regress_api_support', 'regress_api_staff');
SELECT betweenrows.add_parent('regress_api_support', 'regress_api_staff');
SELECT betweenrows.add_parent('regress_api_staff', 'regress_api_staff');  -- fail
SELECT betweenrows.add_parent('regress_api_staff', 'regress_api_support');  -- fail
SELECT count(betweenrows.create_role('regress_' || n)) FROM generate_series(1, 11) n;
SELECT count(betweenrows.add_parent('regress_' || n, 'regress_' || n + 1)) FROM generate_series(1, 10) n;
SELECT betweenrows.add_parent('regress_11', 'regress_1');  -- fail
SELECT betweenrows.add_parent('regress_11', 'regress_api_support');  -- fail
SELECT betweenrows.add_parent('regress_api_staff', 'regress_1');  -- fail
-- An inactive role is still part of the graph.
SELECT betweenrows.alter_role('regress_5', is_active => false);
SELECT betweenrows.add_parent('regress_11', 'regress_1');  -- fail
SELECT betweenrows.remove_parent('regress_5', 'regress_6');
SELECT betweenrows.remove_parent('regress_5', 'regress_6');  -- fail
SELECT betweenrows.add_parent('regress_11', 'regress_1');
SELECT betweenrows.add_parent('regress_5', 'regress_6');  -- fail
SELECT betweenrows.add_parent('regress_api_nobody', 'regress_6');  -- fail

-- A role to which a policy is assigned stays; memberships and edges go with a role.
SELECT betweenrows.create_policy('regress-deny', 'table_deny', '[{"schemas": ["regress_none"], "tables": ["*"]}]') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('regress-deny', to_role => 'regress_api_support') IS NOT NULL AS assigned;
SELECT betweenrows.drop_role('regress_api_support');  -- fail
SELECT betweenrows.unassign_policy('regress-deny', to_role => 'regress_api_support');
SELECT betweenrows.drop_policy('regress-deny');
SELECT betweenrows.drop_role('regress_api_support');
SELECT betweenrows.drop_role('regress_api_support');  -- fail
SELECT betweenrows.drop_role('regress_api_staff');
SELECT betweenrows.drop_user('regress_api_alice');
SELECT count(betweenrows.drop_role('regress_' || n)) FROM generate_series(1, 11) n;
RESET SESSION AUTHORIZATION;
SELECT action, object_kind, object_name,
       before - '{id,created_at,updated_at,created_by}'::text[] AS before, after - '{id,created_at,updated_at,created_by}'::text[] AS after
  FROM betweenrows.admin_audit
 WHERE object_kind IN ('role', 'member', 'parent') AND object_name ~ '^regress_api_s' ORDER BY id;
DROP ROLE regress_api_admin;
