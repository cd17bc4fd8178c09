-- Names are not what they seem: a temporary table, a schema that comes first in the search_path, an own function or
-- operator, other case, a system's name. Policies are about relations, and their expressions mean what they meant when
-- they were written, whatever a session does to its names.
CREATE ROLE shadow_alice LOGIN;
CREATE SCHEMA shadow;
CREATE SCHEMA shadow_mine;
GRANT USAGE ON SCHEMA shadow TO shadow_alice;
GRANT ALL ON SCHEMA shadow_mine TO shadow_alice;
SET search_path = shadow;
CREATE TABLE customers (id int, agent text, ssn text);
INSERT INTO customers VALUES (1, 'shadow_alice', '111'), (2, 'other', '222');
CREATE TABLE agents (name text, active boolean);
INSERT INTO agents VALUES ('shadow_alice', true);
CREATE TABLE "Customers" (id int, secret text);
INSERT INTO "Customers" VALUES (1, 'upper case');
CREATE TABLE pg_stuff (id int, agent text);
INSERT INTO pg_stuff VALUES (1, 'shadow_alice'), (2, 'other');
CREATE TABLE "select ""from""; --" (id int, "a column" text, "SSN" text);
INSERT INTO "select ""from""; --" VALUES (1, 'x', 'y');
GRANT ALL ON ALL TABLES IN SCHEMA shadow TO shadow_alice;
REVOKE ALL ON agents FROM shadow_alice;
CREATE FUNCTION is_mine(text) RETURNS boolean LANGUAGE sql STABLE RETURN $1 = 'shadow_alice';
SELECT betweenrows.create_policy('shadow own', 'row_filter', '[{"schemas": ["shadow"], "tables": ["customers", "pg_*"]}]',
    '{"filter_expression": "agent IN (SELECT name FROM agents WHERE active) AND is_mine(agent) AND lower(agent) = agent"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('shadow own') IS NOT NULL AS assigned;
SELECT betweenrows.mask_column('customers', 'ssn', 'left(ssn, 1)', 'shadow ssn');
SELECT betweenrows.deny_table('"Customers"', 'shadow upper');
SELECT betweenrows.mask_column('"select ""from""; --"', 'a column', '''-''', 'shadow a column');
SELECT betweenrows.deny_columns('"select ""from""; --"', '{SSN}', 'shadow SSN');
-- The raw view of a superuser.
SELECT * FROM customers, pg_stuff;

-- Viewpoint of alice: what policies mention by name, made anew in places that are searched first.
SET SESSION AUTHORIZATION shadow_alice;
SELECT * FROM customers;
CREATE TEMP TABLE agents (name text, active boolean);
INSERT INTO agents VALUES ('shadow_alice', true), ('other', true);
CREATE TABLE shadow_mine.agents AS TABLE agents;
CREATE FUNCTION shadow_mine.is_mine(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'is_mine => %', $1; RETURN true; END $$;
CREATE FUNCTION shadow_mine.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'lower => %', $1; RETURN $1; END $$;
CREATE FUNCTION shadow_mine.left(text, int) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION shadow_mine.equals(text, text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'equals => %', $1; RETURN true; END $$;
CREATE OPERATOR shadow_mine.= (FUNCTION = shadow_mine.equals, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION pg_temp.is_mine(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION pg_temp.left(text, int) RETURNS text LANGUAGE sql AS 'SELECT $1';
SET search_path = shadow_mine, pg_temp, shadow, pg_catalog;
SELECT * FROM customers;
SELECT * FROM shadow.customers WHERE is_mine(agent) AND ssn = '111';
SELECT * FROM shadow.pg_stuff;
SET search_path = '';
SELECT * FROM shadow.customers;
SET search_path = pg_temp, shadow_mine;
SELECT * FROM shadow.customers;
UPDATE shadow.customers SET agent = 'other' WHERE id = 1;  -- fail
INSERT INTO shadow.customers (id, agent) VALUES (3, 'other');  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('shadow ssn', description => 'compiled anew while alice has her names');
SET SESSION AUTHORIZATION shadow_alice;
SELECT * FROM shadow.customers;

-- Tables in the place of governed ones are her own; the governed one stays what it is by its full name.
SET search_path = shadow_mine, shadow;
CREATE TEMP TABLE customers AS SELECT * FROM shadow.customers;
INSERT INTO customers VALUES (9, 'other', '999');
SELECT * FROM customers ORDER BY id;
SELECT * FROM shadow.customers;
SELECT t.id, c.id FROM customers t LEFT JOIN shadow.customers c USING (ssn) ORDER BY 1;
DROP TABLE customers;
CREATE TABLE shadow_mine.customers AS SELECT * FROM shadow.customers;
SELECT * FROM customers;
PREPARE p AS SELECT * FROM customers;
EXECUTE p;
CREATE FUNCTION shadow_mine.count_customers() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM customers); END $$;
SELECT count_customers();
DROP TABLE shadow_mine.customers;
EXECUTE p;
SELECT count_customers();
CREATE TEMP TABLE customers (id int, agent text, ssn text);
EXECUTE p;
SELECT count_customers();
DROP TABLE customers;
WITH customers AS (SELECT 'a CTE' AS name) SELECT * FROM customers, shadow.customers c;
CREATE TEMP VIEW customers AS SELECT * FROM shadow.customers;
SELECT * FROM customers;
DROP VIEW customers;

-- Case and quoting.
SET search_path = shadow;
SELECT * FROM "Customers";  -- fail
SELECT * FROM "shadow"."Customers";  -- fail
SELECT * FROM CUSTOMERS, SHADOW.CuStOmErS c;
SELECT * FROM U&"c\0075stomers";
SELECT * FROM "select ""from""; --";
SELECT "a column", "SSN" FROM "select ""from""; --";  -- fail
SELECT SSN FROM "select ""from""; --";  -- fail
SELECT s FROM "select ""from""; --" s;
CREATE TABLE shadow_mine."Customers" (id int);
SELECT * FROM shadow_mine."Customers";
SET search_path = shadow_mine, shadow;
SELECT * FROM "Customers";
SET search_path = shadow;

-- Another relation in the place of one that policies are about by its name is governed when it comes, also if it was
-- renamed into it, also for plans that are older.
RESET SESSION AUTHORIZATION;
DEALLOCATE p;
CREATE TABLE pg_late (id int, agent text);
INSERT INTO pg_late VALUES (1, 'shadow_alice'), (2, 'other');
CREATE TABLE other_name (id int, agent text);
INSERT INTO other_name VALUES (1, 'shadow_alice'), (2, 'other');
GRANT ALL ON pg_late, other_name TO shadow_alice;
SET SESSION AUTHORIZATION shadow_alice;
SELECT * FROM pg_late;
PREPARE p AS SELECT * FROM other_name;
EXECUTE p;
RESET SESSION AUTHORIZATION;
ALTER TABLE other_name RENAME TO pg_other;
SET SESSION AUTHORIZATION shadow_alice;
EXECUTE p;  -- fail
SELECT * FROM pg_other;
RESET SESSION AUTHORIZATION;
ALTER TABLE pg_other SET SCHEMA shadow_mine;
SET SESSION AUTHORIZATION shadow_alice;
SELECT * FROM shadow_mine.pg_other;
RESET SESSION AUTHORIZATION;
ALTER TABLE shadow_mine.pg_other SET SCHEMA shadow;
ALTER SCHEMA shadow RENAME TO shadow_moved;
SET SESSION AUTHORIZATION shadow_alice;
SELECT * FROM shadow_moved.pg_other;
RESET SESSION AUTHORIZATION;
ALTER SCHEMA shadow_moved RENAME TO shadow;
SET SESSION AUTHORIZATION shadow_alice;
SELECT * FROM pg_other;
DEALLOCATE p;

-- Dropped and made anew under the same name.
RESET SESSION AUTHORIZATION;
BEGIN;
DROP TABLE customers;
CREATE TABLE customers (ssn text, agent text, note text);
INSERT INTO customers VALUES ('333', 'shadow_alice', 'a'), ('444', 'other', 'b');
GRANT ALL ON customers TO shadow_alice;
SET LOCAL SESSION AUTHORIZATION shadow_alice;
SELECT * FROM customers;
ROLLBACK;
SET SESSION AUTHORIZATION shadow_alice;
SET search_path = shadow;
SELECT * FROM customers;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'shadow %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA shadow, shadow_mine CASCADE;
DROP OWNED BY shadow_alice;
DROP ROLE shadow_alice;
