-- What is recorded: levels, exceptions, parameters, literals; who may read it; retention, export, hash chain.
CREATE ROLE regress_auditing_alice LOGIN;
CREATE ROLE regress_auditing_auditor LOGIN IN ROLE betweenrows_auditor;
CREATE SCHEMA auditing;
SET search_path = auditing;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text);
INSERT INTO people VALUES (1, 'acme', '111-11'), (2, 'globex', '222-22');
CREATE TABLE vault (code text);
CREATE TABLE quiet (id int);
GRANT USAGE ON SCHEMA auditing TO regress_auditing_alice;
GRANT ALL ON ALL TABLES IN SCHEMA auditing TO regress_auditing_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'auditing-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$, 'auditing-ssn');
SELECT betweenrows.deny_table('vault', 'auditing-vault');
SELECT betweenrows.filter_rows('quiet', 'id > 0', 'auditing-quiet');
SELECT betweenrows.create_role('auditing-role') IS NOT NULL AS created;
SELECT betweenrows.create_user('regress_auditing_alice') IS NOT NULL AS created;
SELECT betweenrows.add_member('auditing-role', 'regress_auditing_alice');
CREATE TABLE shown (id uuid PRIMARY KEY);
CREATE FUNCTION news(OUT status text, OUT query text, OUT parameters jsonb) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    IF NOT betweenrows.audit_flush() THEN
        RAISE 'the audit was not moved in time';
    END IF;
    RETURN QUERY
        WITH new AS (SELECT q.* FROM betweenrows.query_audit q WHERE q.username = 'regress_auditing_alice'
                     AND NOT EXISTS (SELECT FROM auditing.shown s WHERE s.id = q.id)),
             noted AS (INSERT INTO auditing.shown SELECT n.id FROM new n)
        SELECT n.status, n.original_query, n.parameters FROM new n ORDER BY n.id;
END $$;
\pset format unaligned
\pset fieldsep ' | '

-- No subject chooses what is recorded about it.
SET SESSION AUTHORIZATION regress_auditing_alice;
SET betweenrows.audit = off;  -- fail
SELECT betweenrows.set_audit('off', to_user => 'regress_auditing_alice');  -- fail
RESET SESSION AUTHORIZATION;

-- The levels.
SET betweenrows.audit = off;
SET ROLE regress_auditing_alice;
SELECT id FROM people WHERE 'off' = 'off';
SELECT * FROM vault;  -- fail
RESET ROLE;
SET betweenrows.audit = denied;
SET ROLE regress_auditing_alice;
SELECT id FROM people WHERE 'denied' = 'denied';
SELECT * FROM vault;  -- fail
UPDATE people SET ssn = 'x';  -- fail
SELECT 1 / (id - id) FROM people;  -- fail
RESET ROLE;
RESET betweenrows.audit;
SELECT * FROM news();

-- Exceptions: a policy's counts before the user's, that one before those of its roles, these before the setting.
SELECT betweenrows.set_audit('off', to_role => 'auditing-role');
SET SESSION AUTHORIZATION regress_auditing_alice;
SELECT id FROM people WHERE 'role' = 'role';
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_audit('denied', to_user => 'regress_auditing_alice');
SET SESSION AUTHORIZATION regress_auditing_alice;
SELECT id FROM people WHERE 'user' = 'user';
SELECT * FROM vault;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_audit('all', policy => 'auditing-rows');
SELECT betweenrows.set_audit('off', policy => 'auditing-quiet');
SET SESSION AUTHORIZATION regress_auditing_alice;
SELECT id FROM people WHERE 'policy' = 'policy';
SELECT id FROM quiet;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();
SELECT s.value FROM betweenrows.settings s WHERE s.key = 'audit';
SELECT betweenrows.set_audit('loud', policy => 'auditing-rows');  -- fail
SELECT betweenrows.set_audit('all', policy => 'nothing');  -- fail
SELECT betweenrows.set_audit('all');  -- fail
SELECT betweenrows.set_audit(NULL, policy => 'auditing-rows'), betweenrows.set_audit(NULL, policy => 'auditing-quiet'),
    betweenrows.set_audit(NULL, to_user => 'regress_auditing_alice'), betweenrows.set_audit(NULL, to_role => 'auditing-role');
SELECT a.action, a.object_name, a.after FROM betweenrows.admin_audit a WHERE a.object_kind = 'audit' ORDER BY a.id DESC LIMIT 1;

