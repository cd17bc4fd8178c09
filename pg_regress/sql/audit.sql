-- The audit: a row for every statement on governed relations, with exactly the policies that took effect, however it ends.
CREATE ROLE regress_audit_alice LOGIN;
CREATE ROLE regress_audit_exempt LOGIN;
CREATE SCHEMA audit;
SET search_path = audit;
CREATE TABLE people (gone int, id int PRIMARY KEY, org text, ssn text, salary int);
ALTER TABLE people DROP COLUMN gone;
INSERT INTO people VALUES (1, 'acme', '111-11', 100), (2, 'acme', '222-22', 200), (3, 'globex', '333-33', 300);
CREATE TABLE vault (code text);
CREATE TABLE free (id int);
INSERT INTO free VALUES (1), (2);
CREATE TABLE events (org text, id int) PARTITION BY LIST (org);
CREATE TABLE events_acme PARTITION OF events FOR VALUES IN ('acme');
INSERT INTO events VALUES ('acme', 1);
CREATE VIEW staff AS SELECT id, ssn FROM people;
CREATE FUNCTION count_people() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM audit.people); END';
CREATE FUNCTION open_people(c refcursor) RETURNS refcursor LANGUAGE plpgsql AS
    'BEGIN OPEN c FOR SELECT id FROM audit.people ORDER BY id; RETURN c; END';
CREATE FUNCTION try_vault() RETURNS text LANGUAGE plpgsql AS
    $$BEGIN PERFORM 1 FROM audit.vault; RETURN 'read'; EXCEPTION WHEN insufficient_privilege THEN RETURN 'refused'; END$$;
CREATE FUNCTION try_division() RETURNS text LANGUAGE plpgsql AS
    $$BEGIN PERFORM 1 / (id - id) FROM audit.people; RETURN 'read'; EXCEPTION WHEN division_by_zero THEN RETURN 'failed'; END$$;
GRANT USAGE, CREATE ON SCHEMA audit TO regress_audit_alice, regress_audit_exempt;
GRANT ALL ON ALL TABLES IN SCHEMA audit TO regress_audit_alice, regress_audit_exempt;
SELECT betweenrows.exempt_role('regress_audit_exempt');
SELECT betweenrows.create_user('regress_audit_alice', attributes => '{}') IS NOT NULL AS created;
SELECT betweenrows.create_role('auditing-staff') IS NOT NULL AS created;
SELECT betweenrows.add_member('auditing-staff', 'regress_audit_alice');
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'audit-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***-' || right(ssn, 2)$$, 'audit-ssn');
SELECT betweenrows.deny_columns('people', '{salary}', 'audit-salary');
SELECT betweenrows.deny_table('vault', 'audit-vault');
SELECT betweenrows.filter_rows('events', $$id > 0$$, 'audit-events');

-- What came in since the last call, in order.
CREATE TABLE shown (id uuid PRIMARY KEY);
CREATE FUNCTION news(OUT statement text, OUT status text, OUT sqlstate text, OUT row_count bigint, OUT relations text, OUT policies text)
    RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    IF NOT betweenrows.audit_flush() THEN
        RAISE 'the audit was not moved in time';
    END IF;
    RETURN QUERY
        WITH new AS (SELECT q.* FROM betweenrows.query_audit q WHERE q.username LIKE 'regress_audit_%'
                     AND q.database = current_database() AND NOT EXISTS (SELECT FROM audit.shown s WHERE s.id = q.id)),
             noted AS (INSERT INTO audit.shown SELECT n.id FROM new n)
        SELECT n.statement_kind || ': ' || left(n.original_query, 60), n.status, n.sqlstate, n.row_count,
            (SELECT string_agg(format('%s %s(%s)%s', e ->> 'access', e ->> 'relation',
                 (SELECT string_agg(c, ',') FROM jsonb_array_elements_text(e -> 'columns') c),
                 (SELECT ' sets ' || string_agg(c, ',') FROM jsonb_array_elements_text(e -> 'written') c)), '; ' ORDER BY e ->> 'relation', e ->> 'access')
             FROM jsonb_array_elements(n.relations) e),
            (SELECT string_agg(format('%s v%s %s%s', e ->> 'policy', e ->> 'version', e ->> 'effect', '(' || (e ->> 'column') || ')'), '; '
                 ORDER BY e ->> 'policy', e ->> 'column')
             FROM jsonb_array_elements(n.policies_applied) e)
        FROM new n ORDER BY n.id;
END $$;
\pset format unaligned
\pset fieldsep ' | '

