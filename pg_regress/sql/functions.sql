-- A function is another place where statements are planned, and a place where plans stay: inlined into the caller,
-- parsed when it was created, kept by the session, run as somebody else. alice and bob write functions of every kind;
-- each sees own rows only, ssn is masked, debt does not exist and reads NULL inside a function.
CREATE ROLE functions_alice LOGIN;
CREATE ROLE functions_bob LOGIN;
CREATE ROLE functions_owner LOGIN;
CREATE SCHEMA functions;
GRANT ALL ON SCHEMA functions TO functions_alice, functions_bob, functions_owner;
SET search_path = functions;
CREATE TABLE customers (id int PRIMARY KEY, agent text, ssn text, debt int);
INSERT INTO customers VALUES
    (1, 'functions_alice', '111-11-1111', 100), (2, 'functions_alice', '222-22-2222', 200),
    (3, 'functions_bob', '333-33-3333', 300);
CREATE TABLE secrets (secret text);
INSERT INTO secrets VALUES ('classified');
CREATE TABLE plain (id int, note text);
INSERT INTO plain VALUES (1, 'one'), (3, 'three');
GRANT ALL ON ALL TABLES IN SCHEMA functions TO functions_alice, functions_bob, functions_owner;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'functions own');
SELECT betweenrows.mask_column('customers', 'ssn', '''***-'' || right(ssn, 2)', 'functions ssn');
SELECT betweenrows.deny_columns('customers', '{debt}', 'functions debt');
SELECT betweenrows.deny_table('secrets', 'functions secrets');
-- The raw view of a superuser.
SELECT * FROM customers ORDER BY id;

-- Viewpoint of alice. LANGUAGE sql: the planner inlines the body of a set-returning one, after the statement was governed.
SET SESSION AUTHORIZATION functions_alice;
CREATE FUNCTION all_stable() RETURNS SETOF customers LANGUAGE sql STABLE AS 'SELECT * FROM functions.customers';
CREATE FUNCTION all_volatile() RETURNS SETOF customers LANGUAGE sql AS 'SELECT * FROM functions.customers';
CREATE FUNCTION all_table() RETURNS TABLE (id int, ssn text, debt int) LANGUAGE sql STABLE
    AS 'SELECT id, ssn, debt FROM functions.customers';
CREATE FUNCTION all_atomic() RETURNS TABLE (id int, ssn text) LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT c.id, c.ssn FROM functions.customers c; END;
CREATE FUNCTION all_debts() RETURNS TABLE (id int, debt int) LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT c.id, c.debt FROM functions.customers c; END;
CREATE FUNCTION one_scalar(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ssn FROM functions.customers WHERE id = $1';
CREATE FUNCTION one_return(int) RETURNS text LANGUAGE sql STABLE RETURN (SELECT c.ssn FROM functions.customers c WHERE c.id = $1);
SELECT * FROM all_stable() ORDER BY id;
SELECT * FROM all_volatile() ORDER BY id;
SELECT * FROM all_table() ORDER BY id;
SELECT * FROM all_table() WHERE f_leak(ssn) AND f_leak(debt) ORDER BY id;
SELECT * FROM all_atomic() ORDER BY id;
SELECT * FROM all_debts() WHERE f_leak(debt) ORDER BY id;
SELECT id, f.* FROM plain, LATERAL (SELECT ssn FROM all_atomic() a WHERE a.id = plain.id) f;
SELECT * FROM ROWS FROM (all_stable(), all_table()) ORDER BY 1;
SELECT all_table(), (all_stable()).ssn ORDER BY 1;
SELECT id, one_scalar(id), one_return(id), one_scalar(3), one_return(3) FROM plain ORDER BY id;
SELECT one_scalar(1), one_return(1);
SELECT * FROM plain WHERE one_scalar(id) IS NOT NULL;
EXPLAIN (COSTS OFF) SELECT * FROM all_stable();

-- Viewpoint of bob: the same functions, the same session.
SET SESSION AUTHORIZATION functions_bob;
SELECT * FROM all_stable() ORDER BY id;
SELECT * FROM all_atomic() ORDER BY id;
SELECT one_scalar(1), one_scalar(3), one_return(1), one_return(3);

-- Viewpoint of alice: plpgsql keeps its plans for the session.
SET SESSION AUTHORIZATION functions_alice;
CREATE FUNCTION cached() RETURNS text LANGUAGE plpgsql STABLE AS $$
    DECLARE found text;
    BEGIN SELECT string_agg(concat_ws('/', id, ssn, debt), ',' ORDER BY id) INTO found FROM functions.customers; RETURN found; END $$;
CREATE FUNCTION cached_filter(wanted int) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RETURN (SELECT c.ssn FROM functions.customers c WHERE c.id = wanted); END $$;
CREATE FUNCTION dynamic(query text) RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE query; END $$;
CREATE FUNCTION in_a_loop() RETURNS SETOF text LANGUAGE plpgsql AS $$
    DECLARE r record; c CURSOR (low int) FOR SELECT * FROM functions.customers WHERE id >= low ORDER BY id; one functions.customers;
    BEGIN
        FOR r IN SELECT * FROM functions.customers ORDER BY id LOOP RETURN NEXT r::text; END LOOP;
        FOR r IN EXECUTE 'TABLE functions.customers' LOOP RETURN NEXT r::text; END LOOP;
        FOR r IN c(2) LOOP RETURN NEXT r::text; END LOOP;
        OPEN c(1); FETCH LAST FROM c INTO one; RETURN NEXT one::text; CLOSE c;
        SELECT * INTO one FROM functions.customers WHERE id = 1; RETURN NEXT one::text;
    END $$;
SELECT cached(), cached_filter(1), cached_filter(3);
SELECT cached(), cached_filter(1), cached_filter(3);
SELECT * FROM dynamic('SELECT * FROM functions.customers') AS (id int, agent text, ssn text, debt int) ORDER BY id;
SELECT * FROM dynamic('SELECT debt FROM functions.customers') AS (debt int);
SELECT * FROM dynamic('SELECT * FROM functions.secrets') AS (s text);  -- fail
SELECT in_a_loop();
DO $$ BEGIN PERFORM FROM functions.customers WHERE id = 3; RAISE NOTICE 'found: %', FOUND; RAISE NOTICE '%', functions.cached(); END $$;
DO $$ BEGIN EXECUTE 'SELECT secret FROM functions.secrets'; END $$;  -- fail
SELECT cached() FROM generate_series(1, 6);
SET SESSION AUTHORIZATION functions_bob;
SELECT cached(), cached_filter(1), cached_filter(3);
SELECT in_a_loop();
-- The superuser's own call, and in alice's name.
RESET SESSION AUTHORIZATION;
SELECT cached(), cached_filter(1), cached_filter(3);
SET ROLE functions_alice;
SELECT cached(), cached_filter(1), cached_filter(3);
SET ROLE functions_bob;
SELECT cached(), cached_filter(1), cached_filter(3);
RESET ROLE;
SELECT cached(), cached_filter(1), cached_filter(3);

-- SECURITY DEFINER: privileges are the owner's, the subject stays who asks. Of a subject, of a superuser.
SET SESSION AUTHORIZATION functions_owner;
CREATE FUNCTION by_owner() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN RETURN QUERY SELECT concat_ws('/', id, ssn, debt) FROM functions.customers ORDER BY id; END $$;
CREATE FUNCTION by_owner_sql() RETURNS TABLE (id int, ssn text) LANGUAGE sql STABLE SECURITY DEFINER
    AS $$ SELECT id, ssn FROM functions.customers $$;
RESET SESSION AUTHORIZATION;
CREATE FUNCTION by_superuser() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN RETURN QUERY SELECT concat_ws('/', id, ssn, debt) FROM functions.customers ORDER BY id; END $$;
CREATE FUNCTION secret_by_superuser() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT secret FROM functions.secrets $$;
REVOKE ALL ON customers FROM functions_bob;
SET SESSION AUTHORIZATION functions_bob;
SELECT by_owner();
SELECT * FROM by_owner_sql() ORDER BY id;
SELECT by_superuser();
SELECT secret_by_superuser();  -- fail
SELECT cached();  -- fail
SET SESSION AUTHORIZATION functions_alice;
SELECT by_owner();
SELECT by_superuser();
SELECT secret_by_superuser();  -- fail
RESET SESSION AUTHORIZATION;
SELECT by_superuser();
SELECT by_owner();
GRANT ALL ON customers TO functions_bob;

-- Exception blocks and procedures: errors leave no frame behind that would make the next statement look nested, or not.
SET SESSION AUTHORIZATION functions_alice;
CREATE FUNCTION try_hard() RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM functions.secret_by_superuser();
        RETURN 'no error';
    EXCEPTION WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM || ' / ' || (SELECT string_agg(ssn, ',' ORDER BY id) FROM functions.customers);
    END $$;
SELECT try_hard(), try_hard();
SELECT debt FROM customers;  -- fail
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
    DECLARE r record;
    BEGIN
        FOR r IN SELECT * FROM functions.customers ORDER BY id LOOP
            RAISE NOTICE '%', r; COMMIT; RAISE NOTICE '%', (SELECT json_agg(c) FROM functions.customers c WHERE c.id >= r.id); ROLLBACK;
        END LOOP;
        BEGIN
            PERFORM 1 / 0;
        EXCEPTION WHEN division_by_zero THEN
            RAISE NOTICE 'after an error: %', (SELECT count(*) FROM functions.customers);
        END;
    END $$;
CALL commits();
SELECT * FROM customers ORDER BY id;
DO $$ BEGIN CALL functions.commits(); EXECUTE 'SELECT nothing'; END $$;  -- fail
SELECT debt FROM customers;  -- fail
SELECT * FROM customers ORDER BY id;
SAVEPOINT a;  -- fail
BEGIN;
SAVEPOINT a;
SELECT f_leak(id / 0) FROM customers;  -- fail
ROLLBACK TO a;
SELECT * FROM customers WHERE id = 3 OR f_leak(ssn) ORDER BY id;
SELECT debt FROM customers;  -- fail
ROLLBACK;
SELECT count(*) FROM customers;

-- Functions that run a query given as text, or read a table given by name.
SELECT * FROM ts_stat('SELECT to_tsvector(''simple'', concat(ssn, '' '', debt)) FROM functions.customers') ORDER BY word;
SELECT * FROM ts_stat('SELECT to_tsvector(secret) FROM functions.secrets');  -- fail
SELECT ts_rewrite('111 & a'::tsquery, 'SELECT ''111''::tsquery, quote_literal(right(ssn, 2))::tsquery FROM functions.customers');
SELECT database_to_xml(true, true, '') IS NULL, 1 / 0;  -- fail
DECLARE c CURSOR WITH HOLD FOR SELECT id, ssn FROM customers ORDER BY id;
CLOSE c;

-- Operators, casts, domains, defaults and aggregates of the user are functions too.
CREATE FUNCTION leak_eq(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'leak_eq => %', $1; RETURN true; END $$;
CREATE OPERATOR === (FUNCTION = leak_eq, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
SELECT id FROM customers WHERE ssn === 'x' ORDER BY id;
SELECT c.id FROM customers c JOIN plain p ON c.ssn === p.note AND c.id = p.id;
SELECT id FROM customers WHERE ssn OPERATOR(functions.===) ANY ('{a}') ORDER BY id;
CREATE DOMAIN leaky AS text CHECK (functions.f_leak(VALUE));
SELECT ssn::leaky FROM customers WHERE id < 3 ORDER BY id;
CREATE TYPE wrapped AS (w text);
CREATE FUNCTION wrap(text) RETURNS wrapped LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'wrap => %', $1; RETURN ROW($1); END $$;
CREATE CAST (text AS wrapped) WITH FUNCTION wrap(text);
SELECT id, ssn::wrapped FROM customers ORDER BY id;
CREATE FUNCTION leak_step(text, text) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'step => %', $2; RETURN concat($1, $2); END $$;
CREATE AGGREGATE collect(text) (sfunc = leak_step, stype = text);
SELECT collect(ssn ORDER BY id), collect(ssn) OVER () FROM customers GROUP BY ssn ORDER BY 1;
CREATE TEMP TABLE of_alice (v leaky DEFAULT functions.cached());
INSERT INTO of_alice SELECT ssn FROM customers ORDER BY id;
INSERT INTO of_alice DEFAULT VALUES;
TABLE of_alice;

-- Triggers on her own table, by row and by statement, see what her statements bring there.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE r record;
    BEGIN
        IF TG_LEVEL = 'ROW' THEN RAISE NOTICE '% %', TG_OP, NEW; RETURN NEW; END IF;
        FOR r IN SELECT n.*, c.ssn AS looked_up FROM n LEFT JOIN functions.customers c ON n.v = c.id::text ORDER BY n.v LOOP
            RAISE NOTICE '% rows: %', TG_OP, r; END LOOP;
        RETURN NULL;
    END $$;
CREATE TEMP TABLE watched (v text);
CREATE TRIGGER each_row BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER each_statement AFTER INSERT ON watched REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION tell();
INSERT INTO watched SELECT ssn FROM customers ORDER BY id;
INSERT INTO watched VALUES ('1'), ('3');
RESET SESSION AUTHORIZATION;

-- An event trigger is a superuser's; what it does it does for who ran the command.
CREATE FUNCTION on_command() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE '%: %', TG_TAG, (SELECT string_agg(ssn, ',' ORDER BY id) FROM functions.customers); END $$;
CREATE EVENT TRIGGER functions_event ON ddl_command_end WHEN TAG IN ('CREATE DOMAIN') EXECUTE FUNCTION on_command();
CREATE DOMAIN of_superuser AS text;
SET SESSION AUTHORIZATION functions_alice;
CREATE DOMAIN of_alice_too AS text;
RESET SESSION AUTHORIZATION;
DROP EVENT TRIGGER functions_event;

-- A function's own settings and roles: none of them makes another subject.
SET SESSION AUTHORIZATION functions_alice;
CREATE FUNCTION with_settings() RETURNS bigint LANGUAGE plpgsql SET row_security = off SET search_path = functions
    AS $$ BEGIN RETURN (SELECT count(*) FROM customers); END $$;
SELECT with_settings();
RESET SESSION AUTHORIZATION;
GRANT functions_bob TO functions_alice;
SET SESSION AUTHORIZATION functions_alice;
SET ROLE functions_bob;
SELECT * FROM customers ORDER BY id;
SELECT cached();
RESET ROLE;
CREATE FUNCTION as_bob() RETURNS text LANGUAGE plpgsql SET role = functions_bob AS $$ BEGIN RETURN functions.cached(); END $$;
SELECT as_bob();

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'functions %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA functions CASCADE;
DROP OWNED BY functions_alice, functions_bob, functions_owner;
DROP ROLE functions_alice, functions_bob, functions_owner;
