-- Statements that fail before they run: while they are planned, in their first step, or refused by what their plan finds. Each
-- has come to something governed, so each leaves a row that says to what.
CREATE ROLE regress_failures_alice LOGIN;
CREATE SCHEMA failures;
SET search_path = failures;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text);
INSERT INTO people VALUES (1, 'acme', '111-11'), (2, 'acme', '222-22'), (3, 'globex', '333-33');
CREATE TABLE vault (code text);
CREATE TABLE free (id int);
INSERT INTO free VALUES (1), (2);
GRANT USAGE, CREATE ON SCHEMA failures TO regress_failures_alice;
GRANT ALL ON ALL TABLES IN SCHEMA failures TO regress_failures_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'failures-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$, 'failures-ssn');
SELECT betweenrows.deny_table('vault', 'failures-vault');
CREATE TABLE shown (id uuid PRIMARY KEY);
CREATE FUNCTION news(OUT statement text, OUT status text, OUT sqlstate text, OUT row_count bigint, OUT relations text, OUT policies text,
        OUT parameters jsonb)
    RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    IF NOT betweenrows.audit_flush() THEN
        RAISE 'the audit was not moved in time';
    END IF;
    RETURN QUERY
        WITH new AS (SELECT q.* FROM betweenrows.query_audit q WHERE q.username = 'regress_failures_alice'
                     AND q.database = current_database() AND NOT EXISTS (SELECT FROM failures.shown s WHERE s.id = q.id)),
             noted AS (INSERT INTO failures.shown SELECT n.id FROM new n)
        SELECT n.statement_kind || ': ' || left(n.original_query, 60), n.status, n.sqlstate, n.row_count,
            (SELECT string_agg(format('%s %s(%s)%s', e ->> 'access', e ->> 'relation',
                 (SELECT string_agg(c, ',') FROM jsonb_array_elements_text(e -> 'columns') c),
                 (SELECT ' sets ' || string_agg(c, ',') FROM jsonb_array_elements_text(e -> 'written') c)), '; ' ORDER BY e ->> 'relation', e ->> 'access')
             FROM jsonb_array_elements(n.relations) e),
            (SELECT string_agg(format('%s %s%s', e ->> 'policy', e ->> 'effect', '(' || (e ->> 'column') || ')'), '; '
                 ORDER BY e ->> 'policy', e ->> 'column')
             FROM jsonb_array_elements(n.policies_applied) e), n.parameters
        FROM new n ORDER BY n.id;
END $$;
\pset format unaligned
\pset fieldsep ' | '

-- What is computed while a statement is planned.
SET SESSION AUTHORIZATION regress_failures_alice;
CREATE FUNCTION raises(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE 'no %', $1; END$$;
CREATE FUNCTION sleeps() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(60); RETURN 0; END$$;
SELECT 1 / 0 FROM people;  -- fail
WITH p AS (SELECT id, ssn FROM people) SELECT id, ssn, 1 / 0 FROM p;  -- fail
UPDATE people SET org = 'acme' WHERE id = 1 / 0;  -- fail
INSERT INTO people (id, org) SELECT 1 / 0, org FROM people;  -- fail
SELECT raises(7), id FROM people;  -- fail
SET statement_timeout = '50ms';
SELECT sleeps() FROM people;  -- fail
RESET statement_timeout;
EXPLAIN SELECT 1 / 0 FROM people;  -- fail
CREATE TABLE copied AS SELECT 1 / 0 FROM people;  -- fail
COPY (SELECT 1 / 0 FROM people) TO stdout;  -- fail
SELECT 1 / 0 FROM free;  -- fail
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- The same in a transaction, and for statements that were prepared.
SET SESSION AUTHORIZATION regress_failures_alice;
BEGIN;
DECLARE c CURSOR FOR SELECT 1 / 0 FROM people;  -- fail
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT 1 / 0 FROM people;  -- fail
ROLLBACK TO a;
SELECT id FROM people;
COMMIT;
SET plan_cache_mode = force_custom_plan;
PREPARE quotient AS SELECT id, 4 / $1 AS quotient FROM people;
EXECUTE quotient(0);  -- fail
EXECUTE quotient(2);
RESET SESSION AUTHORIZATION;
SET betweenrows.audit_parameters = on;
SET ROLE regress_failures_alice;
EXECUTE quotient(0);  -- fail
RESET ROLE;
RESET betweenrows.audit_parameters;
DEALLOCATE quotient;
RESET plan_cache_mode;
SELECT * FROM news();

-- Errors that a function caught do not end the client's statement. What they were about counts.
SET SESSION AUTHORIZATION regress_failures_alice;
CREATE FUNCTION tries() RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$BEGIN PERFORM 1 / 0 FROM failures.people; RETURN 0; EXCEPTION WHEN division_by_zero THEN RETURN 1; END$$;
SELECT tries();
SELECT tries(), id FROM free;
DO $$BEGIN PERFORM 1 / 0 FROM people; EXCEPTION WHEN division_by_zero THEN NULL; END$$;
DO $$BEGIN PERFORM 1 / 0 FROM people; END$$;  -- fail
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- A cursor of the client that fails inside a function has failed; what the function comes to afterwards is the function's.
SET SESSION AUTHORIZATION regress_failures_alice;
BEGIN;
DECLARE c CURSOR FOR SELECT 1 / (id - 2) FROM people ORDER BY id;
DECLARE d CURSOR FOR SELECT id FROM people ORDER BY id;
DO $$DECLARE c refcursor := 'c'; d refcursor := 'd'; r record; BEGIN
    BEGIN
        LOOP FETCH c INTO r; END LOOP;
    EXCEPTION WHEN division_by_zero THEN NULL; END;
    CLOSE c;
    BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
    FETCH d INTO r;
    PERFORM 1 FROM failures.people;
END$$;
FETCH 1 FROM d;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- What only a refusal makes an event stays none, and is one when there is a refusal too.
SET betweenrows.audit = denied;
SET ROLE regress_failures_alice;
SELECT 1 / 0 FROM people;  -- fail
DO $$BEGIN PERFORM 1 / 0 FROM failures.people; EXCEPTION WHEN division_by_zero THEN NULL; END$$;
DO $$BEGIN
    BEGIN PERFORM 1 / 0 FROM failures.people; EXCEPTION WHEN division_by_zero THEN NULL; END;
    PERFORM 1 FROM failures.vault;
END$$;  -- fail
RESET ROLE;
SET betweenrows.audit = off;
SET ROLE regress_failures_alice;
SELECT 1 / 0 FROM people;  -- fail
RESET ROLE;
RESET betweenrows.audit;
SELECT * FROM news();

DROP SCHEMA failures CASCADE;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'failures-%' ORDER BY name;
DROP ROLE regress_failures_alice;
