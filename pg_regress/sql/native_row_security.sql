-- PostgreSQL's own row security beside ours: its policies were written for raw values, by whoever owns the table, and may
-- read governed tables themselves. Neither may open what the other closes, and a subject's own policies are just another
-- place for a subject's functions.
CREATE ROLE native_alice LOGIN;
CREATE ROLE native_bob LOGIN;
CREATE ROLE native_bypass LOGIN BYPASSRLS;
CREATE SCHEMA native;
GRANT ALL ON SCHEMA native TO native_alice, native_bob, native_bypass;
SET search_path = native;
CREATE TABLE customers (id int PRIMARY KEY, agent text, region text, ssn text, debt int);
INSERT INTO customers VALUES
    (1, 'native_alice', 'north', '111', 100), (2, 'native_alice', 'south', '222', 200),
    (3, 'native_bob', 'north', '333', 300), (4, 'native_bob', 'south', '444', 400);
CREATE TABLE regions (name text, open boolean);
INSERT INTO regions VALUES ('north', true), ('south', false);
CREATE TABLE visits (customer int, day int);
INSERT INTO visits VALUES (1, 10), (2, 20), (3, 30), (4, 40);
GRANT ALL ON ALL TABLES IN SCHEMA native TO native_alice, native_bob, native_bypass;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;

-- Row security on columns that are masked or hidden for alice: it sees raw values, and what it lets through is filtered.
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON customers USING (debt < 350 AND ssn < '4') WITH CHECK (debt < 350 OR debt IS NULL);
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'native own');
SELECT betweenrows.mask_column('customers', 'ssn', '''-''', 'native ssn');
SELECT betweenrows.deny_columns('customers', '{debt}', 'native debt');
-- The raw view of a superuser.
SELECT * FROM customers ORDER BY id;
SET SESSION AUTHORIZATION native_alice;
SELECT * FROM customers WHERE f_leak(ssn) AND f_leak(region) ORDER BY id;
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM customers WHERE f_leak(ssn) AND f_leak('called'::text) ORDER BY id;
UPDATE customers SET region = region RETURNING *;
UPDATE customers SET agent = 'native_alice';  -- fail
INSERT INTO customers (id, agent) VALUES (5, 'native_alice');  -- fail
INSERT INTO customers (id, agent) VALUES (5, 'native_bob');
-- BYPASSRLS bypasses row security, not policies; neither does the table's owner, nor row_security = off.
SET SESSION AUTHORIZATION native_bypass;
SELECT * FROM customers;
SELECT count(*) FROM visits;
SET SESSION AUTHORIZATION native_alice;
SET row_security = off;
SELECT * FROM customers;  -- fail
RESET row_security;
RESET SESSION AUTHORIZATION;
ALTER TABLE customers OWNER TO native_bob;
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM customers ORDER BY id;
SET row_security = off;
SELECT * FROM customers ORDER BY id;
RESET row_security;
RESET SESSION AUTHORIZATION;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM customers ORDER BY id;
RESET SESSION AUTHORIZATION;
ALTER TABLE customers OWNER TO postgres;
GRANT ALL ON customers TO native_bob;

-- Row security that reads a governed table in a subquery reads it as who asks, whoever wrote it.
ALTER TABLE visits ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_visible ON visits USING (EXISTS (SELECT FROM customers c WHERE c.id = customer AND f_leak(c.ssn)));
SET SESSION AUTHORIZATION native_alice;
SELECT * FROM visits WHERE f_leak(day) ORDER BY customer;
UPDATE visits SET day = day + 1 RETURNING *;
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM visits ORDER BY customer;
RESET SESSION AUTHORIZATION;
DROP POLICY of_visible ON visits;
CREATE POLICY of_debt ON visits USING (customer IN (SELECT c.id FROM customers c WHERE c.debt > 0));
SET SESSION AUTHORIZATION native_alice;
SELECT * FROM visits;
RESET SESSION AUTHORIZATION;
DROP POLICY of_debt ON visits;
ALTER TABLE visits DISABLE ROW LEVEL SECURITY;

