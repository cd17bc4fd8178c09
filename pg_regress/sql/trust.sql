-- What trust does: a trusted view or function declassifies what is issued directly inside it, and nothing below.
CREATE ROLE regress_trust_alice LOGIN;
CREATE SCHEMA trust_demo;
GRANT USAGE, CREATE ON SCHEMA trust_demo TO regress_trust_alice;
SET search_path = trust_demo;
CREATE TABLE pay (id int PRIMARY KEY, org text, salary int);
INSERT INTO pay VALUES (1, 'acme', 100), (2, 'globex', 200), (3, 'stark', 300);
CREATE TABLE log (line text);
GRANT ALL ON pay, log TO regress_trust_alice;
SELECT betweenrows.filter_rows('pay', 'org = ''acme''', name => 'trust rows');
SELECT betweenrows.mask_column('pay', 'salary', '0', name => 'trust mask');

-- Curated aggregates of a superuser.
CREATE VIEW average AS SELECT avg(salary) AS average FROM pay;
CREATE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = trust_demo, pg_temp
    AS 'SELECT sum(salary) FROM pay';
CREATE FUNCTION total_plpgsql() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = trust_demo, pg_temp
    AS $$ BEGIN RETURN (SELECT sum(salary) FROM pay); END $$;
CREATE FUNCTION rows_of_pay() RETURNS SETOF int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = trust_demo, pg_temp
    AS 'SELECT salary FROM pay ORDER BY 1';
GRANT SELECT ON average TO regress_trust_alice;

-- Superuser's raw view
SELECT average::int, total(), total_plpgsql() FROM average;
-- Viewpoint of alice: governed inside, too
SET SESSION AUTHORIZATION regress_trust_alice;
SELECT average::int, total(), total_plpgsql() FROM average;
SELECT * FROM rows_of_pay();
RESET SESSION AUTHORIZATION;
SELECT betweenrows.trust('trust_demo.average'), betweenrows.trust('trust_demo.total()'),
       betweenrows.trust('trust_demo.total_plpgsql()'), betweenrows.trust('trust_demo.rows_of_pay()');
SET SESSION AUTHORIZATION regress_trust_alice;
SELECT average::int, total(), total_plpgsql() FROM average;
SELECT * FROM rows_of_pay();
-- ... and outside everything is as before, also in the same statement
SELECT total(), sum(salary) FROM pay;
SELECT total_plpgsql(), (SELECT sum(salary) FROM pay) FROM average;

-- Attack: a trusted function that calls a function which everybody may replace. What that one runs is not the trusted
-- function's own, whether it is called from a query, from an expression of PL/pgSQL that runs without the executor, or by
-- a cast, a domain or a default.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION helper() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN -1; END $$;
ALTER FUNCTION helper() OWNER TO regress_trust_alice;
CREATE FUNCTION calls_helper() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = trust_demo, pg_temp AS $$
DECLARE
    by_expression bigint;
    by_query bigint;
    by_dynamic bigint;
    own bigint;
BEGIN
    by_expression := helper();
    SELECT helper() INTO by_query;
    EXECUTE 'SELECT helper()' INTO by_dynamic;
    SELECT sum(salary) INTO own FROM pay;
    RETURN format('expression %s, query %s, dynamic %s, own %s', by_expression, by_query, by_dynamic, own);
END $$;
SELECT betweenrows.trust('trust_demo.calls_helper()');
SET SESSION AUTHORIZATION regress_trust_alice;
CREATE OR REPLACE FUNCTION helper() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT sum(salary) FROM trust_demo.pay); END $$;
SELECT calls_helper();
SELECT calls_helper();
-- ... also as an SQL function, which is inlined or run by the SQL function executor
CREATE OR REPLACE FUNCTION helper() RETURNS bigint LANGUAGE sql AS 'SELECT sum(salary) FROM trust_demo.pay';
SELECT calls_helper();
CREATE OR REPLACE FUNCTION helper() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT sum(salary) FROM trust_demo.pay';
SELECT calls_helper();

-- Attack: a trigger of alice on a table that the trusted function writes to.
RESET SESSION AUTHORIZATION;
ALTER TABLE log OWNER TO regress_trust_alice;
CREATE FUNCTION writes_log() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = trust_demo, pg_temp AS $$
BEGIN
    INSERT INTO log VALUES ('called');
    RETURN (SELECT sum(salary) FROM pay);
END $$;
SELECT betweenrows.trust('trust_demo.writes_log()');
SET SESSION AUTHORIZATION regress_trust_alice;
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.line := 'the trigger saw ' || (SELECT sum(salary) FROM trust_demo.pay);
    RETURN NEW;
END $$;
CREATE TRIGGER spy BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION spy();
SELECT writes_log();
SELECT * FROM log;

-- An error below the trusted function leaves nothing behind: the next statement is governed.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION fails(inside boolean) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = trust_demo, pg_temp AS $$
BEGIN
    BEGIN
        PERFORM 1 / (salary - 200) FROM pay;
    EXCEPTION WHEN division_by_zero THEN
        IF NOT inside THEN
            RAISE;
        END IF;
    END;
    RETURN (SELECT sum(salary) FROM pay);
END $$;
SELECT betweenrows.trust('trust_demo.fails(boolean)');
SET SESSION AUTHORIZATION regress_trust_alice;
SELECT fails(true);
SELECT fails(false);
SELECT sum(salary) FROM pay;
DO $$
BEGIN
    PERFORM trust_demo.fails(false);
EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'after the error: %', (SELECT sum(salary) FROM trust_demo.pay);
END $$;

-- Attack: a plan that a trusted function made, run from elsewhere in the same session.
CREATE FUNCTION plain() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT sum(salary) FROM trust_demo.pay); END $$;
SELECT total_plpgsql(), plain(), total_plpgsql(), plain();

-- The trust ends with the function as it was.
RESET SESSION AUTHORIZATION;
CREATE OR REPLACE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = trust_demo, pg_temp
    AS 'SELECT sum(salary) + 0 FROM pay';
CREATE OR REPLACE VIEW average AS SELECT avg(salary + 0) AS average FROM pay;
SELECT betweenrows.trust('trust_demo.total_plpgsql()', false);
SET SESSION AUTHORIZATION regress_trust_alice;
SELECT average::int, total(), total_plpgsql() FROM average;

RESET SESSION AUTHORIZATION;
RESET search_path;
SELECT betweenrows.trust(object, false)
  FROM unnest(ARRAY['trust_demo.average', 'trust_demo.total()', 'trust_demo.rows_of_pay()',
                    'trust_demo.calls_helper()', 'trust_demo.writes_log()', 'trust_demo.fails(boolean)'])
       AS object;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'trust %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA trust_demo CASCADE;
DROP ROLE regress_trust_alice;