-- Parameters and literals.
SET SESSION AUTHORIZATION regress_auditing_alice;
PREPARE one AS SELECT id FROM people WHERE id = $1 OR org = $2;
EXECUTE one(1, 'a "quoted" one');
RESET SESSION AUTHORIZATION;
SET betweenrows.audit_parameters = on;
SET betweenrows.audit_redact = on;
SET ROLE regress_auditing_alice;
EXECUTE one(1, NULL);
SELECT id FROM people WHERE ssn = '111-11' OR id = 77;  -- 'a comment'
SELECT id FROM people WHERE org = 'acme';
PREPARE found AS SELECT id FROM people WHERE ssn = $1 OR org = $2;
EXECUTE found('111-11', NULL);
RESET ROLE;
DEALLOCATE found;
RESET betweenrows.audit_parameters;
RESET betweenrows.audit_redact;
DEALLOCATE one;
SELECT * FROM news();
SELECT q.rewritten_query LIKE '%111-11%' AS has_literal FROM betweenrows.query_audit q
    WHERE q.username = 'regress_auditing_alice' AND q.original_query LIKE 'SELECT id FROM people WHERE ssn%';

-- Who may read it: auditors, and they may not change it. Subjects do not find it.
SET SESSION AUTHORIZATION regress_auditing_auditor;
SELECT count(*) > 0 AS visible FROM betweenrows.query_audit;
SELECT username, error_message FROM betweenrows.recent_denials WHERE username = 'regress_auditing_alice' ORDER BY started_at DESC LIMIT 1;
SELECT statements, denied, errors FROM betweenrows.access_by_user WHERE username = 'regress_auditing_alice';
SELECT relation, access, statements, denied FROM betweenrows.access_by_table WHERE username = 'regress_auditing_alice';
SELECT policy, effect, column_name, statements, users, last_version FROM betweenrows.policy_effect WHERE policy LIKE 'auditing-%';
SELECT betweenrows.audit_status() ->> 'backlog_bytes' AS backlog, betweenrows.audit_status() ->> 'dropped' AS dropped;
SELECT betweenrows.audit_status() -> 'findings' AS findings, betweenrows.audit_status() ->> 'launcher_pid' IS NOT NULL AS launcher;
SELECT count(*) FROM betweenrows.spooled_audit();
DELETE FROM betweenrows.query_audit;  -- fail
UPDATE betweenrows.query_audit SET username = 'nobody';  -- fail
TRUNCATE betweenrows.query_audit;  -- fail
SELECT betweenrows.discard_spooled_audit(now());  -- fail
SET SESSION AUTHORIZATION regress_auditing_alice;
SELECT count(*) FROM betweenrows.query_audit;  -- fail
SELECT count(*) FROM betweenrows.policy_effect;  -- fail
SELECT count(*) FROM betweenrows.spooled_audit();  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.discard_spooled_audit(now());  -- fail

