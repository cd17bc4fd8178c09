-- Whose policies apply: everyone, user, roles and their ancestors, and PostgreSQL's roles of the same name.
CREATE ROLE regress_rbac_alice LOGIN;
CREATE ROLE regress_rbac_bob LOGIN;
CREATE ROLE regress_rbac_team NOLOGIN;
CREATE SCHEMA rbac_demo;
GRANT USAGE ON SCHEMA rbac_demo TO PUBLIC;
CREATE TABLE rbac_demo.t (id int, a text, b text, c text, d text);
INSERT INTO rbac_demo.t VALUES (1, 'a1', 'b1', 'c1', 'd1'), (2, 'a2', 'b2', 'c2', 'd2');
GRANT SELECT ON rbac_demo.t TO PUBLIC;
SELECT count(betweenrows.create_user('regress_rbac_alice')) AS users;
SELECT count(betweenrows.create_role(name)) AS roles
  FROM unnest(ARRAY['rbac base', 'rbac middle', 'rbac top', 'regress_rbac_team']) AS name;
SELECT betweenrows.add_parent('rbac middle', 'rbac base');
SELECT betweenrows.add_parent('rbac top', 'rbac middle');
SELECT betweenrows.deny_columns('rbac_demo.t', ARRAY['a'], name => 'rbac a', to_role => 'rbac base');
SELECT betweenrows.deny_columns('rbac_demo.t', ARRAY['b'], name => 'rbac b', to_role => 'rbac top');
SELECT betweenrows.deny_columns('rbac_demo.t', ARRAY['c'], name => 'rbac c', to_role => 'regress_rbac_team');
SELECT betweenrows.deny_columns('rbac_demo.t', ARRAY['d'], name => 'rbac d', to_user => 'regress_rbac_alice');

-- Superuser's raw view
SELECT * FROM rbac_demo.t ORDER BY id;
-- Viewpoint of alice: no member of anything, her own policy only
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT * FROM rbac_demo.t ORDER BY id;
-- Viewpoint of bob: no user at all, and nothing is assigned to everyone
SET SESSION AUTHORIZATION regress_rbac_bob;
SELECT * FROM rbac_demo.t ORDER BY id;

-- Membership in a role brings what is assigned to it and to its ancestors, at any distance, but not what is assigned below.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.add_member('rbac middle', 'regress_rbac_alice');
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT * FROM rbac_demo.t ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.add_member('rbac top', 'regress_rbac_alice');
SELECT betweenrows.remove_member('rbac middle', 'regress_rbac_alice');
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT * FROM rbac_demo.t ORDER BY id;

-- An inactive role brings nothing and cuts off what lies above it.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_role('rbac middle', is_active => false);
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT * FROM rbac_demo.t ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_role('rbac middle', is_active => true);
SELECT betweenrows.alter_role('rbac top', is_active => false);
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT * FROM rbac_demo.t ORDER BY id;
-- ... unless another path leads there
RESET SESSION AUTHORIZATION;
SELECT betweenrows.add_member('rbac base', 'regress_rbac_alice');
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT * FROM rbac_demo.t ORDER BY id;

-- Membership in a PostgreSQL role of the same name counts, at once, also for a login role without a user.
RESET SESSION AUTHORIZATION;
GRANT regress_rbac_team TO regress_rbac_bob;
SET SESSION AUTHORIZATION regress_rbac_bob;
SELECT * FROM rbac_demo.t ORDER BY id;
RESET SESSION AUTHORIZATION;
REVOKE regress_rbac_team FROM regress_rbac_bob;
SET SESSION AUTHORIZATION regress_rbac_bob;
SELECT * FROM rbac_demo.t ORDER BY id;

-- A user who was switched off can touch no table from the next statement on, but can run what touches none.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_user('regress_rbac_alice', is_active => false);
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT count(*) FROM rbac_demo.t;
SELECT 1 AS works;
SELECT betweenrows.whoami() -> 'is_active' AS is_active;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_user('regress_rbac_alice', is_active => true);
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT count(*) FROM rbac_demo.t;

-- An exempt role is exempt itself; whoever may become it is not.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('rbac_demo.t', 'id = 1', name => 'rbac rows');
SELECT betweenrows.exempt_role('regress_rbac_team');
GRANT regress_rbac_team TO regress_rbac_bob;
SET SESSION AUTHORIZATION regress_rbac_bob;
SELECT count(*) AS filtered FROM rbac_demo.t;
SET ROLE regress_rbac_team;
SELECT count(*) AS still_filtered FROM rbac_demo.t;
RESET ROLE;
SET SESSION AUTHORIZATION regress_rbac_team;
SELECT count(*) AS exempt FROM rbac_demo.t;

-- A member of betweenrows_admin manages policies and is governed by them; an auditor reads what was changed.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.exempt_role('regress_rbac_team', false);
GRANT betweenrows_admin TO regress_rbac_bob;
SET SESSION AUTHORIZATION regress_rbac_bob;
SELECT betweenrows.alter_policy('rbac rows', definition => '{"filter_expression": "id = 2"}') AS version;
SELECT id FROM rbac_demo.t;
SELECT count(*) FROM betweenrows.policies;
SELECT action, object_name, before #>> '{definition,filter_expression}' AS before, after #>> '{definition,filter_expression}' AS after
  FROM betweenrows.admin_audit WHERE actor = 'regress_rbac_bob';
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT betweenrows.drop_policy('rbac rows');
SELECT count(*) FROM betweenrows.admin_audit;

-- pg_read_all_data is no way to the extension's tables, to statistics or to TOAST.
RESET SESSION AUTHORIZATION;
GRANT pg_read_all_data TO regress_rbac_alice;
SET SESSION AUTHORIZATION regress_rbac_alice;
SELECT count(*) FROM betweenrows.users;
SELECT count(*) FROM betweenrows.admin_audit;
SELECT count(*) FROM pg_statistic;
SELECT count(*) FROM pg_toast.pg_toast_1255;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'rbac %' ORDER BY name;
SELECT betweenrows.drop_role(name) FROM betweenrows.roles WHERE name IN ('rbac top', 'rbac middle', 'rbac base', 'regress_rbac_team') ORDER BY name;
SET client_min_messages = warning;
SELECT betweenrows.drop_user('regress_rbac_alice');
DROP SCHEMA rbac_demo CASCADE;
DROP ROLE regress_rbac_alice, regress_rbac_bob, regress_rbac_team;
