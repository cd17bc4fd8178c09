-- Below the client's own statement what is hidden cannot be named away: a table answers 42501 without its name, a column
-- reads NULL. Neither may tell more than that, and a statement must not look nested, or not nested, by a trick.
CREATE ROLE nested_alice LOGIN;
CREATE SCHEMA nested;
GRANT ALL ON SCHEMA nested TO nested_alice;
SET search_path = nested;
CREATE TABLE staff (id int PRIMARY KEY, name text, salary int NOT NULL DEFAULT 5 CHECK (salary > 0));
INSERT INTO staff VALUES (1, 'Ann', 1000), (2, 'Ben', 2000);
CREATE TABLE secrets (id int PRIMARY KEY, secret text);
INSERT INTO secrets VALUES (1, 'classified');
CREATE TABLE plain (id int);
INSERT INTO plain VALUES (1);
GRANT ALL ON ALL TABLES IN SCHEMA nested TO nested_alice;
SELECT betweenrows.deny_columns('staff', '{salary}', 'nested salary');
SELECT betweenrows.deny_table('secrets', 'nested secrets');
CREATE VIEW staff_view AS SELECT * FROM staff;
CREATE VIEW secret_view AS SELECT * FROM secrets;
GRANT SELECT ON staff_view, secret_view TO nested_alice;
-- The raw view of a superuser.
SELECT * FROM staff_view ORDER BY id;

-- Viewpoint of alice. What a statement inside a function answers, with SQLSTATE and everything an error can carry.
SET SESSION AUTHORIZATION nested_alice;
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE result text; state text; message text; detail text; hint text; context text; tab text; col text; con text; typ text; sch text;
    BEGIN
        EXECUTE statement INTO result;
        RETURN format('ok: %s', result);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
            hint = PG_EXCEPTION_HINT, tab = TABLE_NAME, col = COLUMN_NAME, con = CONSTRAINT_NAME, typ = PG_DATATYPE_NAME, sch = SCHEMA_NAME;
        RETURN concat_ws('|', state, message, detail, hint, tab, col, con, typ, sch);
    END $$;
SELECT try('SELECT * FROM nested.secrets');
SELECT try('SELECT count(*) FROM nested.secrets WHERE false');
SELECT try('SELECT 1 FROM nested.plain WHERE EXISTS (SELECT FROM nested.secrets)');
SELECT try('INSERT INTO nested.secrets VALUES (2, ''x'')');
SELECT try('UPDATE nested.secrets SET secret = NULL');
SELECT try('DELETE FROM nested.secrets');
SELECT try('SELECT * FROM nested.secret_view');
SELECT try('SELECT nothing FROM nested.secrets');
SELECT try('SELECT * FROM nested.nothing');
SELECT try('SELECT salary FROM nested.staff');
SELECT try('SELECT staff FROM nested.staff ORDER BY id');
SELECT try('SELECT string_agg(concat(s.*), '';'' ORDER BY id) FROM nested.staff s');
SELECT try('SELECT count(*) FROM nested.staff WHERE salary > 0 OR salary IS NULL');
SELECT try('SELECT count(*) FROM nested.staff WHERE salary IS NOT NULL');
SELECT try('SELECT count(salary), sum(salary), max(salary) FROM nested.staff');
SELECT try('SELECT string_agg(id::text, '','' ORDER BY salary DESC, id) FROM nested.staff');
SELECT try('SELECT 1 / salary FROM nested.staff');
SELECT try('SELECT count(*) FROM nested.staff a JOIN nested.staff b USING (salary)');
SELECT try('SELECT count(*) FROM nested.staff GROUP BY salary');
SELECT try('UPDATE nested.staff SET salary = 1');
SELECT try('UPDATE nested.staff SET name = salary::text WHERE id = 1 RETURNING (name IS NULL)::text');
SELECT try('UPDATE nested.staff SET name = ''Ann'' WHERE salary = 1000 RETURNING name');
SELECT try('UPDATE nested.staff SET name = ''Ann'' WHERE id = 1 RETURNING concat(name, salary)');
SELECT try('INSERT INTO nested.staff (id, salary) VALUES (3, 1)');
SELECT try('INSERT INTO nested.staff VALUES (3, ''Cid'', 5) RETURNING id');
SELECT try('INSERT INTO nested.staff (id, name) VALUES (3, ''Cid'') RETURNING concat(name, salary)');
SELECT try('DELETE FROM nested.staff WHERE salary = 5 OR id = 3 RETURNING staff');
SELECT * FROM staff_view ORDER BY id;
SELECT salary FROM staff_view WHERE salary IS NOT NULL;

