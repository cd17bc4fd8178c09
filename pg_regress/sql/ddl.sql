-- Definitions. The owner of a table is a subject like any other, but could get at what policies hide with statements that read
-- whole tables themselves or leave code behind that PostgreSQL runs over raw rows: triggers, expression indexes, generated
-- columns, new column types, checks, foreign keys, statistics, rules. Hidden tables would be found by their names, or by
-- what depends on them.
CREATE ROLE regress_ddl_alice LOGIN;
CREATE ROLE regress_ddl_dba LOGIN;
CREATE SCHEMA defining;
SET search_path = defining;
GRANT ALL ON SCHEMA defining TO regress_ddl_alice, regress_ddl_dba;
-- Prints whatever it is called with.
CREATE FUNCTION leak(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;
CREATE FUNCTION leak_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'leaked %', OLD; RETURN NEW; END $$;
ALTER FUNCTION leak OWNER TO regress_ddl_alice;
ALTER FUNCTION leak_trigger OWNER TO regress_ddl_alice;
CREATE FUNCTION used(int) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 IS NOT NULL;
CREATE FUNCTION below(int) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN used($1);
ALTER FUNCTION used OWNER TO regress_ddl_alice;
CREATE DOMAIN code AS int;
ALTER DOMAIN code OWNER TO regress_ddl_alice;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text, salary int CHECK (below(salary)), code code);
CREATE INDEX people_org ON people (org);
CREATE TABLE vault (id int PRIMARY KEY, code text);
CREATE TABLE free (id int PRIMARY KEY, t text);
CREATE TABLE spare (id int);
CREATE TABLE events (y int, t text) PARTITION BY LIST (y);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE MATERIALIZED VIEW summary AS SELECT org, count(*) FROM people GROUP BY org;
CREATE VIEW staff AS SELECT id, ssn FROM people;
CREATE VIEW vault_view AS SELECT t FROM free;
CREATE TYPE pair AS (a int, b int);
INSERT INTO people VALUES (1, 'acme', '111', 10, 1), (2, 'globex', '222', 20, NULL);
INSERT INTO vault VALUES (1, 'top secret');
INSERT INTO events VALUES (7, 'hidden');
ALTER TABLE people OWNER TO regress_ddl_alice;
ALTER TABLE vault OWNER TO regress_ddl_alice;
ALTER TABLE spare OWNER TO regress_ddl_alice;
ALTER TABLE free OWNER TO regress_ddl_alice;
ALTER TABLE events OWNER TO regress_ddl_alice;
ALTER TABLE events_rest OWNER TO regress_ddl_alice;
ALTER VIEW staff OWNER TO regress_ddl_alice;
ALTER VIEW vault_view OWNER TO regress_ddl_alice;
ALTER MATERIALIZED VIEW summary OWNER TO regress_ddl_alice;
ALTER TYPE pair OWNER TO regress_ddl_alice;
SELECT betweenrows.exempt_role('regress_ddl_dba');
CREATE FUNCTION of_dba() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION of_dba OWNER TO regress_ddl_dba;
GRANT regress_ddl_dba TO regress_ddl_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'ddl-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$, 'ddl-ssn');
SELECT betweenrows.deny_columns('people', '{salary}', 'ddl-salary');
SELECT betweenrows.deny_table('vault', 'ddl-vault');
SELECT betweenrows.deny_table('vault_view', 'ddl-vault-view');
SELECT betweenrows.filter_rows('events', 'y < 5', 'ddl-events');
SELECT betweenrows.filter_rows('summary', 'true', 'ddl-summary');
SELECT betweenrows.mask_column('staff', 'ssn', $$'*'$$, 'ddl-staff');
-- Every statement with its error, or "done" and rolled back.
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text;
BEGIN
    EXECUTE statement;
    RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN CASE WHEN SQLSTATE = 'ZZZZZ' THEN 'done' ELSE concat_ws(' ', SQLSTATE, left(message, 60), nullif(detail, '')) END;
END $$;

