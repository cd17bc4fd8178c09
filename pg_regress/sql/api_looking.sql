-- Looking: effective_policies and status. A database of its own, since status tells of all there is.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_api_staff;
CREATE ROLE regress_api_alice LOGIN IN ROLE regress_api_staff;
CREATE ROLE regress_api_exempt LOGIN;
CREATE DATABASE regress_betweenrows_looking;
\c regress_betweenrows_looking
CREATE EXTENSION betweenrows;
CREATE TABLE customers (id int, org text, ssn text, note text);
CREATE TABLE orders (id int, customer int, org text) PARTITION BY LIST (org);
CREATE TABLE orders_acme PARTITION OF orders FOR VALUES IN ('acme');
CREATE TABLE plain (id int);
CREATE VIEW by_ssn AS SELECT id FROM customers WHERE ssn LIKE '1%';
CREATE VIEW by_join AS SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer AND c.ssn IS NOT NULL;
CREATE VIEW by_subquery AS SELECT id FROM orders o WHERE EXISTS (SELECT FROM customers c WHERE c.id = o.customer AND c.ssn > '5');
CREATE VIEW shows_ssn AS SELECT id, ssn FROM customers WHERE org = 'acme';
CREATE VIEW of_alice AS SELECT id FROM customers WHERE ssn LIKE '1%';
ALTER VIEW of_alice OWNER TO regress_api_alice;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.define_attribute('tenant', 'string') IS NOT NULL AS defined;
SELECT betweenrows.create_role('regress_api_staff') IS NOT NULL AND betweenrows.create_role('all') IS NOT NULL AS created;
SELECT betweenrows.add_parent('regress_api_staff', 'all');
SELECT betweenrows.create_user('regress_api_alice', attributes => '{"tenant": "acme"}') IS NOT NULL AND betweenrows.create_user('regress_api_unknown', is_active => false) IS NOT NULL AS created;
SELECT betweenrows.filter_rows('orders', 'org = {user.tenant}', 'tenants');
SELECT betweenrows.mask_column('customers', 'ssn', $$'*'$$, 'mask-1', to_role => 'all');
SELECT betweenrows.mask_column('customers', 'ssn', $$'#'$$, 'mask-2', to_user => 'regress_api_alice');
SELECT betweenrows.deny_columns('customers', '{note}', 'no-notes', to_role => 'regress_api_staff');
SELECT betweenrows.filter_rows('customers', 'true', 'permitted');
SELECT betweenrows.alter_policy('permitted', definition => '{"filter_expression": "org = {user.tenant}", "mode": "permissive"}');
SELECT betweenrows.deny_table('plain', 'idle');
SELECT betweenrows.unassign_policy('idle');
SELECT betweenrows.create_policy('nowhere', 'table_deny', '[{"schemas": ["publik"], "tables": ["*"]}]') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('nowhere') IS NOT NULL AS assigned;

-- Membership in the PostgreSQL role counts, the role's parent too; of two masks the nearer one wins.
SELECT * FROM betweenrows.effective_policies('regress_api_alice');
SELECT * FROM betweenrows.effective_policies('regress_api_alice', 'orders_acme');
SELECT * FROM betweenrows.effective_policies('regress_api_alice', 'plain');
-- A user without a login role, inactive; a login role without a user; nobody; an exempt role.
SELECT * FROM betweenrows.effective_policies('regress_api_unknown', 'customers');
SELECT * FROM betweenrows.effective_policies('regress_api_exempt', 'customers');
SELECT * FROM betweenrows.effective_policies('regress_api_nobody', 'customers');  -- fail
SELECT betweenrows.exempt_role('regress_api_exempt');
SELECT betweenrows.exempt_role('regress_api_exempt');
SELECT * FROM betweenrows.effective_policies('regress_api_exempt', 'customers');
-- In policy_required mode a table without an allowlist is hidden by default.
SELECT betweenrows.set_access_mode('policy_required');
SELECT betweenrows.set_access_mode('policy_required');
SELECT * FROM betweenrows.effective_policies('regress_api_alice', 'plain');
SELECT betweenrows.allow_columns('plain', '{*}', 'plain-for-staff', to_role => 'all');
SELECT * FROM betweenrows.effective_policies('regress_api_alice', 'plain');

SELECT jsonb_pretty(betweenrows.status() - 'findings');
SELECT f ->> 'severity' AS severity, f ->> 'kind' AS kind, f ->> 'name' AS name, f ->> 'problem' AS problem
  FROM jsonb_array_elements(betweenrows.status() -> 'findings') f;

-- What closes tables, and what a superuser's own hands can do to the catalog.
RESET SESSION AUTHORIZATION;
UPDATE betweenrows.policies SET definition = jsonb_set(definition, '{filter_expression}', '"organization = {user.tenant}"') WHERE name = 'permitted';
-- Roles are of the whole server: one that is dropped from another database leaves its name here.
\c postgres
DROP ROLE regress_api_exempt;
\c regress_betweenrows_looking
UPDATE betweenrows.users SET attributes = '{"tenant": 5, "gone": true}' WHERE username = 'regress_api_alice';
UPDATE betweenrows.attribute_definitions SET default_value = '5' WHERE key = 'tenant';
UPDATE betweenrows.policies SET targets = '[]' WHERE name = 'no-notes';
UPDATE betweenrows.policies SET definition = '{}' WHERE name = 'mask-2';
UPDATE betweenrows.policies SET owner = 'regress_api_nobody' WHERE name = 'mask-1';
SET SESSION AUTHORIZATION regress_api_admin;
SELECT f ->> 'severity' AS severity, f ->> 'kind' AS kind, f ->> 'name' AS name, f ->> 'problem' AS problem
  FROM jsonb_array_elements(betweenrows.status() -> 'findings') f WHERE f ->> 'kind' <> 'view';
-- Altering repairs.
SELECT betweenrows.alter_user('regress_api_alice', attributes => '{}');
SELECT betweenrows.define_attribute('tenant', 'string') IS NOT NULL AS defined;
SELECT betweenrows.alter_policy('no-notes', targets => '[{"schemas": ["public"], "tables": ["customers"], "columns": ["note"]}]');
SELECT betweenrows.alter_policy('mask-1', definition => '{"mask_expression": "NULL"}');
RESET SESSION AUTHORIZATION;
-- A catalog that cannot be read at all closes everything; the reason is here.
ALTER TABLE betweenrows.policies ALTER owner DROP NOT NULL;
UPDATE betweenrows.policies SET owner = NULL WHERE name = 'idle';
SELECT f FROM jsonb_array_elements(betweenrows.status() -> 'findings') f WHERE f ->> 'kind' = 'catalog';
SELECT actor, action, object_kind, object_name, before, coalesce(after ->> 'rolename', after #>> '{}') AS after FROM betweenrows.admin_audit
 WHERE object_kind IN ('access_mode', 'exempt_role') ORDER BY id;
\c regression
DROP DATABASE regress_betweenrows_looking;
DROP ROLE regress_api_admin, regress_api_alice, regress_api_staff;