-- Viewpoint of alice: reading.
SET SESSION AUTHORIZATION regress_audit_alice;
SELECT * FROM people ORDER BY id;
SELECT id FROM people WHERE ssn = '***-11';
SELECT count(*) FROM free;
SELECT staff.id FROM staff JOIN free USING (id) ORDER BY 1;
TABLE events;
TABLE events_acme;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Prepared statements, cursors, COPY, EXPLAIN, CREATE TABLE AS.
SET SESSION AUTHORIZATION regress_audit_alice;
PREPARE one AS SELECT id FROM people WHERE id = $1;
EXECUTE one(1);
EXECUTE one(3);
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people ORDER BY id;
FETCH 1 FROM c;
FETCH 1 FROM c;
CLOSE c;
SELECT open_people('d');
FETCH ALL FROM d;
COMMIT;
COPY people (id, ssn) TO stdout;
COPY (SELECT id FROM people ORDER BY id) TO stdout;
EXPLAIN (COSTS OFF) SELECT id FROM people;
CREATE TABLE copied AS SELECT id FROM people;
CREATE TEMP TABLE copied_too AS SELECT ssn FROM people;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Writing.
SET SESSION AUTHORIZATION regress_audit_alice;
INSERT INTO people (id, org) VALUES (4, 'acme');
INSERT INTO people (id, org) VALUES (5, 'globex');  -- fail
UPDATE people SET org = 'acme' WHERE id = 4 RETURNING id;
UPDATE people SET ssn = '444-44' WHERE id = 4;  -- fail
DELETE FROM people WHERE id IN (3, 4);
MERGE INTO people p USING free f ON p.id = f.id WHEN MATCHED THEN UPDATE SET org = 'acme';
COPY people (id, org) FROM stdin;  -- fail
\.
TRUNCATE people;  -- fail
ALTER TABLE people ADD COLUMN more int;  -- fail
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Refused for what they name: also by statements that fail anyway, not by those that only mistype.
SET SESSION AUTHORIZATION regress_audit_alice;
SELECT * FROM vault;  -- fail
SELECT salary FROM people;  -- fail
SELECT nothing FROM vault;  -- fail
SELECT nothing FROM people;  -- fail
SELECT nothing FROM nowhere;  -- fail
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Errors of ordinary kinds, and what is rolled back.
SET SESSION AUTHORIZATION regress_audit_alice;
SELECT 1 / (id - id) FROM people;  -- fail
BEGIN;
SELECT id FROM people WHERE id = 1;
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT 1 / (id - id) FROM people;  -- fail
ROLLBACK TO a;
SELECT id FROM people WHERE id = 2;
COMMIT;
BEGIN;
SELECT id / 0 FROM people;  -- fail
SELECT id FROM people;  -- fail
ROLLBACK;
SET statement_timeout = '50ms';
SELECT pg_sleep(60) FROM people;  -- fail
RESET statement_timeout;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Inside functions and blocks: one event for the client's statement, also when a refusal was caught.
SET SESSION AUTHORIZATION regress_audit_alice;
SELECT count_people();
SELECT count_people() FROM people;
SELECT try_vault();
SELECT try_division();
DO $$BEGIN PERFORM audit.count_people(); PERFORM 1 FROM audit.events; END$$;
SELECT 1 \; SELECT id FROM people WHERE id = 1 \; SELECT id FROM people WHERE id = 2;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- A transaction that fails when it commits takes its only statement with it.
CREATE TABLE late (id int, ref int REFERENCES people DEFERRABLE INITIALLY DEFERRED);
GRANT ALL ON late TO regress_audit_alice;
SELECT betweenrows.filter_rows('late', $$id > 0$$, 'audit-late');
SET SESSION AUTHORIZATION regress_audit_alice;
INSERT INTO late VALUES (1, 99);  -- fail
INSERT INTO late VALUES (1, 1);
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- Nobody else's statements, and nothing ungoverned.
SELECT id FROM people ORDER BY id;
SET SESSION AUTHORIZATION regress_audit_exempt;
SELECT id FROM people ORDER BY id;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_audit_alice;
SELECT count(*) FROM free;
SELECT relname FROM pg_class WHERE relname = 'free';
RESET SESSION AUTHORIZATION;
-- But a superuser's SET ROLE is governed.
SET ROLE regress_audit_alice;
SELECT id FROM people ORDER BY id;
RESET ROLE;
SELECT * FROM news();

-- The columns.
SET SESSION AUTHORIZATION regress_audit_alice;
SET application_name = 'the application';
SELECT ssn FROM people WHERE id = 1;
INSERT INTO people (id, org) VALUES (6, 'acme');
RESET SESSION AUTHORIZATION;
SELECT betweenrows.audit_flush();
\pset format aligned
\x
SELECT q.username, q.login_role, q.user_id = u.id AS user_id, q.roles, q.database, q.application_name, q.client_addr,
    q.backend_pid = pg_backend_pid() AS backend_pid, q.statement_kind, q.original_query,
    q.rewritten_query LIKE '%(people_1.org = ''acme''::text)%' OR q.rewritten_query LIKE '%(org = ''acme''::text)%' AS filter_shown,
    q.rewritten_query LIKE '%''***-''::text || "right"(%ssn, 2)%' AS mask_shown, q.relations,
    q.policies_applied #- '{0,policy_id}' #- '{1,policy_id}' #- '{2,policy_id}' AS policies_applied,
    q.policies_applied -> 0 ->> 'policy_id' = p.id::text AS policy_id, q.status, q.sqlstate, q.error_message, q.row_count,
    q.planning_ms > 0 AS planned, q.execution_ms > 0 AS executed, q.finished_at >= q.started_at AS finished, q.parameters,
    q.started_at > q.backend_start AS backend_start
FROM betweenrows.query_audit q JOIN betweenrows.users u USING (username)
    JOIN betweenrows.policies p ON p.name = q.policies_applied -> 0 ->> 'policy'
WHERE q.application_name = 'the application' AND q.username = 'regress_audit_alice' ORDER BY q.id;
\x

DROP SCHEMA audit CASCADE;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'audit-%' ORDER BY name;
SELECT betweenrows.exempt_role('regress_audit_exempt', false);
SELECT betweenrows.drop_role('auditing-staff');
SELECT betweenrows.drop_user('regress_audit_alice');
DROP OWNED BY regress_audit_alice, regress_audit_exempt;
DROP ROLE regress_audit_alice, regress_audit_exempt;
