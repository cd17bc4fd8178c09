-- Hostile input to every function: an error with a fixed SQLSTATE, and nothing changes. A database of its own, whose whole
-- catalog is hashed before and after.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE DATABASE regress_betweenrows_hostile;
\c regress_betweenrows_hostile
CREATE EXTENSION betweenrows;
CREATE TABLE orders (id int PRIMARY KEY, org text);
CREATE FUNCTION catalog_hash() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    relation regclass;
    content text;
    hash text := '';
BEGIN
    FOR relation IN
        SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'betweenrows'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT string_agg(t::text, E''\n'' ORDER BY t::text) FROM %s t', relation) INTO content;
        hash := md5(concat(hash, relation, content));
    END LOOP;
    hash := md5(hash || (SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles));
    RETURN hash;
END $$;
CREATE FUNCTION attempt(call text, OUT code text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT * FROM betweenrows.' || call;
    code := 'ACCEPTED';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    message := CASE WHEN length(message) > 90 THEN left(message, 87) || '...' ELSE message END;
    detail := CASE WHEN length(detail) > 90 THEN left(detail, 87) || '...' ELSE detail END;
END $$;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.define_attribute('tenant', 'string') IS NOT NULL AS defined;
SELECT betweenrows.create_user('regress_api_alice', attributes => '{"tenant": "acme"}') IS NOT NULL AS created;
SELECT betweenrows.create_role('staff') IS NOT NULL AND betweenrows.create_role('support') IS NOT NULL AS created;
SELECT betweenrows.add_parent('support', 'staff');
SELECT betweenrows.filter_rows('orders', 'org = {user.tenant}', 'p');
SELECT catalog_hash() AS before \gset

\pset format unaligned
\pset fieldsep ' | '
-- Every function for administrators with every argument null.
SELECT p.proname || '(' || n.args || ')' AS call, a.*
  FROM pg_proc p,
       LATERAL (SELECT coalesce(string_agg('null::' || format_type(t.type, NULL), ', ' ORDER BY t.n), '')
                  FROM unnest(p.proargtypes) WITH ORDINALITY t (type, n)) n (args),
       LATERAL attempt(p.proname || '(' || n.args || ')') a
 WHERE p.pronamespace = 'betweenrows'::regnamespace AND p.prorettype <> 'trigger'::regtype AND p.pronargs > 0
   AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
   -- PostgreSQL itself lets nobody call those.
   AND 'internal'::regtype <> ALL (p.proargtypes)
   -- Their arguments say for whom, and none means everyone.
   AND p.proname NOT IN ('grant_access', 'revoke_access')
 ORDER BY p.proname COLLATE "C";

SELECT call, a.* FROM unnest(ARRAY[
    -- empty, over-long and reserved names
    $$create_user('')$$,
    $$create_user(repeat('x', 64))$$,
    $$create_user(repeat('é', 32))$$,
    $$create_user(repeat('x', 10000000))$$,
    $$create_user('pg_admin', 'secret')$$,
    $$create_user('postgres', 'secret')$$,
    $$create_user('x', '')$$,
    $$create_role('')$$,
    $$create_role(repeat(' ', 5))$$,
    $$create_role(repeat('x', 101))$$,
    $$create_role('x', repeat('x', 10001))$$,
    $$create_policy('', 'table_deny', '[{"schemas": ["a"], "tables": ["b"]}]')$$,
    $$create_policy(repeat('x', 101), 'table_deny', '[{"schemas": ["a"], "tables": ["b"]}]')$$,
    $$create_policy('x', 'table_deny', '[{"schemas": ["a"], "tables": ["b"]}]', description => repeat('x', 10001))$$,
    $$define_attribute(repeat('x', 65), 'string')$$,
    $$define_attribute('t;drop table x', 'string')$$,
    $$define_attribute('é', 'string')$$,
    $$define_attribute('password', 'string')$$,
    -- values of the wrong type
    $$create_user('x', attributes => '[]')$$,
    $$create_user('x', attributes => '"tenant"')$$,
    $$create_user('x', attributes => 'null')$$,
    $$create_user('x', attributes => '{"tenant": 1}')$$,
    $$create_user('x', attributes => '{"tenant": ["acme"]}')$$,
    $$create_user('x', attributes => '{"": "acme"}')$$,
    $$create_user('x', attributes => '{"tenant": 1e400}')$$,
    $$set_attribute('regress_api_alice', 'tenant', '{}')$$,
    $$set_attribute('regress_api_alice', 'tenant', '1e400')$$,
    $$set_attribute('regress_api_alice', '', '1')$$,
    $$define_attribute('x', '')$$,
    $$define_attribute('x', 'STRING')$$,
    $$define_attribute('x', 'integer', '9223372036854775808')$$,
    $$define_attribute('x', 'integer', '1.5')$$,
    $$define_attribute('x', 'list', '[["nested"]]')$$,
    $$define_attribute('x', 'string', allowed_values => '[]')$$,
    $$define_attribute('x', 'string', allowed_values => '[null]')$$,
    $$define_attribute('x', 'string', allowed_values => (SELECT jsonb_agg(n::text) FROM generate_series(1, 10001) n))$$,
    $$define_attribute('x', 'string', to_jsonb(repeat('x', 65537)))$$,
    $$create_policy('x', 'Row_Filter', '[{"schemas": ["a"], "tables": ["b"]}]')$$,
    $$create_policy('x', 'table_deny', '{}')$$,
    $$create_policy('x', 'table_deny', 'null')$$,
    $$create_policy('x', 'table_deny', '[null]')$$,
    $$create_policy('x', 'table_deny', '[{"schemas": [], "tables": ["b"]}]')$$,
    $$create_policy('x', 'table_deny', '[{"schemas": ["a"], "tables": [""]}]')$$,
    $$create_policy('x', 'table_deny', '[{"schemas": ["a"], "tables": [1]}]')$$,
    $$create_policy('x', 'table_deny', '[{"schemas": "a", "tables": "b"}]')$$,
    $$create_policy('x', 'table_deny', jsonb_build_array(jsonb_build_object('schemas', '["a"]'::jsonb, 'tables', jsonb_build_array(repeat('*', 257)))))$$,
    $$create_policy('x', 'table_deny', (SELECT jsonb_agg('{"schemas": ["a"], "tables": ["b"]}'::jsonb) FROM generate_series(1, 1001)))$$,
    $$create_policy('x', 'table_deny', (repeat('[', 200) || repeat(']', 200))::jsonb)$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', '[]')$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', '{"filter_expression": 1}')$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', '{"filter_expression": ""}')$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', '{"filter_expression": "true", "mode": "both"}')$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', '{"filter_expression": "true", "check": "all"}')$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', '{"filter_expression": "true", "check": "none", "check_expression": "true"}')$$,
    $$create_policy('x', 'column_mask', '[{"schemas": ["a"], "tables": ["b"], "columns": ["c"]}]', '{"mask_expression": "1", "writable": "yes"}')$$,
    $$create_policy('x', 'row_filter', '[{"schemas": ["a"], "tables": ["b"]}]', jsonb_build_object('filter_expression', repeat('x', 65537)))$$,
    $$set_access_mode('closed')$$,
    $$set_access_mode('')$$,
    $$assign_policy('p', '', '')$$,
    $$assign_policy('p', 'regress_api_alice', 'staff')$$,
    $$assign_policy('p', to_user => repeat('x', 64))$$,
    $$effective_policies('')$$,
    $$effective_policies('regress_api_nobody')$$,
    -- what does not exist
    $$alter_user('regress_api_nobody', is_active => false)$$,
    $$set_attribute('regress_api_nobody', 'tenant', '"x"')$$,
    $$drop_user('regress_api_nobody')$$,
    $$alter_role('nobody', is_active => false)$$,
    $$drop_role('nobody')$$,
    $$add_member('nobody', 'regress_api_alice')$$,
    $$remove_member('staff', 'regress_api_alice')$$,
    $$add_parent('nobody', 'staff')$$,
    $$remove_parent('staff', 'support')$$,
    $$drop_attribute('nothing')$$,
    $$alter_policy('nothing')$$,
    $$alter_policy('p', -1)$$,
    $$alter_policy('p', 2147483647, is_enabled => false)$$,
    $$drop_policy('nothing')$$,
    $$assign_policy('nothing')$$,
    $$unassign_policy('p', to_role => 'staff')$$,
    $$exempt_role('regress_api_nobody')$$,
    $$exempt_role('regress_api_alice', false)$$,
    -- circles
    $$add_parent('staff', 'staff')$$,
    $$add_parent('staff', 'support')$$,
    -- relations that are none
    $$deny_table(0)$$,
    $$deny_table(4294967295)$$,
    $$deny_table('orders_pkey')$$,
    $$deny_columns('orders', NULL)$$,
    $$deny_columns('orders', '{}')$$,
    $$deny_columns('orders', '{NULL}')$$,
    $$deny_columns('orders', '{""}')$$,
    $$deny_columns('orders', ARRAY[repeat('x', 300)])$$,
    $$allow_columns('orders', '{ctid}')$$,
    $$mask_column('orders', '*', 'NULL')$$,
    $$mask_column('orders', 'org', '')$$,
    $$filter_rows('orders', ' ')$$,
    -- expressions that are more than an expression
    $$filter_rows('orders', 'true; DROP TABLE orders')$$,
    $$filter_rows('orders', 'true) OR (true')$$,
    $$filter_rows('orders', 'true /*')$$,
    $$filter_rows('orders', '$1 = org')$$,
    $$filter_rows('orders', 'org = ''{user.tenant')$$,
    $$filter_rows('orders', '{user.tenant}{user.tenant}')$$,
    $$filter_rows('orders', 'org = {user.te nant}')$$,
    $$filter_rows('orders', 'org = {user.password}')$$,
    $$filter_rows('orders', repeat('NOT ', 16000) || 'true')$$,
    $$filter_rows('orders', 'EXISTS (DELETE FROM orders RETURNING 1)')$$,
    $$filter_rows('orders', 'pg_sleep(1) IS NULL AND nextval(''nothing'') > 0')$$,
    -- documents
    $$apply('[]')$$,
    $$apply('{}')$$,
    $$apply('null')$$,
    $$apply('{"version": "1"}')$$,
    $$apply('{"version": 1e400}')$$,
    $$apply('{"version": 1, "users": {}}')$$,
    $$apply('{"version": 1, "users": [{"username": "x", "password": "secret"}]}')$$,
    $$apply('{"version": 1, "users": [{"username": "x"}, {"username": "x"}]}')$$,
    $$apply('{"version": 1, "users": [{"username": "x", "roles": ["nowhere"]}]}', dry_run => true)$$,
    $$apply('{"version": 1, "roles": [{"name": "staff", "parents": ["support"]}]}')$$,
    $$apply('{"version": 1, "roles": [{"name": "a", "parents": ["b"]}, {"name": "b", "parents": ["c"]}, {"name": "c", "parents": ["a"]}]}')$$,
    $$apply((SELECT jsonb_build_object('version', 1, 'roles', jsonb_agg(jsonb_build_object('name', 'r' || n, 'parents', jsonb_build_array('r' || n + 1)))) FROM generate_series(1, 12) n))$$,
    $$apply('{"version": 1, "attributes": [{"key": "tenant", "value_type": "boolean"}]}')$$,
    $$apply('{"version": 1, "policies": [{"name": "p", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["orders"]}], "definition": {"filter_expression": "nothing"}}]}')$$,
    $$apply('{"version": 1, "policies": [{"name": "x", "policy_type": "table_deny", "targets": [{"schemas": ["a"], "tables": ["b"]}], "assignments": [{"user": "regress_api_alice", "role": "staff"}]}]}')$$,
    $$apply('{"version": 1, "policies": [{"name": "x", "policy_type": "table_deny", "targets": [{"schemas": ["a"], "tables": ["b"]}], "assignments": [{"priority": 1.5}]}]}')$$,
    $$apply('{"version": 1, "access_mode": "policy_required", "policies": [{"name": "x", "policy_type": "table_deny", "targets": [{"schemas": ["a"], "tables": ["b"]}], "assignments": [{"role": "nowhere"}]}]}')$$,
    $$apply((repeat('{"a":', 500) || '1' || repeat('}', 500))::jsonb)$$,
    $$apply((SELECT jsonb_build_object('version', 1, 'users', jsonb_agg('{"username": ""}'::jsonb)) FROM generate_series(1, 100000)))$$
  ]) WITH ORDINALITY c (call, n), LATERAL attempt(call) a
 ORDER BY n;
