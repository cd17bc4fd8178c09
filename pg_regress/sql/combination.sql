-- How policies on one table combine: restrictive and permissive filters, masks by priority, deny over everything.
CREATE ROLE regress_comb_alice LOGIN;
CREATE SCHEMA comb_demo;
GRANT USAGE ON SCHEMA comb_demo TO PUBLIC;
CREATE TABLE comb_demo.t (id int PRIMARY KEY, a text, b text);
INSERT INTO comb_demo.t SELECT n, 'a' || n, 'b' || n FROM generate_series(1, 8) n;
GRANT ALL ON comb_demo.t TO regress_comb_alice;
SELECT count(betweenrows.create_user('regress_comb_alice')) AS users;
SELECT count(betweenrows.create_role('comb role')) AS roles;
SELECT betweenrows.add_member('comb role', 'regress_comb_alice');
CREATE FUNCTION comb_demo.permissive(name text, expression text) RETURNS text LANGUAGE sql AS $$
    SELECT count(betweenrows.create_policy(name, 'row_filter', '[{"schemas": ["comb_demo"], "tables": ["t"]}]',
        jsonb_build_object('filter_expression', expression, 'mode', 'permissive')));
    SELECT count(betweenrows.assign_policy(name)) || ' assigned' $$;

-- Superuser's raw view
SELECT count(*) FROM comb_demo.t;
-- Restrictive filters are AND-ed.
SELECT betweenrows.filter_rows('comb_demo.t', 'id <= 6', name => 'comb r1'), betweenrows.filter_rows('comb_demo.t', 'id >= 2', name => 'comb r2');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT array_agg(id ORDER BY id) FROM comb_demo.t;
-- Permissive ones are OR-ed among themselves, and that is AND-ed in.
RESET SESSION AUTHORIZATION;
SELECT comb_demo.permissive('comb p1', 'id = 1'), comb_demo.permissive('comb p2', 'id = 3'), comb_demo.permissive('comb p3', 'id > 5');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT array_agg(id ORDER BY id) FROM comb_demo.t;
-- New rows have to pass the same.
INSERT INTO comb_demo.t VALUES (9, 'x', 'x');
UPDATE comb_demo.t SET id = 5 WHERE id = 3;
BEGIN;
DELETE FROM comb_demo.t RETURNING id;
ROLLBACK;
-- A NULL condition does not let a row through.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('comb_demo.t', 'NULLIF(id, 3) > 0', name => 'comb r3');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT array_agg(id ORDER BY id) FROM comb_demo.t;

-- Masks: the lowest priority number wins; ties go to the user, then to the role, then to everyone, then by name.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'comb %' ORDER BY name;
SELECT betweenrows.mask_column('comb_demo.t', 'a', '''everyone, z''', name => 'comb z');
SELECT betweenrows.mask_column('comb_demo.t', 'a', '''everyone, y''', name => 'comb y');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT DISTINCT a FROM comb_demo.t;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.mask_column('comb_demo.t', 'a', '''role''', name => 'comb role mask', to_role => 'comb role');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT DISTINCT a FROM comb_demo.t;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.mask_column('comb_demo.t', 'a', '''user''', name => 'comb user mask', to_user => 'regress_comb_alice');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT DISTINCT a FROM comb_demo.t;
RESET SESSION AUTHORIZATION;
SELECT count(betweenrows.assign_policy('comb z', priority => 99)) AS assigned;
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT DISTINCT a FROM comb_demo.t;
-- One policy reached twice counts once, with its lowest number.
RESET SESSION AUTHORIZATION;
SELECT count(betweenrows.assign_policy('comb y', to_role => 'comb role', priority => 98)) AS assigned;
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT DISTINCT a FROM comb_demo.t;
-- A policy that is switched off does nothing.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('comb y', is_enabled => false) AS version;
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT DISTINCT a FROM comb_demo.t;

-- Deny wins over masks and allowlists, whatever the priorities.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.allow_columns('comb_demo.t', ARRAY['a', 'id'], name => 'comb allow', to_user => 'regress_comb_alice');
SELECT betweenrows.deny_columns('comb_demo.t', ARRAY['a'], name => 'comb deny');
SELECT count(betweenrows.assign_policy('comb allow', to_user => 'regress_comb_alice', priority => 1)) AS assigned;
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT * FROM comb_demo.t ORDER BY id LIMIT 1;
SELECT a FROM comb_demo.t;
SELECT b FROM comb_demo.t;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.deny_table('comb_demo.t', name => 'comb table');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT id FROM comb_demo.t;
-- Allowlists are unions.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('comb table'), betweenrows.drop_policy('comb deny');
SELECT betweenrows.allow_columns('comb_demo.t', ARRAY['b'], name => 'comb allow b', to_role => 'comb role');
SET SESSION AUTHORIZATION regress_comb_alice;
SELECT * FROM comb_demo.t ORDER BY id LIMIT 1;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'comb %' ORDER BY name;
SELECT betweenrows.drop_role('comb role');
SET client_min_messages = warning;
SELECT betweenrows.drop_user('regress_comb_alice');
DROP SCHEMA comb_demo CASCADE;
DROP ROLE regress_comb_alice;
