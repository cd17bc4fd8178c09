-- Maintenance. Statements about everything there is read whole tables, run the code of expression indexes over raw rows, and
-- name what they leave out. They are refused only where that concerns a relation that policies restrict; what PostgreSQL
-- leaves out or refuses for want of privileges is its own affair, in its own words.
CREATE ROLE regress_maint_alice LOGIN;
CREATE ROLE regress_maint_bob LOGIN;
CREATE SCHEMA maintaining;
SET search_path = maintaining;
GRANT USAGE, CREATE ON SCHEMA maintaining TO regress_maint_alice, regress_maint_bob;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text);
INSERT INTO people VALUES (1, 'acme', '111'), (2, 'globex', '222');
CREATE INDEX people_org ON people (org);
CREATE VIEW staff AS SELECT id FROM people;
ALTER TABLE people OWNER TO regress_maint_alice;
ALTER VIEW staff OWNER TO regress_maint_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'maint-rows');
SELECT betweenrows.filter_rows('staff', 'id = 1', 'maint-staff');
CREATE SCHEMA apart;
CREATE TABLE apart.notes (id int, t text);
ALTER SCHEMA apart OWNER TO regress_maint_bob;
ALTER TABLE apart.notes OWNER TO regress_maint_bob;
SET client_min_messages = error;  -- PostgreSQL's warnings about everything that is left out

-- Alice owns a restricted table.
SET SESSION AUTHORIZATION regress_maint_alice;
VACUUM;
ANALYZE;  -- fail
VACUUM (ANALYZE);  -- fail
VACUUM (FULL);  -- fail
VACUUM (VERBOSE);  -- fail
VACUUM (ANALYZE off, VERBOSE off);
CLUSTER;  -- fail
REINDEX SCHEMA maintaining;  -- fail
VACUUM people;
ANALYZE people;  -- fail
REINDEX TABLE people;  -- fail
DROP OWNED BY regress_maint_alice CASCADE;  -- fail

-- Nothing restricted is bob's.
SET SESSION AUTHORIZATION regress_maint_bob;
VACUUM;
ANALYZE;
VACUUM (FULL, ANALYZE) apart.notes;
CLUSTER;
REINDEX SCHEMA apart;
REINDEX SCHEMA maintaining;  -- fail
REINDEX SCHEMA nowhere;  -- fail
REINDEX TABLE people;  -- fail
REINDEX INDEX people_org;  -- fail
CLUSTER people USING people_org;  -- fail
RESET client_min_messages;
ANALYZE people;
VACUUM (FULL) people;
CREATE INDEX ON people (id);  -- fail
CREATE INDEX ON people ((upper(ssn)));  -- fail
CREATE STATISTICS s ON org, ssn FROM people;  -- fail
CREATE RULE r AS ON INSERT TO people DO NOTHING;  -- fail
ALTER TABLE people ADD COLUMN n int;  -- fail
ALTER TABLE people RENAME TO persons;  -- fail
ALTER TABLE people RENAME ssn TO number;  -- fail
ALTER TABLE people SET SCHEMA apart;  -- fail
CREATE OR REPLACE VIEW staff AS SELECT 1 AS id;  -- fail
DROP TABLE people;  -- fail
DROP TABLE people CASCADE;  -- fail
DROP INDEX people_org;  -- fail
CREATE TABLE child () INHERITS (people);  -- fail
CREATE TABLE pointing (id int REFERENCES people);  -- fail
DROP OWNED BY regress_maint_alice CASCADE;  -- fail
REASSIGN OWNED BY regress_maint_alice TO regress_maint_bob;  -- fail
TRUNCATE people;  -- fail
TRUNCATE apart.notes, people;  -- fail
COPY people TO stdout;  -- fail
SELECT * FROM people;  -- fail
-- The extension's own tables, and TOAST.
SELECT * FROM betweenrows.users;  -- fail
COPY betweenrows.users TO stdout;  -- fail
TRUNCATE betweenrows.users;  -- fail
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA pg_toast TO regress_maint_bob;
SET SESSION AUTHORIZATION regress_maint_bob;
UPDATE pg_toast.pg_toast_1255 SET chunk_id = 1;  -- fail
REINDEX TABLE pg_toast.pg_toast_1255;  -- fail
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON SCHEMA pg_toast FROM regress_maint_bob;

-- A privilege on the table, or its schema or database: it is refused before anything is done.
GRANT TRIGGER ON people TO regress_maint_bob;
SET SESSION AUTHORIZATION regress_maint_bob;
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', OLD; RETURN NEW; END $$;
CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION spy();  -- fail
RESET SESSION AUTHORIZATION;
REVOKE TRIGGER ON people FROM regress_maint_bob;
GRANT REFERENCES (id) ON people TO regress_maint_bob;
SET SESSION AUTHORIZATION regress_maint_bob;
CREATE TABLE pointing (id int REFERENCES people);  -- fail
RESET SESSION AUTHORIZATION;
REVOKE REFERENCES (id) ON people FROM regress_maint_bob;
ALTER SCHEMA maintaining OWNER TO regress_maint_bob;
SET SESSION AUTHORIZATION regress_maint_bob;
REINDEX SCHEMA maintaining;  -- fail
DROP TABLE people CASCADE;  -- fail
RESET SESSION AUTHORIZATION;
ALTER SCHEMA maintaining OWNER TO postgres;
GRANT USAGE ON SCHEMA maintaining TO regress_maint_bob;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO regress_maint_bob', current_database()); END $$;
SET SESSION AUTHORIZATION regress_maint_bob;
SET client_min_messages = error;
ANALYZE;  -- fail
ANALYZE maintaining.people;  -- fail
RESET client_min_messages;
RESET SESSION AUTHORIZATION;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO postgres', current_database()); END $$;

-- A partition's TOAST table is no relation of its own.
SET SESSION AUTHORIZATION regress_maint_bob;
CREATE TABLE apart.parts (id int, t text) PARTITION BY LIST (id);
CREATE TABLE apart.part1 PARTITION OF apart.parts FOR VALUES IN (1);
DROP TABLE apart.parts CASCADE;
RESET SESSION AUTHORIZATION;

-- A hidden table would be named where it is left out, whoever owns it.
SELECT betweenrows.deny_table('people', 'maint-hidden');
SET SESSION AUTHORIZATION regress_maint_bob;
VACUUM;  -- fail
ANALYZE;  -- fail
DROP OWNED BY regress_maint_bob CASCADE;  -- fail
DROP TABLE people;  -- fail
TRUNCATE people;  -- fail
REINDEX SCHEMA apart;
ANALYZE apart.notes;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('maint-hidden');
-- What is left of it, bob may drop: nothing restricted is reached.
SET SESSION AUTHORIZATION regress_maint_bob;
DROP OWNED BY regress_maint_bob CASCADE;
RESET SESSION AUTHORIZATION;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'maint-%';
SET client_min_messages = warning;
DROP SCHEMA maintaining CASCADE;
DROP ROLE regress_maint_alice, regress_maint_bob;