SELECT catalog_hash() = :'before' AS unchanged;
\pset format aligned

-- Unusual names are names: 63 bytes, quotes, unicode, what looks like SQL.
SELECT betweenrows.create_user(repeat('é', 31) || 'x') IS NOT NULL AS created;
SELECT betweenrows.create_user(name) IS NOT NULL AS created FROM unnest(ARRAY['', ' ', '''; --', '"', E'tab\tnewline\n', '%s%n', '日本', 'ALICE', '\', '{user.tenant}']) name WHERE name <> '';
SELECT betweenrows.create_role(name) IS NOT NULL AS created FROM unnest(ARRAY['''; --', '"', '日本', '\', '*', '{user.tenant}', repeat('é', 100)]) name;
SELECT betweenrows.add_member('"', ' '), betweenrows.add_parent('日本', '*'), betweenrows.set_attribute('''; --', 'tenant', '"''; DROP TABLE orders; --"');
SELECT betweenrows.create_policy(repeat('é', 100), 'table_deny', '[{"schemas": ["\"; --"], "tables": ["*日*", "''"]}]', description => '''; --') IS NOT NULL AS created;
SELECT betweenrows.assign_policy(repeat('é', 100), to_role => '''; --') IS NOT NULL AS assigned;
SELECT count(*) FILTER (WHERE action <> 'none') AS changes, count(*) > 20 AS complete FROM betweenrows.apply(betweenrows.export(), prune => true);
SELECT betweenrows.filter_rows('orders', repeat('(', 3000) || 'true' || repeat(')', 3000) || ' -- ', 'parentheses');
-- A catalog that a superuser damaged is told of, not crashed on.
RESET SESSION AUTHORIZATION;
ALTER TABLE betweenrows.policies DISABLE TRIGGER touch;
UPDATE betweenrows.policies SET targets = '[1e400]', definition = (repeat('{"a":', 300) || '1' || repeat('}', 300))::jsonb WHERE name = 'p';
ALTER TABLE betweenrows.policies ENABLE ALWAYS TRIGGER touch;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT call, a.* FROM unnest(ARRAY[$$export()$$, $$alter_policy('p', is_enabled => false)$$, $$drop_policy('p')$$]) call, LATERAL attempt(call) a;
SELECT 1 AS alive;
\c regression
DROP DATABASE regress_betweenrows_hostile;
DROP ROLE regress_api_admin;