-- The hash chain finds what was altered, removed or added.
ALTER SYSTEM SET betweenrows.audit_hash_chain = on;
SELECT pg_reload_conf();
-- A worker that was there before may not know yet; it leaves soon.
DO $$BEGIN WHILE betweenrows.audit_status() ->> 'worker_pid' IS NOT NULL LOOP PERFORM pg_sleep(0.01); END LOOP; END$$;
SET ROLE regress_auditing_alice;
SELECT id, ssn FROM people WHERE id < 10;
SELECT 1 / (id - id) FROM people;  -- fail
SELECT ssn FROM people WHERE ssn = E'\\t"\u00fc"';
SELECT count(*) FROM people;
RESET ROLE;
SELECT betweenrows.audit_flush();
SELECT q.chain_position, q.original_query FROM betweenrows.query_audit q WHERE q.chain_position IS NOT NULL ORDER BY q.chain_position;
SELECT * FROM betweenrows.verify_audit();
BEGIN;
UPDATE betweenrows.query_audit SET username = 'somebody' WHERE chain_position = 2;
SELECT position, row_id IS NOT NULL AS row, problem FROM betweenrows.verify_audit();
ROLLBACK;
BEGIN;
DELETE FROM betweenrows.query_audit WHERE chain_position = 2;
SELECT position, row_id IS NOT NULL AS row, problem FROM betweenrows.verify_audit();
ROLLBACK;
BEGIN;
DELETE FROM betweenrows.query_audit WHERE chain_position = (SELECT max(chain_position) FROM betweenrows.query_audit);
SELECT position, regexp_replace(problem, '[0-9]+', 'N', 'g') FROM betweenrows.verify_audit();
ROLLBACK;
-- A row without a place in the chain is one only where such rows are known.
BEGIN;
CREATE TEMP TABLE forged AS SELECT * FROM betweenrows.query_audit WHERE chain_position = 1;
UPDATE forged SET id = gen_random_uuid(), username = 'nobody', chain_position = NULL, chain_hash = NULL;
INSERT INTO betweenrows.query_audit SELECT * FROM forged;
SELECT position, row_id IS NOT NULL AS row, regexp_replace(problem, '[0-9]+', 'N', 'g') AS problem FROM betweenrows.verify_audit();
DELETE FROM betweenrows.query_audit q WHERE q.chain_position IS NULL;
UPDATE betweenrows.query_audit_chain SET unchained = 0;
SELECT count(*) FROM betweenrows.verify_audit();
INSERT INTO betweenrows.query_audit SELECT * FROM forged;
SELECT position, row_id = (SELECT f.id FROM forged f) AS row, problem FROM betweenrows.verify_audit();
ROLLBACK;
-- It goes on behind what is wrong, as far as somebody asks.
BEGIN;
UPDATE betweenrows.query_audit SET chain_position = chain_position + 10000 WHERE chain_position = 3;
SELECT position, problem FROM betweenrows.verify_audit() LIMIT 1;
ROLLBACK;
SELECT count(*) FROM betweenrows.verify_audit();
SELECT count(*) FROM betweenrows.verify_audit('2000-01-01', '2000-01-02');
ALTER SYSTEM RESET betweenrows.audit_hash_chain;

-- Partitions are made ahead, one for each day; old ones are exported and dropped.
SELECT count(*) >= 2 AS ahead FROM pg_inherits i WHERE i.inhparent = 'betweenrows.query_audit'::regclass;
CREATE TABLE betweenrows.query_audit_20010101 PARTITION OF betweenrows.query_audit
    FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-01-02 00:00+00');
INSERT INTO betweenrows.query_audit (id, started_at, username, login_role, roles, database, application_name, backend_pid,
        statement_kind, original_query, relations, policies_applied, decisions, status, backend_start)
    VALUES ('018bcfe5-6800-7000-8000-000000000001', '2001-01-01 12:00+00', 'old', 'old', '{a}', 'x', 'an "application", old', 1, 'SELECT',
        E'two\nlines', '[]', '[]', '[]', 'success', '2001-01-01 11:00+00');
SELECT current_setting('data_directory') || '/betweenrows_audit' AS spool \gset
ALTER SYSTEM SET betweenrows.audit_export_directory = :'spool';
ALTER SYSTEM SET betweenrows.audit_export_format = 'csv';
ALTER SYSTEM SET betweenrows.audit_retention = 365;
SELECT pg_reload_conf();
DO $$BEGIN
    WHILE to_regclass('betweenrows.query_audit_20010101') IS NOT NULL LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END$$;
SELECT pg_read_file('betweenrows_audit/' || current_database() || '_query_audit_20010101.csv');
-- The same day again, as after the clock was set back: no export takes another one's place.
CREATE TABLE betweenrows.query_audit_20010101 PARTITION OF betweenrows.query_audit
    FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-01-02 00:00+00');
SELECT pg_reload_conf();
DO $$BEGIN
    WHILE to_regclass('betweenrows.query_audit_20010101') IS NOT NULL LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END$$;
SELECT name, (pg_stat_file('betweenrows_audit/' || name)).size > 400 AS has_a_row
    FROM pg_ls_dir('betweenrows_audit') name WHERE name LIKE current_database() || '%' ORDER BY name;
ALTER SYSTEM RESET betweenrows.audit_retention;
ALTER SYSTEM RESET betweenrows.audit_export_directory;
ALTER SYSTEM RESET betweenrows.audit_export_format;
SELECT pg_reload_conf();

DROP SCHEMA auditing CASCADE;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'auditing-%' ORDER BY name;
SELECT betweenrows.drop_role('auditing-role');
SELECT betweenrows.drop_user('regress_auditing_alice');
DROP OWNED BY regress_auditing_alice;
DROP ROLE regress_auditing_alice, regress_auditing_auditor;
