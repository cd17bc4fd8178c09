-- The audit of each kind of statement: one row for each statement of the client, with what it came to, the policies that took
-- effect, and the rows that it sent or changed.
CREATE ROLE regress_kinds_alice LOGIN;
CREATE SCHEMA kinds;
SET search_path = kinds;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text);
INSERT INTO people VALUES (1, 'acme', '111-11'), (2, 'acme', '222-22'), (3, 'globex', '333-33');
CREATE TABLE inbox (id int, note text, code text);
INSERT INTO inbox VALUES (1, 'a', 'x'), (2, 'b', 'y');
CREATE TABLE listed (id int, t text);
INSERT INTO listed VALUES (1, 'one'), (2, 'two');
CREATE TABLE silent (id int);
INSERT INTO silent VALUES (1), (2);
CREATE TABLE free (id int);
INSERT INTO free VALUES (1), (2);
GRANT USAGE, CREATE ON SCHEMA kinds TO regress_kinds_alice;
GRANT ALL ON ALL TABLES IN SCHEMA kinds TO regress_kinds_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'kinds-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$, 'kinds-ssn');
SELECT betweenrows.create_policy('kinds-inbox', 'row_filter', '[{"schemas": ["kinds"], "tables": ["inbox"]}]',
    '{"filter_expression": "id < 100", "check": "none"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('kinds-inbox') IS NOT NULL AS assigned;
SELECT betweenrows.mask_column('inbox', 'code', $$'#'$$, 'kinds-code');
SELECT betweenrows.create_policy('kinds-listed', 'column_allow', '[{"schemas": ["kinds"], "tables": ["listed"], "columns": ["*"]}]')
    IS NOT NULL AS created;
SELECT betweenrows.assign_policy('kinds-listed') IS NOT NULL AS assigned;
SELECT betweenrows.create_decision_function('kinds-never', 'function evaluate(ctx, config) { return {fire: false}; }') IS NOT NULL AS created;
SELECT betweenrows.filter_rows('silent', 'false', 'kinds-silent');
SELECT betweenrows.alter_policy('kinds-silent', decision_function => 'kinds-never') > 0 AS altered;
CREATE TABLE shown (id uuid PRIMARY KEY);
CREATE FUNCTION news(OUT statement text, OUT status text, OUT sqlstate text, OUT row_count bigint, OUT relations text, OUT policies text,
        OUT parameters jsonb)
    RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    IF NOT betweenrows.audit_flush() THEN
        RAISE 'the audit was not moved in time';
    END IF;
    RETURN QUERY
        WITH new AS (SELECT q.* FROM betweenrows.query_audit q WHERE q.username = 'regress_kinds_alice'
                     AND q.database = current_database() AND NOT EXISTS (SELECT FROM kinds.shown s WHERE s.id = q.id)),
             noted AS (INSERT INTO kinds.shown SELECT n.id FROM new n)
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

-- Relations that policies are about, and for which nothing has to be done: a policy allows everything, another does not fire.
SET SESSION AUTHORIZATION regress_kinds_alice;
SELECT * FROM listed;
SELECT count(*) FROM listed JOIN people USING (id);
SELECT count(*) FROM silent;
INSERT INTO silent VALUES (3);
COPY listed FROM stdin;
3	three
\.
COPY listed TO stdout;
COPY listed (id, nothing) TO stdout;  -- fail
TRUNCATE silent;
EXPLAIN SELECT * FROM listed WHERE id = 1 / 0;  -- fail
\o /dev/null
EXPLAIN ANALYZE SELECT t FROM listed WHERE id = 1;
\o
RESET SESSION AUTHORIZATION;
SELECT * FROM news();
SELECT q.decisions #>> '{0,function}' AS function, q.decisions #>> '{0,fire}' AS fire FROM betweenrows.query_audit q
    WHERE q.username = 'regress_kinds_alice' AND q.original_query = 'SELECT count(*) FROM silent';

-- Views: of what they read, the columns that the statement needs.
CREATE VIEW staff AS SELECT id, org, ssn, upper(ssn) AS shouted FROM people;
CREATE VIEW directory AS SELECT s.id, s.org, s.ssn, i.note FROM staff s LEFT JOIN inbox i USING (id) WHERE s.org <> 'x';
CREATE VIEW known AS SELECT DISTINCT ssn, org FROM people;
CREATE VIEW paged AS SELECT id, org FROM people ORDER BY ssn LIMIT 5;
CREATE VIEW masked AS SELECT id, org FROM people WHERE ssn <> 'x';
CREATE VIEW whole AS SELECT p, p.id FROM people p;
CREATE VIEW nested AS SELECT id, (SELECT max(q.ssn) FROM people q WHERE q.id = p.id) AS top FROM people p;
GRANT ALL ON staff, directory, known, paged, masked, whole, nested TO regress_kinds_alice;
SET SESSION AUTHORIZATION regress_kinds_alice;
SELECT id FROM staff ORDER BY id;
SELECT shouted FROM staff ORDER BY id;
SELECT count(*) FROM staff;
SELECT note FROM directory ORDER BY id;
SELECT count(d) FROM directory d;
SELECT id FROM directory WHERE ssn LIKE '%' ORDER BY 1;
SELECT org FROM known ORDER BY 1;
SELECT id FROM paged ORDER BY 1;
SELECT count(org) FROM masked;
SELECT id FROM whole ORDER BY 1;
SELECT (w.p).org FROM whole w ORDER BY 1;
SELECT count(id) FROM nested;
WITH s AS (SELECT * FROM staff) SELECT id FROM s ORDER BY 1;
SELECT f.id FROM free f WHERE EXISTS (SELECT FROM staff s WHERE s.id = f.id AND s.org = 'acme') ORDER BY 1;
SELECT * FROM free f, LATERAL (SELECT s.org FROM staff s WHERE s.id = f.id) l ORDER BY 1;
UPDATE staff SET org = 'acme' WHERE id = 1 RETURNING org;
DELETE FROM masked WHERE id = 99;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- COPY FROM.
SET SESSION AUTHORIZATION regress_kinds_alice;
COPY inbox (id, note) FROM stdin;
5	five
6	six
\.
COPY inbox (id, note) FROM stdin;  -- fail
bad	one
\.
-- fail; COPY FROM STDIN, but psql of 16 prints the end of data of a refused one.
\copy inbox (id, code) FROM '/dev/null'
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Writing, and statements that keep what they read.
SET SESSION AUTHORIZATION regress_kinds_alice;
MERGE INTO people p USING (VALUES (1, 'acme'), (9, 'acme')) v(id, org) ON p.id = v.id
    WHEN MATCHED THEN UPDATE SET org = v.org WHEN NOT MATCHED THEN INSERT (id, org) VALUES (v.id, v.org);
MERGE INTO people p USING (VALUES (10, 'globex')) v(id, org) ON p.id = v.id
    WHEN NOT MATCHED THEN INSERT (id, org) VALUES (v.id, v.org);  -- fail
WITH gone AS (DELETE FROM people WHERE id = 9 RETURNING id) SELECT * FROM gone;
WITH ins AS (INSERT INTO people (id, org) VALUES (11, 'acme') RETURNING id) UPDATE inbox SET note = 'w' FROM ins WHERE inbox.id = 1;
INSERT INTO people (id, org) VALUES (1, 'acme') ON CONFLICT (id) DO UPDATE SET org = excluded.org RETURNING id, ssn;
INSERT INTO people (id, org) VALUES (1, 'acme') ON CONFLICT DO NOTHING;
DELETE FROM people USING free WHERE people.id = free.id + 9;
SELECT id FROM people WHERE id = 1 FOR UPDATE;
COPY (DELETE FROM people WHERE id = 11 RETURNING id) TO stdout;
SELECT id INTO TEMP into_table FROM people;
CREATE MATERIALIZED VIEW mv AS SELECT id, ssn FROM people;
REFRESH MATERIALIZED VIEW mv;
PREPARE ctas AS SELECT id FROM people;
CREATE TEMP TABLE ctas AS EXECUTE ctas;
EXPLAIN (COSTS OFF) EXECUTE ctas;
SELECT EXISTS (SELECT FROM people WHERE ssn = 'x');
SELECT count(*) FROM people TABLESAMPLE SYSTEM (100);
VALUES ((SELECT max(id) FROM people));
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Cursors: what was fetched, also when they were closed early, went back, moved on, were kept, or failed.
SET SESSION AUTHORIZATION regress_kinds_alice;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM people ORDER BY id;
FETCH 1 FROM c;
FETCH BACKWARD 1 FROM c;
MOVE ALL FROM c;
CLOSE c;
COMMIT;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people;
COMMIT;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM people ORDER BY id;
FETCH 1 FROM c;
COMMIT;
FETCH ALL FROM c;
CLOSE c;
BEGIN;
DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT ssn FROM people ORDER BY id;
FETCH 1 FROM c;
COMMIT;
FETCH ALL FROM c;
CLOSE c;
BEGIN;
DECLARE c CURSOR FOR SELECT 1 / (id - 2) FROM people ORDER BY id;
FETCH 1 FROM c;
FETCH 1 FROM c;
COMMIT;
BEGIN;
SAVEPOINT a;
DECLARE c CURSOR FOR SELECT id FROM people ORDER BY id;
FETCH 1 FROM c;
ROLLBACK TO a;
SELECT id FROM people WHERE id = 2;
COMMIT;
BEGIN;
SAVEPOINT a;
DECLARE c CURSOR FOR SELECT org, id FROM people ORDER BY id;
RELEASE a;
SAVEPOINT a;
ROLLBACK TO a;
FETCH ALL FROM c;
COMMIT;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people ORDER BY id;
FETCH 1 FROM c;
syntax error;  -- fail
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people ORDER BY id FOR UPDATE;
FETCH 1 FROM c;
UPDATE people SET org = 'acme' WHERE CURRENT OF c;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Transactions: prepared, of several statements in one message, procedures that end them.
SET SESSION AUTHORIZATION regress_kinds_alice;
BEGIN;
UPDATE people SET org = 'acme' WHERE id = 1;
PREPARE TRANSACTION 'kinds';
COMMIT PREPARED 'kinds';
BEGIN;
UPDATE people SET org = 'acme' WHERE id = 1;
PREPARE TRANSACTION 'kinds';
ROLLBACK PREPARED 'kinds';
SELECT id FROM people WHERE id = 1 \; SELECT 1 / (id - id) FROM people;  -- fail
SELECT id FROM people WHERE id = 1 \; SELECT nothing;  -- fail
SELECT id FROM people WHERE id = 1 \; syntax;  -- fail
BEGIN \; SELECT id FROM people WHERE id = 1 \; ROLLBACK;
BEGIN; SELECT id FROM people WHERE id = 1; SELECT 1/0; SELECT id FROM people; ROLLBACK;  -- fail
CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$BEGIN PERFORM id FROM kinds.people; COMMIT; PERFORM 1 FROM kinds.inbox; ROLLBACK; UPDATE kinds.people SET org = 'acme' WHERE id = 1; END$$;
CALL steps();
CREATE PROCEDURE fails() LANGUAGE plpgsql AS $$BEGIN PERFORM id FROM kinds.people; COMMIT; PERFORM 1 / (id - id) FROM kinds.inbox; END$$;
CALL fails();  -- fail
DO $$BEGIN BEGIN PERFORM 1/(id-id) FROM kinds.people; EXCEPTION WHEN OTHERS THEN NULL; END; PERFORM 1 FROM kinds.inbox; END$$;
DO $$DECLARE r record; BEGIN FOR r IN SELECT id FROM kinds.people LOOP EXIT; END LOOP; END$$;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Parallel workers record nothing themselves. Whoever becomes somebody on the way is recorded as that.
SET SESSION AUTHORIZATION regress_kinds_alice;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM people;
SELECT sum(1/(id-id)) FROM people;  -- fail
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
RESET SESSION AUTHORIZATION;
SET ROLE regress_kinds_alice;
SELECT id FROM people ORDER BY id;
BEGIN; SET LOCAL ROLE regress_kinds_alice; SELECT ssn FROM people; COMMIT;
RESET ROLE;
DO $$BEGIN SET LOCAL ROLE regress_kinds_alice; PERFORM 1 FROM kinds.people; END$$;
SELECT * FROM news();

-- Fetching what was kept: refused for somebody else, and after policies changed.
SET SESSION AUTHORIZATION regress_kinds_alice;
BEGIN;
DECLARE kept CURSOR WITH HOLD FOR SELECT id, ssn FROM people ORDER BY id;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('people', 'id < 3', 'kinds-more');
SET SESSION AUTHORIZATION regress_kinds_alice;
FETCH ALL FROM kept;  -- fail
CLOSE kept;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('kinds-more');
BEGIN;
DECLARE raw CURSOR WITH HOLD FOR SELECT id, ssn FROM people ORDER BY id;
COMMIT;
SET ROLE regress_kinds_alice;
FETCH ALL FROM raw;  -- fail
RESET ROLE;
CLOSE raw;
SELECT * FROM news();

-- Literals are left out of every statement that comes to a masked column, wherever it does, and out of messages about values.
SET betweenrows.audit_redact = on;
CREATE FUNCTION find(text) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT count(*) FROM kinds.people WHERE ssn = $1); END$$;
SET ROLE regress_kinds_alice;
SELECT find('111-11') FROM people WHERE id = 1;
DO $$BEGIN PERFORM 1 FROM kinds.people WHERE id = 1; PERFORM 1 FROM kinds.people WHERE ssn = '111-11'; END$$;
DO $$BEGIN
    BEGIN PERFORM ('111-' || '11')::int FROM kinds.people WHERE ssn = '1'; EXCEPTION WHEN OTHERS THEN NULL; END;
END$$;
SELECT ('111-' || '11')::int FROM people WHERE ssn = '1';  -- fail
SELECT id FROM people WHERE org = 'acme' AND id = 1;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people WHERE ssn = '111-11';
FETCH ALL FROM c;
COMMIT;
COPY (SELECT id FROM people WHERE ssn = '111-11') TO stdout;
RESET ROLE;
RESET betweenrows.audit_redact;
SELECT * FROM news();
SELECT q.original_query, q.error_message, q.rewritten_query ~ '11' AS shown FROM betweenrows.query_audit q
    WHERE q.username = 'regress_kinds_alice' AND q.original_query LIKE '%?%' ORDER BY q.id;

-- What ran has a time; from one cursor nothing was fetched.
SELECT DISTINCT q.statement_kind, q.original_query FROM betweenrows.query_audit q
    WHERE q.username = 'regress_kinds_alice' AND q.status = 'success' AND q.execution_ms IS NULL;

DROP SCHEMA kinds CASCADE;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'kinds-%' ORDER BY name;
SELECT betweenrows.drop_decision_function('kinds-never');
DROP OWNED BY regress_kinds_alice;
DROP ROLE regress_kinds_alice;
