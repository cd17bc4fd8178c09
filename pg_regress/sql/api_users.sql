-- Users: create_user, alter_user, set_attribute, drop_user.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.define_attribute('regress_tenant', 'string', allowed_values => '["acme", "globex"]') IS NOT NULL AS defined;
SELECT betweenrows.define_attribute('regress_level', 'integer') IS NOT NULL AS defined;

-- Without a password a user is a name: the login role may come before or after.
SELECT betweenrows.create_user('regress_api_alice', attributes => '{"regress_tenant": "acme", "regress_level": null}') IS NOT NULL AS created;
SELECT count(*) FROM pg_roles WHERE rolname = 'regress_api_alice';
SELECT betweenrows.create_user('regress_api_alice');  -- fail
-- With a password the role is created, with LOGIN and nothing else.
SELECT betweenrows.create_user('regress "Bob"', 'correct horse', is_active => false) IS NOT NULL AS created;
SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
  FROM pg_roles WHERE rolname = 'regress "Bob"';
-- Attack: an administrator of policies must not get hold of a role that exists, a superuser's least of all.
SELECT betweenrows.create_user('postgres', 'mine now');  -- fail
SELECT betweenrows.create_user('regress_api_admin', 'mine now');  -- fail
SELECT betweenrows.create_user('pg_regress', 'x');  -- fail
SELECT betweenrows.create_user('public', 'x');  -- fail
SELECT betweenrows.create_user('none', 'x');  -- fail
SELECT betweenrows.create_user('regress_api_nobody', '');  -- fail
-- Attack: the name as a way to smuggle SQL into CREATE ROLE.
SELECT betweenrows.create_user('regress_x" superuser --', 'x') IS NOT NULL AS created;
SELECT rolname, rolsuper FROM pg_roles WHERE rolname LIKE 'regress_x%';
RESET SESSION AUTHORIZATION;
-- The password is stored as the server stores passwords, and nowhere else.
SELECT rolpassword LIKE 'SCRAM-SHA-256$%' AS scram FROM pg_authid WHERE rolname = 'regress "Bob"';
SELECT count(*) FROM betweenrows.admin_audit a WHERE a::text LIKE '%correct horse%';
SELECT count(*) FROM betweenrows.users u WHERE u::text LIKE '%correct horse%';
SET SESSION AUTHORIZATION regress_api_admin;
-- A role that is created in a transaction goes with it.
BEGIN;
SELECT betweenrows.create_user('regress_api_carol', 'correct horse') IS NOT NULL AS created;
ROLLBACK;
SELECT rolname FROM pg_roles WHERE rolname = 'regress_api_carol';
BEGIN READ ONLY;
SELECT betweenrows.create_user('regress_api_carol', 'correct horse');  -- fail
ROLLBACK;

SELECT betweenrows.alter_user('regress_api_alice', attributes => '{"regress_tenant": "globex", "regress_level": 3}');
SELECT betweenrows.alter_user('regress_api_alice', is_active => false);
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_level', '4');
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_tenant', NULL);
-- These change nothing and are not recorded.
SELECT betweenrows.alter_user('regress_api_alice');
SELECT betweenrows.alter_user('regress_api_alice', is_active => false, attributes => '{"regress_level": 4}');
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_level', '4');
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_tenant', 'null');
RESET SESSION AUTHORIZATION;
SELECT username, is_active, attributes, created_by FROM betweenrows.users WHERE username LIKE 'regress%' ORDER BY username;
SET SESSION AUTHORIZATION regress_api_admin;

-- What does not suit a definition is refused with its path.
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_tenant', '"initech"');  -- fail
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_level', '"high"');  -- fail
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_undefined', '1');  -- fail
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_undefined', NULL);  -- fail
SELECT betweenrows.set_attribute('regress_api_nobody', 'regress_level', '1');  -- fail
SELECT betweenrows.alter_user('regress_api_alice', attributes => '{"regress_tenant": "a", "regress_level": 1.5}');  -- fail
SELECT betweenrows.alter_user('regress_api_alice', attributes => '[]');  -- fail
SELECT betweenrows.alter_user('regress_api_nobody', is_active => true);  -- fail

-- A user to whom a policy is assigned stays: without it the login role would be free of the policy.
SELECT betweenrows.create_policy('regress-deny', 'table_deny', '[{"schemas": ["regress_none"], "tables": ["*"]}]') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('regress-deny', to_user => 'regress "Bob"') IS NOT NULL AS assigned;
SELECT betweenrows.drop_user('regress "Bob"');  -- fail
SELECT betweenrows.drop_policy('regress-deny');
SELECT betweenrows.drop_user('regress "Bob"');
SELECT betweenrows.drop_user('regress_api_alice');
SELECT betweenrows.drop_user('regress_api_alice');  -- fail
SELECT betweenrows.drop_user('regress_x" superuser --');
SELECT betweenrows.drop_attribute('regress_tenant');
SELECT betweenrows.drop_attribute('regress_level');
RESET SESSION AUTHORIZATION;
-- Everything is on record: who, what, before, after.
SELECT actor, actor_role, action, object_kind, object_name, before ->> 'is_active' AS was_active,
       after ->> 'is_active' AS is_active, before -> 'attributes' AS old, after -> 'attributes' AS new
  FROM betweenrows.admin_audit WHERE object_kind IN ('user', 'login_role') AND object_name LIKE 'regress%' ORDER BY id;
DROP ROLE regress_api_admin, "regress ""Bob""", "regress_x"" superuser --";
