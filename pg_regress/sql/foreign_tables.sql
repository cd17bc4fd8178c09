-- A foreign table's conditions may be evaluated by the other server, in an order that it chooses and on rows that a
-- filter excludes. The other server here is this one, by a connection of a user who sees everything.
SELECT NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'postgres_fdw') AS skip \gset
\if :skip
\quit
\endif
SET client_min_messages = warning;
CREATE EXTENSION postgres_fdw;
RESET client_min_messages;
CREATE ROLE foreign_alice LOGIN;
CREATE SCHEMA foreign_tables;
GRANT ALL ON SCHEMA foreign_tables TO foreign_alice;
SET search_path = foreign_tables;
CREATE TABLE remote_customers (id int PRIMARY KEY, agent text, ssn text, debt int);
INSERT INTO remote_customers VALUES
    (1, 'foreign_alice', '111-11-1111', 100), (2, 'foreign_alice', '222-22-2222', 200), (3, 'other', '333-33-3333', 0);
CREATE TABLE remote_visits (customer int, day int);
INSERT INTO remote_visits VALUES (1, 10), (2, 20), (3, 30);
DO $$ BEGIN
    EXECUTE format('CREATE SERVER foreign_loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname %L, host %L, port %L)',
        current_database(), split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'));
END $$;
CREATE USER MAPPING FOR PUBLIC SERVER foreign_loop OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE customers (id int, agent text, ssn text, debt int)
    SERVER foreign_loop OPTIONS (schema_name 'foreign_tables', table_name 'remote_customers');
CREATE FOREIGN TABLE visits (customer int, day int)
    SERVER foreign_loop OPTIONS (schema_name 'foreign_tables', table_name 'remote_visits');
CREATE TABLE agents (agent text);
INSERT INTO agents VALUES ('foreign_alice');
GRANT ALL ON customers, visits TO foreign_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'foreign own');
SELECT betweenrows.mask_column('customers', 'ssn', '''***-'' || right(ssn, 2)', 'foreign ssn');
-- The raw view of a superuser.
SELECT * FROM customers ORDER BY id;

-- Viewpoint of alice: an error for a row tells that the row is there and what is in it.
SET SESSION AUTHORIZATION foreign_alice;
SELECT * FROM customers WHERE f_leak(ssn) ORDER BY id;
SELECT id FROM customers WHERE 100 / debt > 0 ORDER BY id;
SELECT id FROM customers WHERE 1 / (id - 3) < 1 ORDER BY id;
SELECT id FROM customers WHERE ssn = '111-11-1111' OR ssn LIKE '333%';
SELECT id FROM customers WHERE ssn::int > 0;  -- fail
SELECT id FROM customers ORDER BY 100 / debt, ssn LIMIT 2;
SELECT count(*), max(ssn), sum(100 / debt) FROM customers;
SELECT c.id, day FROM customers c JOIN visits v ON v.customer = c.id AND 100 / debt > 0 ORDER BY 1;
SELECT day, c.ssn FROM visits v LEFT JOIN customers c ON v.customer = c.id AND 100 / debt > 0 ORDER BY 1;
SELECT day FROM visits v WHERE EXISTS (SELECT FROM customers c WHERE v.customer = c.id AND 100 / debt > 0) ORDER BY 1;
SELECT c, ctid IS NOT NULL, tableoid::regclass FROM customers c ORDER BY id;
SELECT id FROM customers ORDER BY id FOR UPDATE;
SELECT id FROM customers ORDER BY id LIMIT 1 FOR UPDATE;

-- Statements that write: one that runs on the other server as a whole, and one that does not.
UPDATE customers SET debt = debt WHERE 100 / debt > 0 RETURNING id, ssn;
UPDATE customers SET debt = debt WHERE f_leak(ssn) AND 100 / debt > 0 RETURNING id, ssn, debt;
DELETE FROM customers WHERE 100 / debt < 0 OR id = 3 RETURNING *;
UPDATE customers c SET debt = debt FROM visits v WHERE v.customer = c.id AND 100 / debt > 0 RETURNING c.id, v.day;
UPDATE customers SET agent = 'other' WHERE id = 1;  -- fail
UPDATE customers SET ssn = 'x' WHERE id = 1;  -- fail
INSERT INTO customers (id, agent) VALUES (4, 'other');  -- fail
INSERT INTO customers (id, agent, debt) VALUES (4, 'foreign_alice', 400) RETURNING *;
DELETE FROM customers WHERE id = 4 RETURNING id, debt;

-- The same with a filter that the other server cannot evaluate: what it could evaluate must not run there alone.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('foreign own',
    definition => '{"filter_expression": "agent IN (SELECT a.agent FROM foreign_tables.agents a)"}');
SET SESSION AUTHORIZATION foreign_alice;
SELECT id FROM customers WHERE 100 / debt > 0 ORDER BY id;
SELECT c.id, day FROM customers c JOIN visits v ON v.customer = c.id AND 100 / debt > 0 ORDER BY 1;
SELECT count(*), max(100 / debt) FROM customers WHERE id >= 3;
SELECT id FROM customers ORDER BY 100 / debt, id LIMIT 1;
UPDATE customers SET debt = debt WHERE 100 / debt > 0 RETURNING id, ssn;
UPDATE customers SET debt = debt WHERE id = 3 AND 100 / debt > 0;
UPDATE customers SET debt = debt WHERE id = 3 AND f_leak('x'::text);
UPDATE customers SET debt = 100 / debt WHERE id = 3;
UPDATE customers c SET debt = debt FROM visits v WHERE v.customer = c.id AND 100 / debt > 0 RETURNING c.id, v.day;
UPDATE customers c SET debt = debt WHERE EXISTS (SELECT FROM visits v WHERE v.customer = c.id AND 100 / c.debt > 0) RETURNING id;
DELETE FROM customers WHERE 100 / debt < 0 RETURNING *;
DELETE FROM customers c USING visits v WHERE c.id = v.customer AND 100 / debt < 0;
UPDATE customers SET agent = 'other' WHERE id = 1;  -- fail
INSERT INTO customers (id, agent) VALUES (5, 'other');  -- fail

-- With a column that does not exist, and as a table that does not.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.deny_columns('customers', '{debt}', 'foreign debt');
SELECT betweenrows.deny_table('visits', 'foreign visits');
SET SESSION AUTHORIZATION foreign_alice;
SELECT * FROM customers ORDER BY id;
SELECT debt FROM customers;  -- fail
SELECT c FROM customers c WHERE c::text LIKE '%100%';
SELECT * FROM visits;  -- fail

-- As a partition: the parent's policies hold for rows of the other server.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'foreign %' ORDER BY name;
CREATE TABLE all_customers (id int, agent text, ssn text, debt int) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF all_customers FOR VALUES FROM (-100) TO (0);
INSERT INTO low VALUES (-1, 'foreign_alice', '999', 0), (-2, 'other', '998', 9);
ALTER TABLE all_customers ATTACH PARTITION customers FOR VALUES FROM (0) TO (100);
GRANT ALL ON all_customers TO foreign_alice;
SELECT betweenrows.filter_rows('all_customers', 'agent = {user.username}', 'foreign own');
SELECT betweenrows.mask_column('all_customers', 'ssn', '''-''', 'foreign ssn');
SET SESSION AUTHORIZATION foreign_alice;
SELECT tableoid::regclass, * FROM all_customers WHERE f_leak(ssn) ORDER BY id;
SELECT id FROM all_customers WHERE id > 0 AND 100 / debt > 0 ORDER BY id;
SELECT id FROM customers WHERE 100 / debt > 0 ORDER BY id;
INSERT INTO all_customers (id, agent, debt) VALUES (5, 'foreign_alice', 500) RETURNING *;
INSERT INTO all_customers (id, agent, debt) VALUES (6, 'other', 600);  -- fail
INSERT INTO all_customers (id, agent, debt) VALUES (-3, 'other', 600);  -- fail
UPDATE all_customers SET agent = 'other' WHERE id = 5;  -- fail
UPDATE all_customers SET id = id + 10, agent = 'other' WHERE id = -1;  -- fail
UPDATE all_customers SET id = id + 10 WHERE id = -1 RETURNING *;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('foreign own',
    definition => '{"filter_expression": "agent IN (SELECT a.agent FROM foreign_tables.agents a)"}');
SET SESSION AUTHORIZATION foreign_alice;
SELECT id FROM all_customers WHERE id > 0 AND 100 / (3 - id) <> 0 ORDER BY id;
UPDATE all_customers SET debt = debt WHERE id > 0 AND 100 / (3 - id) <> 0 RETURNING id;
DELETE FROM all_customers WHERE id > 0 AND 100 / (3 - id) > 100;

-- The raw view of a superuser.
RESET SESSION AUTHORIZATION;
SELECT * FROM remote_customers ORDER BY id;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'foreign %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA foreign_tables CASCADE;
DROP EXTENSION postgres_fdw CASCADE;
DROP OWNED BY foreign_alice;
DROP ROLE foreign_alice;