-- The same on the governed table, at any place in FROM, with references to the whole row.
CREATE POLICY whole ON customers AS RESTRICTIVE USING ((customers.*)::text LIKE '%native%' AND EXISTS (
    SELECT FROM visits v WHERE v.customer = customers.id AND v.day < 35 AND customers.tableoid > 0 AND customers IS NOT NULL));
SET SESSION AUTHORIZATION native_alice;
SELECT * FROM customers WHERE f_leak(ssn) ORDER BY id;
SELECT r.name, c.* FROM regions r JOIN visits v ON true JOIN customers c ON c.region = r.name AND c.id = v.customer ORDER BY c.id;
SELECT c, x.id FROM visits v, customers c, customers x WHERE c.id = v.customer AND x.ctid = c.ctid ORDER BY 2;
UPDATE customers SET region = region WHERE f_leak(customers) RETURNING id;
RESET SESSION AUTHORIZATION;
DROP POLICY whole ON customers;

-- A table that alice owns: her row security on it runs for others who read it, on what they see.
ALTER TABLE regions OWNER TO native_alice;
SET SESSION AUTHORIZATION native_alice;
ALTER TABLE regions ENABLE ROW LEVEL SECURITY;
CREATE POLICY spy ON regions USING (f_leak(name) AND EXISTS (SELECT FROM native.customers c WHERE f_leak(c.ssn)));
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM regions ORDER BY name;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('regions', 'open', 'native regions');
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM regions ORDER BY name;

-- A filter that reads a table with row security reads it with the rights of the policy's owner, here without any.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('native own',
    definition => '{"filter_expression": "region IN (SELECT r.name FROM native.regions r WHERE r.open)"}');
SET SESSION AUTHORIZATION native_bob;
SELECT * FROM customers ORDER BY id;
RESET SESSION AUTHORIZATION;
CREATE ROLE native_admin LOGIN IN ROLE betweenrows_admin;
GRANT USAGE ON SCHEMA native TO native_admin;
GRANT SELECT ON regions TO native_admin;
ALTER TABLE regions OWNER TO postgres;
DROP POLICY spy ON regions;
CREATE POLICY south ON regions TO native_admin USING (name = 'south');
SELECT betweenrows.drop_policy('native own');
SET SESSION AUTHORIZATION native_admin;
SELECT betweenrows.filter_rows('native.customers', 'region IN (SELECT r.name FROM native.regions r)', 'native own');
SET SESSION AUTHORIZATION native_alice;
SELECT * FROM customers ORDER BY id;

-- Merged with what a statement brings along: joins, subqueries, updates of both kinds.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('native own', definition => '{"filter_expression": "agent = {user.username}"}');
SET SESSION AUTHORIZATION native_alice;
SELECT v.day, c.ssn FROM visits v LEFT JOIN customers c ON c.id = v.customer ORDER BY 1;
SELECT v.day, c, c.tableoid::regclass FROM visits v LEFT JOIN customers c ON c.id = v.customer AND f_leak(c) ORDER BY 1;
SELECT v.day, (SELECT c.ssn FROM visits o, customers c WHERE c.id = o.customer AND o.day = v.day) FROM visits v ORDER BY 1;
UPDATE customers c SET region = 'x' FROM visits v WHERE v.customer = c.id AND v.day > 15 AND f_leak(c.ssn) RETURNING c.id, c.region;
MERGE INTO customers c USING visits v ON c.id = v.customer WHEN MATCHED AND f_leak(c.ssn) THEN UPDATE SET region = 'merged';
INSERT INTO customers (id, agent, region) VALUES (1, 'native_alice', 'y') ON CONFLICT (id) DO NOTHING RETURNING *;  -- fail
INSERT INTO customers (id, agent, region) VALUES (3, 'native_alice', 'y') ON CONFLICT (id) DO UPDATE SET region = excluded.region;  -- fail
DELETE FROM customers WHERE id IN (2, 3, 4) RETURNING id;
RESET SESSION AUTHORIZATION;
SELECT * FROM customers ORDER BY id;

SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'native %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA native CASCADE;
DROP OWNED BY native_alice, native_bob, native_bypass, native_admin;
DROP ROLE native_alice, native_bob, native_bypass, native_admin;
