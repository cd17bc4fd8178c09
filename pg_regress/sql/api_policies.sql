-- Policies and their assignments: create, alter, drop, versions, owners, and the short forms.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_api_other LOGIN IN ROLE betweenrows_admin;
CREATE SCHEMA regress_api;
CREATE TABLE regress_api.customers (id int PRIMARY KEY, org text, ssn text, note text);
CREATE TABLE regress_api.orders (id int, customer int REFERENCES regress_api.customers, org text);
CREATE VIEW regress_api.open_orders AS SELECT id FROM regress_api.orders;
CREATE SEQUENCE regress_api.numbers;
CREATE TABLE regress_api."st*r" (id int, "col*" int);
GRANT USAGE ON SCHEMA regress_api TO betweenrows_admin;
SET SESSION AUTHORIZATION regress_api_admin;
SET search_path = regress_api;
SELECT betweenrows.define_attribute('regress_tenant', 'string') IS NOT NULL AS defined;
SELECT betweenrows.create_user('regress_api_alice') IS NOT NULL AS user, betweenrows.create_role('regress_api_support') IS NOT NULL AS role;

SELECT betweenrows.create_policy('regress-rows', 'row_filter', '[{"schemas": ["regress_api"], "tables": ["customers", "ord*"]}]',
    '{"filter_expression": "org = {user.regress_tenant}", "mode": "restrictive"}', 'own rows') IS NOT NULL AS created;
SELECT betweenrows.create_policy('regress-rows', 'table_deny', '[{"schemas": ["x"], "tables": ["y"]}]');  -- fail
-- A policy that could not be applied is refused with the place.
SELECT betweenrows.create_policy('regress-bad', 'row_filters', '[{"schemas": ["x"], "tables": ["y"]}]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'row_filter', '[{"schemas": ["regress_api"], "tables": ["customers"]}]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'table_deny', '[{"schemas": ["regress_api"]}]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'table_deny', '[{"schemas": ["a"], "tables": ["b"], "columns": ["c"]}]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'column_deny', '[{"schemas": ["a"], "tables": ["b"]}]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'table_deny', '[{"schemas": ["a"], "tables": ["b"], "rows": 1}]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'table_deny', '[]');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'table_deny', '[{"schemas": ["a"], "tables": ["b"]}]', '{"filter_expression": "true"}');  -- fail
SELECT betweenrows.create_policy('regress-bad', 'table_deny', '[{"schemas": ["a"], "tables": ["b"]}]', decision_function => 'office-hours');  -- fail
SELECT betweenrows.filter_rows('customers', 'org = {user.regress_undefined}');  -- fail
SELECT betweenrows.filter_rows('customers', 'org = {user.regress_tenant');  -- fail
SELECT betweenrows.filter_rows('customers', 'orgg = {user.regress_tenant}');  -- fail
SELECT betweenrows.filter_rows('customers', 'id = {user.regress_tenant}');  -- fail
SELECT betweenrows.filter_rows('customers', 'id = = 1');  -- fail
SELECT betweenrows.filter_rows('customers', 'no_such_function(id)');  -- fail
SELECT betweenrows.filter_rows('customers', 'id::no_such_type is null');  -- fail
SELECT betweenrows.filter_rows('customers', 'id');  -- fail
SELECT betweenrows.filter_rows('customers', 'count(*) > 0');  -- fail
SELECT betweenrows.filter_rows('customers', 'generate_series(1, 2) > 0');  -- fail
SELECT betweenrows.mask_column('customers', 'ssn', 'random()::text');  -- fail

-- Altering makes versions; what changes nothing makes none.
SELECT betweenrows.alter_policy('regress-rows', description => 'the tenant''s own rows');
SELECT betweenrows.alter_policy('regress-rows', description => 'the tenant''s own rows', definition => '{"filter_expression": "org = {user.regress_tenant}"}');
SELECT betweenrows.alter_policy('regress-rows', 2, is_enabled => false);
SELECT betweenrows.alter_policy('regress-rows', 2, is_enabled => true);  -- fail
SELECT betweenrows.alter_policy('regress-rows', 3, targets => '[{"schemas": ["regress_api"], "tables": ["orders"]}]', description => '');
SELECT betweenrows.alter_policy('regress-rows', definition => '{"filter_expression": "nothing = 1"}');  -- fail
SELECT betweenrows.alter_policy('regress-rows', definition => '{"mask_expression": "1"}');  -- fail
SELECT betweenrows.alter_policy('regress-rows', definition => 'null');  -- fail
SELECT betweenrows.alter_policy('regress-nothing', is_enabled => true);  -- fail
-- Who changes the expression owns it: its subqueries must not run with the rights of who wrote another one.
SET SESSION AUTHORIZATION regress_api_other;
SELECT betweenrows.alter_policy('regress-rows', is_enabled => true);
SELECT betweenrows.alter_policy('regress-rows', definition => '{"filter_expression": "org is not null"}');
SET SESSION AUTHORIZATION regress_api_admin;

