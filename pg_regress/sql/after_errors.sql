-- An error leaves by a jump: nothing that was on the stack is told. What counts nesting or remembers trust would go on as if
-- it were still inside the statement that failed: the client's next statement would be taken for one of a function, where
-- hidden columns are not unknown, or even for one of a trusted function, which is not governed at all.
CREATE ROLE ae_alice LOGIN;
CREATE SCHEMA ae;
GRANT ALL ON SCHEMA ae TO ae_alice;
SET search_path = ae;
CREATE TABLE pay (id int, owner text, card text, secret text);
INSERT INTO pay VALUES (1, 'ae_alice', 'raw-1', 's1'), (2, 'ae_bob', 'raw-2', 's2');
GRANT ALL ON pay TO ae_alice;
CREATE FUNCTION total() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = ae, pg_temp
    AS $$ BEGIN RETURN (SELECT string_agg(card, ',') FROM pay); END $$;
CREATE FUNCTION trusted_fails() RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = ae, pg_temp
    AS $$ BEGIN PERFORM FROM pay; RAISE 'inside trust'; END $$;
CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM ae.pay; RAISE 'inside'; END $$;
CREATE FUNCTION fails_and_goes_on() RETURNS TABLE (card text) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN PERFORM ae.trusted_fails(); EXCEPTION WHEN raise_exception THEN RAISE NOTICE 'caught: %', SQLERRM; END;
    RETURN QUERY SELECT p.card FROM ae.pay p;
END $$;
CREATE PROCEDURE turns_back() LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    ROLLBACK;
    -- Below a CALL, still: the denied column reads NULL.
    SELECT coalesce(secret, 'null') INTO found FROM ae.pay;
    RAISE NOTICE 'after ROLLBACK: %', found;
    COMMIT;
    SELECT coalesce(secret, 'null') INTO found FROM ae.pay;
    RAISE NOTICE 'after COMMIT: %', found;
END $$;
SELECT betweenrows.filter_rows('pay', 'owner = {user.username}', 'ae own');
SELECT betweenrows.mask_column('pay', 'card', '''mask-'' || right(card, 1)', 'ae card');
SELECT betweenrows.deny_columns('pay', '{secret}', 'ae secret');
SELECT betweenrows.trust('ae.total()');
SELECT betweenrows.trust('ae.trusted_fails()');

-- Viewpoint of alice.
SET SESSION AUTHORIZATION ae_alice;
SELECT * FROM pay;
SELECT secret FROM pay;  -- fail
SELECT total();

-- Errors of the parser, of analysis, of planning, of the executor, of utility statements, of functions, of trusted ones.
\set checks 'SELECT * FROM pay; SELECT secret FROM pay;'
SELEC;
:checks
SELECT missing FROM pay;
:checks
SELECT 1 / 0 FROM pay;
:checks
SELECT 1 / (id - 1) FROM pay;
:checks
TRUNCATE pay;
:checks
EXPLAIN (ANALYZE, COSTS OFF) SELECT 1 / (id - 1) FROM pay;
:checks
DO $$ BEGIN PERFORM FROM ae.pay; RAISE 'inside DO'; END $$;
:checks
SELECT fails();
:checks
SELECT trusted_fails();
:checks
SELECT fails_and_goes_on();
:checks
CALL turns_back();
:checks
COPY (SELECT 1 / (id - 1) FROM pay) TO STDOUT;
:checks
PREPARE p AS SELECT 1 / (id - 1) FROM pay;
EXECUTE p;
:checks
CREATE TABLE copied AS SELECT trusted_fails() FROM pay;
:checks

-- Inside a transaction, back to a savepoint.
BEGIN;
SAVEPOINT s;
SELECT 1 / (id - 1) FROM pay;
ROLLBACK TO s;
SELECT * FROM pay;
SELECT trusted_fails();
ROLLBACK TO s;
SELECT * FROM pay;
DECLARE c CURSOR FOR SELECT *, 1 / (id - 1) FROM pay;
SAVEPOINT t;
FETCH c;
ROLLBACK TO t;
SELECT * FROM pay;
SELECT secret FROM pay;
ROLLBACK;
:checks

RESET SESSION AUTHORIZATION;
SELECT betweenrows.trust('ae.total()', false), betweenrows.trust('ae.trusted_fails()', false);
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'ae %' ORDER BY name;
DROP SCHEMA ae CASCADE;
DROP ROLE ae_alice;