-- Viewpoint of alice, who owns everything.
SET SESSION AUTHORIZATION regress_ddl_alice;
SELECT * FROM people;
SELECT statement, attempt(statement) FROM unnest(ARRAY[
    'CREATE INDEX ON people (leak(salary))',
    'CREATE INDEX ON people (id)',
    'CREATE INDEX ON people (id) WHERE leak(ssn)',
    'CREATE STATISTICS s ON ssn, org FROM people',
    'CREATE TRIGGER t AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION leak_trigger()',
    'CREATE RULE r AS ON UPDATE TO people DO ALSO SELECT leak(OLD.ssn)',
    'CREATE POLICY p ON people USING (leak(ssn))',
    'CREATE PUBLICATION p FOR TABLE people',
    'ALTER TABLE people ALTER ssn TYPE int USING ssn::int',
    'ALTER TABLE people ALTER ssn TYPE text USING leak(ssn)',
    'ALTER TABLE people ADD COLUMN copy text GENERATED ALWAYS AS (ssn) STORED',
    'ALTER TABLE people ADD COLUMN n bigserial',
    'ALTER TABLE people ADD CHECK (leak(ssn))',
    'ALTER TABLE people ALTER org SET NOT NULL',
    'ALTER TABLE people ADD FOREIGN KEY (id) REFERENCES free',
    'ALTER TABLE free ADD FOREIGN KEY (id) REFERENCES people',
    'CREATE TABLE probe (id int REFERENCES people)',
    'CREATE TABLE probe (id int, FOREIGN KEY (id) REFERENCES people)',
    'ALTER TABLE people DROP COLUMN ssn',
    'ALTER TABLE people RENAME ssn TO plain',
    'ALTER TABLE people RENAME TO persons',
    'ALTER TABLE people SET SCHEMA public',
    'ALTER TABLE people OWNER TO regress_ddl_dba',
    'ALTER TABLE people DISABLE ROW LEVEL SECURITY',
    'ALTER TABLE people SET UNLOGGED',
    'ALTER TABLE people INHERIT free',
    'ALTER TABLE people REPLICA IDENTITY FULL',
    'DROP TABLE people',
    'DROP TABLE free, people CASCADE',
    'DROP INDEX people_org',
    'ALTER INDEX people_org RENAME TO other',
    'REINDEX TABLE people',
    'REINDEX INDEX people_org',
    'CLUSTER people USING people_org',
    'REFRESH MATERIALIZED VIEW summary',
    'CREATE OR REPLACE VIEW staff AS SELECT id, ssn, salary FROM people',
    'ALTER VIEW staff SET (security_barrier)',
    'ALTER TABLE events ATTACH PARTITION free FOR VALUES IN (7)',
    'ALTER TABLE events DETACH PARTITION events_rest',
    'CREATE TABLE events_7 PARTITION OF events FOR VALUES IN (7)',
    'CREATE TABLE heir () INHERITS (people)',
    'CREATE TABLE alike (LIKE people)',
    'CREATE TABLE heir () INHERITS (events)',
    'CREATE TABLE alike (LIKE events INCLUDING ALL)',
    'ALTER SEQUENCE missing OWNED BY people.id',
    'CREATE SEQUENCE s OWNED BY people.id',
    'GRANT SELECT ON ALL TABLES IN SCHEMA defining TO regress_ddl_dba',
    'CREATE SCHEMA other CREATE INDEX ON defining.people (leak(ssn))']) statement;
-- What is allowed.
SELECT statement, attempt(statement) FROM unnest(ARRAY[
    'COMMENT ON TABLE people IS ''x''',
    'COMMENT ON COLUMN people.ssn IS ''x''',
    'GRANT SELECT ON people TO regress_ddl_dba',
    'GRANT SELECT (ssn) ON people TO regress_ddl_dba',
    'LOCK TABLE people IN SHARE MODE',
    'ALTER TABLE people ALTER ssn SET STATISTICS 10',
    'ALTER TABLE people ALTER ssn SET STORAGE EXTERNAL',
    'CREATE VIEW mine AS SELECT * FROM people',
    'CREATE TABLE mine AS SELECT * FROM people',
    'CREATE TABLE mine (id int PRIMARY KEY, CHECK (leak(id)))',
    'CREATE TABLE heir () INHERITS (free)',
    'ALTER TABLE free ADD COLUMN x int CHECK (leak(x))',
    'DROP TABLE spare']) statement;
VACUUM people;
VACUUM (FULL) people;  -- fail
VACUUM (VERBOSE) people;  -- fail
VACUUM ANALYZE people;  -- fail
ANALYZE people (id);  -- fail
VACUUM;  -- fail
ANALYZE;  -- fail
CLUSTER;  -- fail
REINDEX SCHEMA defining;  -- fail
ANALYZE free;
-- A range type of her own can go, although its constructors belong to the first superuser.
CREATE TYPE own_range AS RANGE (subtype = int);
DROP TYPE own_range;

-- Code and types that policies' tables use, however deep; code of an exempt role, whose member alice is.
SELECT statement, attempt(statement) FROM unnest(ARRAY[
    'CREATE OR REPLACE FUNCTION used(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN RAISE NOTICE ''leaked %'', $1; RETURN true; END $f$',
    'ALTER FUNCTION used(int) COST 1',
    'ALTER FUNCTION used(int) RENAME TO other',
    'DROP FUNCTION used(int) CASCADE',
    'ALTER DOMAIN code ADD CHECK (leak(VALUE))',
    'ALTER DOMAIN code SET NOT NULL',
    'DROP DOMAIN code CASCADE',
    'CREATE OR REPLACE FUNCTION of_dba() RETURNS int LANGUAGE sql AS ''SELECT 2''',
    'DROP FUNCTION of_dba()',
    'CREATE OR REPLACE FUNCTION leak_trigger() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END''',
    'CREATE FUNCTION new() RETURNS int LANGUAGE sql AS ''SELECT 1''']) statement;