-- Assignments: everyone, a user, a role; the same again changes the priority.
SELECT betweenrows.assign_policy('regress-rows') = betweenrows.assign_policy('regress-rows', priority => 5) AS same;
SELECT betweenrows.assign_policy('regress-rows', to_user => 'regress_api_alice', priority => -2147483648) IS NOT NULL AS assigned;
SELECT betweenrows.assign_policy('regress-rows', to_role => 'regress_api_support') IS NOT NULL AS assigned;
SELECT betweenrows.assign_policy('regress-rows', 'regress_api_alice', 'regress_api_support');  -- fail
SELECT betweenrows.assign_policy('regress-rows', to_user => 'regress_api_nobody');  -- fail
SELECT betweenrows.assign_policy('regress-rows', to_role => 'regress_api_nobody');  -- fail
SELECT betweenrows.assign_policy('regress-nothing');  -- fail
SELECT betweenrows.unassign_policy('regress-rows', to_user => 'regress_api_alice');
SELECT betweenrows.unassign_policy('regress-rows', to_user => 'regress_api_alice');  -- fail

-- Short forms name the relation exactly and take care of the name.
SELECT betweenrows.mask_column('customers', 'note', $$'***'$$);
SELECT betweenrows.mask_column('customers', 'note', $$'###'$$, to_role => 'regress_api_support');
SELECT betweenrows.deny_columns('customers', '{ssn,ssn}', to_user => 'regress_api_alice');
SELECT betweenrows.deny_table('open_orders');
SELECT betweenrows.allow_columns('orders', '{id,c*}', 'regress-allow');
SELECT betweenrows.filter_rows('orders', 'true', 'regress-allow');  -- fail
-- A masked key is worth a warning: joins on it no longer find the row.
SELECT betweenrows.mask_column('orders', 'customer', 'NULL');
SELECT betweenrows.create_policy('regress-mask-all', 'column_mask', '[{"schemas": ["regress_api"], "tables": ["*"], "columns": ["id"]}]',
    '{"mask_expression": "0"}') IS NOT NULL AS created;
SELECT betweenrows.mask_column('customers', 'nothing', 'NULL');  -- fail
SELECT betweenrows.deny_columns('customers', '{ssn,nothing}');  -- fail
SELECT betweenrows.deny_columns('customers', '{}');  -- fail
SELECT betweenrows.deny_columns('customers', '{x*}');  -- fail
SELECT betweenrows.deny_table('numbers');  -- fail
SELECT betweenrows.deny_table(0);  -- fail
SELECT betweenrows.deny_table('"st*r"');  -- fail
SELECT betweenrows.mask_column('"st*r"', 'col*', '0');  -- fail
RESET SESSION AUTHORIZATION;
SELECT p.name, p.policy_type, p.targets, p.definition, p.version, p.owner, p.created_by, p.updated_by, u.username, r.name AS role, a.priority
  FROM betweenrows.policies p JOIN betweenrows.policy_assignments a ON a.policy_id = p.id
  LEFT JOIN betweenrows.users u ON u.id = a.user_id LEFT JOIN betweenrows.roles r ON r.id = a.role_id
 WHERE p.created_by LIKE 'regress%' ORDER BY p.name, u.username, r.name;

-- Dropping keeps the versions.
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.drop_policy('regress-rows');
SELECT betweenrows.drop_policy('regress-rows');  -- fail
RESET SESSION AUTHORIZATION;
SELECT version, operation, targets, definition, description, is_enabled, owner, changed_by
  FROM betweenrows.policy_versions WHERE name = 'regress-rows' ORDER BY version;
SELECT action, object_kind, before ->> 'version' AS old, after ->> 'version' AS new, before -> 'assignments' AS assignments
  FROM betweenrows.admin_audit WHERE object_name = 'regress-rows' ORDER BY id;

-- Attack: code that runs while an expression is analysed would run with the rights of the policy's owner. A literal of a
-- row type with a domain runs the domain's check: only functions of exempt roles are let.
CREATE SCHEMA regress_evil AUTHORIZATION regress_api_admin;
SET SESSION AUTHORIZATION regress_api_admin;
CREATE FUNCTION regress_evil.check(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'checked by %', current_user;
    RETURN true;
END $$;
CREATE DOMAIN regress_evil.domain AS int CHECK (regress_evil.check(value));
CREATE TYPE regress_evil.pair AS (a regress_evil.domain);
SELECT betweenrows.filter_rows('customers', $$ '(1)'::regress_evil.pair IS NOT NULL $$, 'regress-evil');  -- fail
SELECT count(betweenrows.drop_policy(p ->> 'name')) FROM jsonb_array_elements(betweenrows.export() -> 'policies') p
 WHERE p ->> 'name' LIKE 'regress-%' OR p::text LIKE '%regress_api%';
SELECT betweenrows.drop_user('regress_api_alice');
SELECT betweenrows.drop_role('regress_api_support');
SELECT betweenrows.drop_attribute('regress_tenant');
RESET SESSION AUTHORIZATION;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_api, regress_evil CASCADE;
DROP ROLE regress_api_admin, regress_api_other;
