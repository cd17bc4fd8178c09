-- What a policy's expression calls runs on raw rows, for every subject. Whoever can change a view or function that it uses,
-- or what an operator inside means, reads those rows: nothing of that may belong to a subject.
CREATE ROLE code_alice LOGIN;
CREATE ROLE code_admin LOGIN IN ROLE betweenrows_admin;
CREATE SCHEMA code;
CREATE SCHEMA code_alice AUTHORIZATION code_alice;
GRANT ALL ON SCHEMA code TO code_alice;
GRANT USAGE ON SCHEMA code TO code_admin;
SET search_path = code;
CREATE TABLE customers (id int, org text, ssn text);
INSERT INTO customers VALUES (1, 'acme', '111'), (2, 'globex', '222');
CREATE TABLE members (username text, org text);
INSERT INTO members VALUES ('code_alice', 'acme');
GRANT SELECT ON customers, members TO code_alice, code_admin;
CREATE VIEW members_view AS SELECT * FROM members;
GRANT SELECT ON members_view TO code_admin;
SELECT betweenrows.mask_column('customers', 'ssn', '''***''', 'code ssn');
SET SESSION AUTHORIZATION code_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE FUNCTION same(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'same => %', $1; RETURN $1; END $$;
CREATE VIEW alice_view AS SELECT username, org FROM members;
CREATE TABLE alice_table AS TABLE members;
GRANT SELECT ON alice_view, alice_table TO code_admin;
CREATE DOMAIN alice_domain AS text CHECK (f_leak(VALUE));
CREATE OPERATOR === (FUNCTION = textne, LEFTARG = text, RIGHTARG = text);
RESET SESSION AUTHORIZATION;

-- Viewpoint of the administrator: what does not belong to an exempt role is refused when a policy is saved.
SET SESSION AUTHORIZATION code_admin;
SELECT betweenrows.filter_rows('customers', 'f_leak(ssn)');  -- fail
SELECT betweenrows.mask_column('customers', 'org', 'same(org)');  -- fail
SELECT betweenrows.mask_column('customers', 'org', 'ssn::alice_domain');  -- fail
SELECT betweenrows.filter_rows('customers', 'org === ''acme''');  -- fail
SELECT betweenrows.filter_rows('customers', 'org IN (SELECT org FROM alice_view)');  -- fail
SELECT betweenrows.filter_rows('customers', 'EXISTS (SELECT FROM members m WHERE f_leak(m.org))');  -- fail
RESET SESSION AUTHORIZATION;

-- A view of a superuser over a view of alice, and functions of a superuser whose text means what the session makes of it.
CREATE VIEW over_alice AS SELECT * FROM alice_view;
GRANT SELECT ON over_alice TO code_admin;
CREATE FUNCTION not_pinned(text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT $1 = 'acme' $$;
CREATE FUNCTION not_pinned_plpgsql(text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN $1 = 'acme'; END $$;
CREATE FUNCTION atomic(text) RETURNS boolean LANGUAGE sql STABLE RETURN $1 = 'acme';
CREATE FUNCTION atomic_inside(text) RETURNS boolean LANGUAGE sql STABLE RETURN atomic($1) AND not_pinned($1);
CREATE FUNCTION calls_alice(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN same($1);
CREATE FUNCTION pinned(text) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN RETURN $1 = 'acme'; END $$;
CREATE FUNCTION step(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || $2 $$;
CREATE AGGREGATE collect(text) (sfunc = step, stype = text, initcond = '');
SET SESSION AUTHORIZATION code_admin;
SELECT betweenrows.filter_rows('customers', 'org IN (SELECT org FROM over_alice)');  -- fail
SELECT betweenrows.filter_rows('customers', 'not_pinned(org)');  -- fail
SELECT betweenrows.filter_rows('customers', 'not_pinned_plpgsql(org)');  -- fail
SELECT betweenrows.filter_rows('customers', 'atomic_inside(org)');  -- fail
SELECT betweenrows.mask_column('customers', 'org', 'calls_alice(org)');  -- fail
SELECT betweenrows.filter_rows('customers', '(SELECT collect(m.org) FROM members m) = org');  -- fail
SELECT message FROM betweenrows.validate_expression('customers', 'not_pinned(org)');
SELECT betweenrows.filter_rows('customers', 'pinned(org) AND atomic(org)', 'code functions');
SELECT betweenrows.filter_rows('customers',
    'org IN (SELECT org FROM members_view WHERE username = {user.username} INTERSECT SELECT org FROM alice_table)', 'code tables');

-- Viewpoint of alice: with her own operator in front, and everything she owns turned against the policies.
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM code.customers;
CREATE FUNCTION code_alice.equals(text, text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'equals => %', $1; RETURN true; END $$;
CREATE OPERATOR code_alice.= (FUNCTION = code_alice.equals, LEFTARG = text, RIGHTARG = text);
SET search_path = code_alice, code, pg_catalog;
SELECT id, org, ssn FROM customers;
SET search_path = code;
ALTER TABLE alice_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY leak ON alice_table USING (f_leak(org));
SELECT * FROM customers;  -- fail
DROP POLICY leak ON alice_table;
CREATE POLICY leak ON alice_table USING ((SELECT count(*) FROM customers WHERE ssn LIKE '2%') = 1);
SELECT * FROM customers;  -- fail
DROP POLICY leak ON alice_table;
CREATE POLICY fine ON alice_table USING (org <> '');
SELECT * FROM customers;
ALTER TABLE alice_table DISABLE ROW LEVEL SECURITY;

-- What is handed to a subject after the policy was saved closes the table.
RESET SESSION AUTHORIZATION;
ALTER VIEW members_view OWNER TO code_alice;
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM customers;  -- fail
CREATE OR REPLACE VIEW members_view AS SELECT username, org FROM members WHERE EXISTS (SELECT FROM customers WHERE f_leak(ssn));
SELECT * FROM customers;  -- fail
RESET SESSION AUTHORIZATION;
ALTER VIEW members_view OWNER TO postgres;
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM customers;  -- fail
RESET SESSION AUTHORIZATION;
CREATE OR REPLACE VIEW members_view AS SELECT * FROM members;
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM customers;
RESET SESSION AUTHORIZATION;
ALTER FUNCTION pinned(text) RESET search_path;
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM customers;  -- fail
RESET SESSION AUTHORIZATION;
ALTER FUNCTION pinned(text) SET search_path = pg_catalog;
ALTER FUNCTION pinned(text) OWNER TO code_alice;
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM customers;  -- fail
RESET SESSION AUTHORIZATION;
ALTER FUNCTION pinned(text) OWNER TO postgres;
SET SESSION AUTHORIZATION code_alice;
SELECT * FROM customers;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'code %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA code, code_alice CASCADE;
DROP OWNED BY code_alice, code_admin;
DROP ROLE code_alice, code_admin;