-- A hidden table is a missing one, in every statement, as PostgreSQL reports missing ones there.
COMMENT ON TABLE vault IS 'x';  -- fail
COMMENT ON COLUMN vault.code IS 'x';  -- fail
COMMENT ON COLUMN people.salary IS 'x';  -- fail
COMMENT ON COLUMN people.nothing IS 'x';  -- fail
GRANT SELECT ON vault TO PUBLIC;  -- fail
GRANT SELECT (salary) ON people TO PUBLIC;  -- fail
GRANT SELECT (nothing) ON people TO PUBLIC;  -- fail
BEGIN;
LOCK TABLE defining.vault;  -- fail
ROLLBACK;
VACUUM vault;  -- fail
ALTER TABLE vault ADD COLUMN x int;  -- fail
ALTER TABLE IF EXISTS vault ADD COLUMN x int;
ALTER TABLE IF EXISTS nothing ADD COLUMN x int;
ALTER TABLE people ALTER salary SET STATISTICS 10;  -- fail
ALTER TABLE free ADD FOREIGN KEY (id) REFERENCES vault;  -- fail
ALTER TABLE vault RENAME TO other;  -- fail
ALTER TABLE IF EXISTS vault RENAME TO other;
ALTER TABLE vault SET SCHEMA public;  -- fail
DROP TABLE vault;  -- fail
DROP TABLE nothing;  -- fail
DROP TABLE IF EXISTS vault, nothing;
DROP VIEW defining.vault_view;  -- fail
DROP TRIGGER t ON vault;  -- fail
DROP TRIGGER IF EXISTS t ON vault;
CREATE TABLE alike (LIKE vault);  -- fail
CREATE TABLE alike (LIKE nothing);  -- fail
CREATE TABLE heir () INHERITS (vault);  -- fail
CREATE TABLE probe (id int REFERENCES vault);  -- fail
CREATE INDEX ON vault (id);  -- fail
CREATE TRIGGER t AFTER UPDATE ON vault FOR EACH ROW EXECUTE FUNCTION leak_trigger();  -- fail
CREATE RULE r AS ON INSERT TO free DO ALSO DELETE FROM vault;  -- fail
CREATE POLICY p ON free USING (EXISTS (SELECT FROM vault));  -- fail
CREATE STATISTICS s ON id, code FROM vault;  -- fail
CREATE PUBLICATION p FOR TABLE vault;  -- fail
REINDEX TABLE vault;  -- fail
CLUSTER vault;  -- fail
ANALYZE vault;  -- fail
CREATE VIEW v AS SELECT * FROM vault;  -- fail
CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM vault; END;  -- fail
CREATE FUNCTION f() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM defining.vault);  -- fail
CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC WITH vault AS (SELECT 1) SELECT count(*) FROM vault; END;
DROP FUNCTION f();
-- In a function it is refused without its name.
DO $$ BEGIN EXECUTE 'DROP TABLE IF EXISTS defining.vault'; END $$;  -- fail

-- What CASCADE reaches, and what PostgreSQL's notices and details would name.
RESET SESSION AUTHORIZATION;
CREATE VIEW above AS SELECT v.id FROM vault v JOIN free f ON f.id = v.id;
SELECT betweenrows.deny_table('above', 'ddl-above');
SET SESSION AUTHORIZATION regress_ddl_alice;
DROP TABLE free;  -- fail
DROP TABLE free CASCADE;  -- fail
DROP VIEW vault_view CASCADE;  -- fail
DROP SCHEMA defining CASCADE;  -- fail
DROP OWNED BY regress_ddl_alice;  -- fail
DROP OWNED BY regress_ddl_alice CASCADE;  -- fail
REASSIGN OWNED BY regress_ddl_alice TO regress_ddl_dba;  -- fail
ALTER TABLE free DROP COLUMN id CASCADE;  -- fail
ALTER TYPE pair ADD ATTRIBUTE c int;

-- The owner's role is no way out, nor is that of an exempt one.
RESET SESSION AUTHORIZATION;
SET ROLE regress_ddl_alice;
CREATE INDEX ON people (leak(salary));  -- fail
RESET ROLE;
SET SESSION AUTHORIZATION regress_ddl_alice;
SET ROLE regress_ddl_dba;
CREATE INDEX ON people (leak(salary));  -- fail
RESET SESSION AUTHORIZATION;
-- An exempt role and the superuser do what they want.
ALTER TABLE people OWNER TO regress_ddl_dba;
SET SESSION AUTHORIZATION regress_ddl_dba;
CREATE INDEX people_salary ON people (salary);
ANALYZE people;
DROP INDEX people_salary;
RESET SESSION AUTHORIZATION;
ALTER TABLE people OWNER TO regress_ddl_alice;
CREATE INDEX people_salary ON people (salary);
ALTER TABLE people ADD COLUMN extra int;
REINDEX TABLE people;
-- The superuser's view: nothing of alice's is there.
SELECT tgname FROM pg_trigger WHERE tgrelid = 'people'::regclass AND NOT tgisinternal;
SELECT relname FROM pg_class WHERE relnamespace = 'defining'::regnamespace AND relkind IN ('r', 'v', 'm', 'p') ORDER BY 1;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'ddl-%';
SET client_min_messages = warning;
SELECT betweenrows.exempt_role('regress_ddl_dba', false);
DROP SCHEMA defining CASCADE;
DROP ROLE regress_ddl_alice, regress_ddl_dba;
