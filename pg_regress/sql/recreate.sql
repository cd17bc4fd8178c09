-- Relations that come and go under names that policies are about.
CREATE ROLE regress_recreate_alice LOGIN;
CREATE SCHEMA recreate_demo;
CREATE SCHEMA "Recreate_demo";
CREATE SCHEMA recreate_pg_stuff;
GRANT USAGE ON SCHEMA recreate_demo, "Recreate_demo" TO PUBLIC;
CREATE TABLE recreate_demo.orders (id int, secret text);
INSERT INTO recreate_demo.orders VALUES (1, 'one'), (2, 'two');
GRANT SELECT ON recreate_demo.orders TO PUBLIC;
SELECT betweenrows.filter_rows('recreate_demo.orders', 'id = 1', name => 'recreate rows');
SELECT betweenrows.deny_columns('recreate_demo.orders', ARRAY['secret'], name => 'recreate secret');
SET SESSION AUTHORIZATION regress_recreate_alice;
PREPARE all_orders AS SELECT * FROM recreate_demo.orders;
EXECUTE all_orders;

-- Attack: dropped and recreated with another OID, even with a prepared statement around.
RESET SESSION AUTHORIZATION;
DROP TABLE recreate_demo.orders;
CREATE TABLE recreate_demo.orders (id int, secret text);
INSERT INTO recreate_demo.orders VALUES (1, 'one again'), (2, 'two again');
GRANT SELECT ON recreate_demo.orders TO PUBLIC;
SET SESSION AUTHORIZATION regress_recreate_alice;
EXECUTE all_orders;
SELECT * FROM recreate_demo.orders;
-- ... as a view
RESET SESSION AUTHORIZATION;
DROP TABLE recreate_demo.orders;
CREATE VIEW recreate_demo.orders AS SELECT n AS id, 'v' || n AS secret FROM generate_series(1, 2) n;
GRANT SELECT ON recreate_demo.orders TO PUBLIC;
SET SESSION AUTHORIZATION regress_recreate_alice;
SELECT * FROM recreate_demo.orders;
EXECUTE all_orders;

-- A table that somebody creates and that a pattern matches is governed from its first row on.
RESET SESSION AUTHORIZATION;
SELECT count(betweenrows.create_policy('recreate pattern', 'column_mask',
    '[{"schemas": ["*recreate*"], "tables": ["cust*rs"], "columns": ["*ssn*"]}]', '{"mask_expression": "''***''"}')) AS policies;
SELECT count(betweenrows.assign_policy('recreate pattern')) AS assigned;
CREATE TABLE recreate_demo.customers (id int, ssn text, old_ssn text);
CREATE TABLE recreate_demo."Customers" (id int, ssn text);
CREATE TABLE recreate_pg_stuff.customers (id int, ssn text);
INSERT INTO recreate_demo.customers VALUES (1, '123', '456');
INSERT INTO recreate_demo."Customers" VALUES (1, 'patterns are case-sensitive');
INSERT INTO recreate_pg_stuff.customers VALUES (1, '789');
GRANT USAGE ON SCHEMA recreate_pg_stuff TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA recreate_demo, recreate_pg_stuff TO PUBLIC;
SET SESSION AUTHORIZATION regress_recreate_alice;
SELECT * FROM recreate_demo.customers;
SELECT * FROM recreate_demo."Customers";
SELECT * FROM recreate_pg_stuff.customers;
-- A column added later is governed, too.
RESET SESSION AUTHORIZATION;
ALTER TABLE recreate_demo.customers ADD COLUMN new_ssn text DEFAULT 'new';
SET SESSION AUTHORIZATION regress_recreate_alice;
SELECT * FROM recreate_demo.customers;

-- A temporary table of the subject hides a governed name for this session only, and holds only what the subject put there.
CREATE TEMP TABLE customers AS SELECT * FROM recreate_demo.customers;
SELECT * FROM customers;
SELECT * FROM recreate_demo.customers;
DROP TABLE customers;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'recreate %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA recreate_demo, "Recreate_demo", recreate_pg_stuff CASCADE;
DROP ROLE regress_recreate_alice;
