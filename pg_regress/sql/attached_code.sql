-- Triggers, checks, generated columns and indexes get the rows of their table as they are stored, whoever writes. A function that
-- a subject attached before the policies came can call another one, which the subject replaces; and what names mean in
-- anybody's function is the choice of the session: operators and functions of its schemas, temporary tables.
CREATE ROLE attached_alice LOGIN;
CREATE ROLE attached_app NOLOGIN;
CREATE SCHEMA attached;
CREATE SCHEMA attached_open;
-- A schema where she could make something, but has not, is no danger.
CREATE SCHEMA attached_empty;
GRANT ALL ON SCHEMA attached_empty TO attached_alice;
GRANT ALL ON SCHEMA attached_open TO attached_alice;
GRANT USAGE ON SCHEMA attached TO attached_alice;
SET search_path = attached;
CREATE TABLE log (entry text);
CREATE TABLE people (id int PRIMARY KEY, name text, ssn text, card text, hint text);
INSERT INTO people VALUES (1, 'Ann', 'raw-1', 'card-1'), (2, 'Bo', 'raw-2', 'card-2');
CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, item text, price text);
INSERT INTO orders VALUES (1, 1, 'cup', 'raw-10'), (2, 2, 'cat', 'raw-20');
CREATE FUNCTION helper(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM attached.helper(to_jsonb(OLD)::text); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION fine(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attached.helper($1); RETURN true; END $$;
CREATE FUNCTION shout(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attached.helper($1); RETURN upper($1); END $$;
CREATE FUNCTION next_hint() RETURNS text LANGUAGE sql AS $$ SELECT 'hint' $$;
ALTER FUNCTION helper OWNER TO attached_alice;
GRANT ALL ON people, orders TO attached_alice;
GRANT INSERT ON log TO attached_alice;
SELECT betweenrows.mask_column('people', 'ssn', '''***''', 'attached ssn');
SELECT betweenrows.deny_columns('people', '{card}', 'attached card');
SELECT betweenrows.filter_rows('orders', $$item <> 'cat'$$, 'attached cats');
SELECT betweenrows.mask_column('orders', 'price', '''0''', 'attached price');

-- Her own functions, however they are attached. alice replaces the helper.
GRANT CREATE ON SCHEMA attached TO attached_alice;
SET SESSION AUTHORIZATION attached_alice;
CREATE OR REPLACE FUNCTION attached.helper(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'leaked %', $1; END $$;
RESET SESSION AUTHORIZATION;
REVOKE CREATE ON SCHEMA attached FROM attached_alice;
CREATE TRIGGER touch BEFORE UPDATE OR DELETE ON people FOR EACH ROW EXECUTE FUNCTION touch();
ALTER FUNCTION touch OWNER TO attached_alice;
SET SESSION AUTHORIZATION attached_alice;
UPDATE people SET name = 'x';  -- fail
DELETE FROM people;  -- fail
MERGE INTO people p USING (VALUES (1)) v (i) ON p.id = v.i WHEN MATCHED THEN UPDATE SET name = 'x';  -- fail
INSERT INTO people (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'x';  -- fail
WITH w AS (UPDATE people SET name = 'x' RETURNING id) SELECT FROM w;  -- fail
SELECT id, name FROM people ORDER BY id;
-- What she makes herself there is hers to see.
BEGIN;
INSERT INTO people (id, name) VALUES (3, 'Cy');
ROLLBACK;
-- Membership in the owner makes it hers too.
RESET SESSION AUTHORIZATION;
ALTER FUNCTION touch OWNER TO attached_app;
GRANT attached_app TO attached_alice;
SET SESSION AUTHORIZATION attached_alice;
UPDATE people SET name = 'x';  -- fail
RESET SESSION AUTHORIZATION;
REVOKE attached_app FROM attached_alice;
DROP TRIGGER touch ON people;
ALTER TABLE people ADD CONSTRAINT fine CHECK (fine(ssn));
ALTER FUNCTION fine OWNER TO attached_alice;
SET SESSION AUTHORIZATION attached_alice;
UPDATE people SET name = 'x';  -- fail
RESET SESSION AUTHORIZATION;
ALTER TABLE people DROP CONSTRAINT fine;
-- An index is computed when a column of some index changes. A domain's check has been made when the value came.
CREATE DOMAIN own AS text CHECK (fine(VALUE));
ALTER TABLE people ALTER card TYPE own;
CREATE INDEX shouting ON people (shout(card));
ALTER FUNCTION shout OWNER TO attached_alice;
ALTER TABLE people ALTER hint SET DEFAULT next_hint();
ALTER FUNCTION next_hint OWNER TO attached_alice;
SET SESSION AUTHORIZATION attached_alice;
UPDATE people SET id = 5 WHERE id = 1;  -- fail
UPDATE people SET name = 'Anne' WHERE id = 1;
-- status() tells what is left: what others write would still be told to alice.
RESET SESSION AUTHORIZATION;
SELECT f->>'severity' AS severity, f->>'name' AS name, f->>'problem' AS problem
  FROM jsonb_array_elements(betweenrows.status()->'findings') f WHERE f->>'kind' = 'function' AND f->>'name' LIKE 'attached.%'
 ORDER BY 2, 3;
DROP INDEX shouting;
ALTER TABLE people ALTER card TYPE text, ALTER hint DROP DEFAULT;

-- Rows that a cascade reaches, which her own statement would not see.
CREATE TRIGGER touch AFTER DELETE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
ALTER FUNCTION touch OWNER TO attached_alice;
SET SESSION AUTHORIZATION attached_alice;
DELETE FROM people WHERE id = 2;  -- fail
RESET SESSION AUTHORIZATION;
DROP TRIGGER touch ON orders;

-- Somebody else's functions, and what the session puts in the place of their names: operators, functions, tables.
CREATE FUNCTION notes(text) RETURNS text LANGUAGE sql AS $$ SELECT 'noted ' || $1 $$;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'schemas: %', current_setting('search_path');
    IF NEW.ssn IS NOT DISTINCT FROM OLD.ssn AND OLD.card <> 'none' THEN
        INSERT INTO log VALUES (notes(OLD.ssn || OLD.card));
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION is_set(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT $1 <> '' $$;
CREATE TRIGGER watch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION watch();
ALTER TABLE people ADD CHECK (is_set(ssn));
-- As long as there are functions of hers in a schema, nothing is found there.
SET SESSION AUTHORIZATION attached_alice;
UPDATE people SET name = 'A' WHERE id = 1;  -- fail
RESET SESSION AUTHORIZATION;
ALTER FUNCTION helper OWNER TO CURRENT_USER;
ALTER FUNCTION touch OWNER TO CURRENT_USER;
ALTER FUNCTION fine OWNER TO CURRENT_USER;
ALTER FUNCTION shout OWNER TO CURRENT_USER;
ALTER FUNCTION next_hint OWNER TO CURRENT_USER;
SET SESSION AUTHORIZATION attached_alice;
SET search_path = attached_open;
CREATE FUNCTION tell(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'leaked %, %', $1, $2; RETURN true; END $$;
CREATE FUNCTION notes(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN ''; END $$;
CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = text, FUNCTION = tell);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = tell);
CREATE TEMPORARY TABLE log (entry text);
SET search_path = attached_open, pg_temp, attached, pg_catalog;
UPDATE people SET name = 'A' WHERE id OPERATOR(pg_catalog.=) 1;
PREPARE change AS UPDATE attached.people SET name = 'B' WHERE id OPERATOR(pg_catalog.=) 1;
EXECUTE change;
-- Chosen while the statement runs, and afterwards as it was.
SET search_path = attached;
UPDATE people SET name = set_config('search_path', 'attached_open, pg_temp, attached, pg_catalog', false) WHERE id = 2;
SHOW search_path;
SELECT count(*) AS leaked FROM pg_temp.log;
SET search_path = attached_open, attached_empty, attached, pg_catalog;
DO $$
BEGIN
    UPDATE attached.people SET ssn = 'x' WHERE id OPERATOR(pg_catalog.=) 1;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '%, and the schemas are %', SQLERRM, current_setting('search_path');
END $$;
DO $$
BEGIN
    UPDATE attached.people SET hint = 'y', id = 2 WHERE id OPERATOR(pg_catalog.=) 1;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '%, and the schemas are %', SQLERRM, current_setting('search_path');
END $$;
SHOW search_path;
-- Her own function keeps its names, also in such a statement.
CREATE FUNCTION where_am_i() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting('search_path'); END $$;
UPDATE people SET hint = attached_open.where_am_i() WHERE id OPERATOR(pg_catalog.=) 2 RETURNING hint;
DROP TABLE pg_temp.log;
RESET SESSION AUTHORIZATION;
RESET search_path;
SELECT entry, count(*) FROM attached.log GROUP BY 1 ORDER BY 1;
-- A superuser's own statement is as ever.
SET search_path = attached, attached_open;
UPDATE people SET name = 'Z' WHERE id = 1;

SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'attached %' ORDER BY name;
DROP SCHEMA attached, attached_open, attached_empty CASCADE;
DROP ROLE attached_alice, attached_app;
