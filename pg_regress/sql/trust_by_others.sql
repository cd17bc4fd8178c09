-- What others put into a trusted statement is not trusted: the text of a view that a trusted view or function reads can be
-- replaced by its owner, rules and row security of a table become part of the statement that touches it, and a function of
-- the caller is called for rows that a trusted view leaves out. The trust itself does not end, for nothing trusted changed.
CREATE DATABASE regress_trust_by_others;
\c regress_trust_by_others
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION betweenrows;
CREATE ROLE regress_alice LOGIN;
CREATE ROLE regress_exempt;
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE TABLE people (id int, ssn text, public boolean);
INSERT INTO people VALUES (1, 'one', true), (2, 'two', false);
GRANT SELECT ON people TO regress_alice, regress_exempt;
SELECT betweenrows.create_user('regress_alice') IS NOT NULL AS created;
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$);
SELECT betweenrows.exempt_role('regress_exempt');
SET SESSION AUTHORIZATION regress_alice;
CREATE VIEW innocent AS SELECT 1 AS id, 'x'::text AS ssn;
CREATE TABLE log (n int);
CREATE TABLE secured (n int);
INSERT INTO secured VALUES (1);
CREATE TABLE spy (ssn text);
GRANT SELECT, INSERT ON log, secured, spy TO PUBLIC;
GRANT SELECT ON innocent TO PUBLIC;
RESET SESSION AUTHORIZATION;
CREATE VIEW over AS SELECT * FROM innocent;
CREATE VIEW own AS SELECT * FROM people;
CREATE VIEW over_own AS SELECT id, ssn FROM own;
CREATE VIEW public_people AS SELECT id, ssn FROM people WHERE public;
CREATE FUNCTION read_over() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS
    $$ BEGIN RETURN QUERY SELECT ssn FROM innocent; END $$;
CREATE FUNCTION write_log() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS
    $$ BEGIN INSERT INTO log SELECT count(*) FROM people WHERE ssn = 'one'; END $$;
CREATE FUNCTION read_secured() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS
    $$ BEGIN RETURN (SELECT count(*) FROM secured); END $$;
ALTER FUNCTION read_secured() OWNER TO regress_exempt;
CREATE FUNCTION polymorphic(anyelement) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS
    $$ BEGIN END $$;
GRANT SELECT ON over, over_own, public_people TO regress_alice;
SELECT betweenrows.trust('public.' || name) FROM unnest(array['over', 'over_own', 'public_people', 'read_over()', 'write_log()', 'read_secured()']) name;
-- The caller's types would bring their casts and checks into the function.
SELECT betweenrows.trust('public.polymorphic(anyelement)');  -- fail

-- The trust works.
SET SESSION AUTHORIZATION regress_alice;
TABLE over_own;
TABLE public_people;
SELECT write_log();
TABLE log;
-- A view of alice's below, replaced.
CREATE OR REPLACE VIEW innocent AS SELECT id, ssn FROM people;
TABLE over;
SELECT read_over();
-- A trusted view is a barrier.
SET client_min_messages = notice;
CREATE FUNCTION tattle(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
SELECT id FROM public_people WHERE tattle(ssn);
-- A rule adds a statement to the trusted one, or a condition.
CREATE RULE spy AS ON INSERT TO log DO ALSO INSERT INTO spy SELECT ssn FROM people;
SELECT write_log();
TABLE spy;
DROP RULE spy ON log;
CREATE RULE spy AS ON INSERT TO log WHERE EXISTS (SELECT FROM people WHERE ssn = 'two') DO INSTEAD INSERT INTO spy VALUES ('found');
SELECT write_log();
TABLE spy;
-- Row security adds a condition.
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY spy ON secured USING (EXISTS (SELECT FROM people WHERE ssn = 'two'));
SELECT read_secured();
CREATE POLICY spy_too ON secured USING (EXISTS (SELECT FROM people WHERE ssn = '***'));
SELECT read_secured();
-- Nothing of this ended the trust.
TABLE over_own;

\c regression
DROP DATABASE regress_trust_by_others;
DROP ROLE regress_alice, regress_exempt;