-- At the top it is the name that is missing, also after a nested statement has failed, or succeeded, or while one is open.
SELECT salary FROM staff;  -- fail
SELECT try('SELECT 1 / 0'), try('SELECT * FROM nested.secrets');
SELECT salary FROM staff;  -- fail
SELECT * FROM secrets;  -- fail
BEGIN;
SELECT try('SELECT * FROM nested.secrets');
SELECT salary FROM staff;  -- fail
ROLLBACK;
BEGIN;
CREATE FUNCTION open_cursor() RETURNS refcursor LANGUAGE plpgsql AS $$
    DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT * FROM nested.staff ORDER BY id; RETURN c; END $$;
SELECT open_cursor();
SELECT * FROM staff ORDER BY id;
FETCH 1 FROM c;
SAVEPOINT s;
SELECT salary FROM staff;  -- fail
ROLLBACK TO s;
FETCH 1 FROM c;
SELECT * FROM staff ORDER BY id;
ROLLBACK;
CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM nested.staff; COMMIT; PERFORM FROM nested.secrets; END $$;
CALL p();  -- fail
SELECT salary FROM staff;  -- fail
SELECT * FROM staff ORDER BY id;
DO $$ BEGIN BEGIN PERFORM FROM nested.secrets; EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'caught'; END; COMMIT; END $$;
SELECT salary FROM staff;  -- fail

-- Statements that contain another at the top: EXPLAIN, CREATE TABLE AS, DECLARE, COPY, PREPARE, CREATE VIEW. Not a
-- function's body, which is nested from the start.
EXPLAIN (COSTS OFF) SELECT salary FROM staff;  -- fail
EXPLAIN (COSTS OFF) SELECT * FROM secrets;  -- fail
CREATE TABLE t AS SELECT salary FROM staff;  -- fail
CREATE TABLE t AS SELECT * FROM secrets;  -- fail
PREPARE q AS SELECT salary FROM staff;  -- fail
PREPARE q AS SELECT * FROM secrets;  -- fail
COPY (SELECT salary FROM staff) TO STDOUT;  -- fail
COPY (SELECT * FROM secrets) TO STDOUT;  -- fail
CREATE VIEW v AS SELECT salary FROM staff;  -- fail
CREATE VIEW v AS SELECT * FROM secrets;  -- fail
BEGIN;
DECLARE c CURSOR FOR SELECT salary FROM staff;  -- fail
ROLLBACK;
CREATE FUNCTION body() RETURNS SETOF int LANGUAGE sql AS 'SELECT salary FROM nested.staff';
SELECT * FROM body();
CREATE FUNCTION secret_body() RETURNS SETOF text LANGUAGE sql AS 'SELECT secret FROM nested.secrets';
SELECT * FROM secret_body();  -- fail
CREATE FUNCTION atomic_body() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT concat(id, salary) FROM nested.staff; END;
SELECT * FROM atomic_body() ORDER BY 1;
PREPARE q AS SELECT * FROM staff ORDER BY id;
EXECUTE q;
DO $$ BEGIN EXECUTE 'EXECUTE q'; END $$;
EXPLAIN (COSTS OFF) EXECUTE q;
CREATE TABLE t AS EXECUTE q;
TABLE t ORDER BY id;
DEALLOCATE q;

-- Constant folding runs functions while a statement of the client is planned: those are nested as well.
CREATE FUNCTION folded() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT concat(max(name), max(salary)) FROM nested.staff); END $$;
SELECT folded();
SELECT id FROM plain WHERE folded() = 'Ben';
CREATE FUNCTION folded_secret() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT max(secret) FROM nested.secrets); END $$;
SELECT folded_secret();  -- fail
SELECT salary FROM staff;  -- fail

RESET SESSION AUTHORIZATION;
SELECT * FROM staff ORDER BY id;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'nested %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA nested CASCADE;
DROP OWNED BY nested_alice;
DROP ROLE nested_alice;
