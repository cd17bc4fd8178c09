-- Attribute definitions: define_attribute, drop_attribute, and what depends on them.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE TABLE regress_orders (id int, org text, region text);
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.define_attribute('regress_tenant', 'string', allowed_values => '["acme", "globex"]', description => 'whose rows') IS NOT NULL AS defined;
SELECT betweenrows.define_attribute('regress_regions', 'list', '["eu"]', '["eu", "us"]', true) IS NOT NULL AS defined;
SELECT betweenrows.define_attribute('regress_flag', 'boolean', 'false') IS NOT NULL AS defined;
-- What does not fit is refused, with its path.
SELECT betweenrows.define_attribute('regress_bad', 'text');  -- fail
SELECT betweenrows.define_attribute('regress_bad', 'integer', '"1"');  -- fail
SELECT betweenrows.define_attribute('regress_bad', 'string', '"x"', '["a"]');  -- fail
SELECT betweenrows.define_attribute('regress_bad', 'list', allowed_values => '["a", 1]');  -- fail
SELECT betweenrows.define_attribute('regress_bad', 'string', allowed_values => '{}');  -- fail
SELECT betweenrows.define_attribute('username', 'string');  -- fail
SELECT betweenrows.define_attribute('regress bad', 'string');  -- fail
SELECT betweenrows.define_attribute('', 'string');  -- fail

SELECT betweenrows.create_user('regress_api_alice', attributes => '{"regress_tenant": "acme", "regress_regions": ["eu", "us"]}') IS NOT NULL AS created;
SELECT betweenrows.filter_rows('regress_orders', 'org = {user.regress_tenant} and region in ({user.regress_regions})', 'regress-filter', to_user => 'regress_api_alice');
-- Defined anew: more values are fine, fewer only as long as no user has them.
SELECT betweenrows.define_attribute('regress_tenant', 'string', allowed_values => '["acme", "globex", "stark"]') IS NOT NULL AS defined;
SELECT betweenrows.define_attribute('regress_tenant', 'string', allowed_values => '["globex"]');  -- fail
SELECT betweenrows.define_attribute('regress_regions', 'list', allowed_values => '["eu"]');  -- fail
-- Another type is refused as long as a policy does not suit it.
SELECT betweenrows.set_attribute('regress_api_alice', 'regress_tenant', NULL);
SELECT betweenrows.define_attribute('regress_tenant', 'integer');  -- fail
-- The same again changes nothing.
SELECT betweenrows.define_attribute('regress_tenant', 'string', allowed_values => '["acme", "globex", "stark"]') IS NOT NULL AS defined;
-- Dropping asks for the uses first.
SELECT betweenrows.drop_attribute('regress_tenant');  -- fail
SELECT betweenrows.drop_attribute('regress_regions');  -- fail
SELECT betweenrows.drop_attribute('regress_nothing');  -- fail
SELECT betweenrows.drop_attribute('regress_flag');
SELECT betweenrows.drop_attribute('regress_regions', force => true);
RESET SESSION AUTHORIZATION;
SELECT attributes FROM betweenrows.users WHERE username = 'regress_api_alice';
-- The policy is broken now and closes its table; status() says why.
SELECT f ->> 'name' AS name, f ->> 'problem' AS problem
  FROM jsonb_array_elements(betweenrows.status() -> 'findings') f WHERE f ->> 'name' LIKE 'regress%';
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.drop_policy('regress-filter');
SELECT betweenrows.drop_user('regress_api_alice');
SELECT betweenrows.drop_attribute('regress_tenant');
RESET SESSION AUTHORIZATION;
SELECT action, object_name, before -> 'allowed_values' AS old, after -> 'allowed_values' AS new, after ->> 'description' AS description
  FROM betweenrows.admin_audit WHERE object_kind = 'attribute' AND object_name LIKE 'regress%' ORDER BY id;
DROP TABLE regress_orders;
DROP ROLE regress_api_admin;
