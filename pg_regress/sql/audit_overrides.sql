-- What is recorded of whom: exceptions for policies, users and roles, for each kind of statement and in combination. Whoever can
-- make one exception cover another table could read that table unseen.
CREATE ROLE regress_overrides_alice LOGIN;
CREATE ROLE regress_overrides_maria LOGIN;
CREATE SCHEMA overrides;
SET search_path = overrides;
CREATE TABLE work (id int PRIMARY KEY, note text);
INSERT INTO work VALUES (1, 'a'), (2, 'b');
CREATE TABLE other (id int, code text);
INSERT INTO other VALUES (1, 'x');
CREATE TABLE vault (code text);
CREATE FUNCTION count_work() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM overrides.work); END';
CREATE FUNCTION count_other() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM overrides.other); END';
CREATE FUNCTION try_vault() RETURNS text LANGUAGE plpgsql AS
    $$BEGIN PERFORM 1 FROM overrides.vault; RETURN 'read'; EXCEPTION WHEN insufficient_privilege THEN RETURN 'refused'; END$$;
GRANT USAGE ON SCHEMA overrides TO regress_overrides_alice, regress_overrides_maria;
GRANT ALL ON ALL TABLES IN SCHEMA overrides TO regress_overrides_alice, regress_overrides_maria;
SELECT betweenrows.create_user('regress_overrides_alice') IS NOT NULL AS created;
SELECT betweenrows.create_role('overrides-staff') IS NOT NULL AS created, betweenrows.create_role('overrides-crew') IS NOT NULL AS created;
SELECT betweenrows.add_member('overrides-staff', 'regress_overrides_alice'), betweenrows.add_member('overrides-crew', 'regress_overrides_alice');
SELECT betweenrows.create_policy('overrides-work', 'row_filter', '[{"schemas": ["overrides"], "tables": ["work"]}]',
    '{"filter_expression": "id < 100", "check": "none"}') IS NOT NULL AS created, betweenrows.assign_policy('overrides-work') IS NOT NULL AS assigned;
SELECT betweenrows.filter_rows('other', 'id < 100', 'overrides-other');
SELECT betweenrows.mask_column('other', 'code', $$'*'$$, 'overrides-code');
SELECT betweenrows.deny_table('vault', 'overrides-vault');
CREATE TABLE shown (id uuid PRIMARY KEY);
-- What came in since the last call.
CREATE FUNCTION news() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT betweenrows.audit_flush() THEN
        RAISE 'the audit was not moved in time';
    END IF;
    RETURN QUERY
        WITH new AS (SELECT q.* FROM betweenrows.query_audit q WHERE q.username LIKE 'regress_overrides_%'
                     AND NOT EXISTS (SELECT FROM overrides.shown s WHERE s.id = q.id)),
             noted AS (INSERT INTO overrides.shown SELECT n.id FROM new n)
        SELECT format('%s %s: %s', n.statement_kind, n.status, (SELECT string_agg(e ->> 'relation', ', ' ORDER BY e ->> 'relation')
            FROM jsonb_array_elements(n.relations) e)) FROM new n ORDER BY n.id;
END $$;
-- The same in one word, for the statements of :each.
CREATE FUNCTION recorded() RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN count(*) FILTER (WHERE n LIKE '%success:%') = 18 AND count(*) FILTER (WHERE n LIKE '%error:%') = 2
                     AND count(*) FILTER (WHERE n LIKE '%denied:%') = 5 AND count(*) = 25 THEN 'everything'
                WHEN count(*) FILTER (WHERE n LIKE '%denied:%') = 5 AND count(*) = 5 THEN 'refusals'
                WHEN count(*) = 0 THEN 'nothing' ELSE string_agg(n, '; ') END FROM overrides.news() n;
$$;
\set each 'SELECT id FROM work; INSERT INTO work VALUES (3); UPDATE work SET note = $$u$$ WHERE id = 3; DELETE FROM work WHERE id > 2; '
\set each :each 'INSERT INTO work VALUES (1) ON CONFLICT (id) DO UPDATE SET note = $$c$$; SELECT id FROM work FOR UPDATE; '
\set each :each 'MERGE INTO work w USING (VALUES (1)) v(id) ON w.id = v.id WHEN MATCHED THEN UPDATE SET note = $$m$$; '
\set each :each 'COPY work TO STDOUT; COPY (SELECT id FROM work) TO STDOUT; EXPLAIN SELECT id FROM work; EXPLAIN ANALYZE SELECT id FROM work; '
\set each :each 'BEGIN; DECLARE c CURSOR FOR SELECT id FROM work; FETCH 1 FROM c; MOVE ALL FROM c; CLOSE c; LOCK work IN ACCESS SHARE MODE; COMMIT; '
\set each :each 'PREPARE p AS SELECT id FROM work; EXECUTE p; EXECUTE p; DEALLOCATE p; CREATE TEMP TABLE c AS SELECT id FROM work; DROP TABLE c; '
\set each :each 'SELECT overrides.count_work(); DO $$BEGIN PERFORM overrides.count_work(); END$$; SELECT 1 / (id - id) FROM work; SELECT 1 / 0 FROM work; '
\set each :each 'TRUNCATE work; ALTER TABLE work ADD COLUMN more int; SELECT nothing FROM vault; SELECT * FROM vault; COPY work FROM STDIN;'
\pset tuples_only
\set VERBOSITY sqlstate

-- Everything, each kind once.
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
SELECT * FROM overrides.news();
-- The setting alone: denied.
SET betweenrows.audit = denied;
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
RESET betweenrows.audit;
SELECT overrides.recorded();
-- The setting alone: off.
SET betweenrows.audit = off;
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
RESET betweenrows.audit;
SELECT overrides.recorded();
-- The same for a superuser who became her.
SET betweenrows.audit = denied;
\o /dev/null
SET ROLE regress_overrides_alice;
:each
4	copied
\.
RESET ROLE;
\o
RESET betweenrows.audit;
SELECT overrides.recorded();
-- A role's exception comes before the setting.
SELECT betweenrows.set_audit('off', to_role => 'overrides-staff');
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
SELECT overrides.recorded();
-- Of several roles' the one that records most.
SELECT betweenrows.set_audit('denied', to_role => 'overrides-crew');
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
SELECT overrides.recorded();
-- Up as well as down.
SELECT betweenrows.set_audit('all', to_role => 'overrides-crew');
SET betweenrows.audit = off;
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
RESET betweenrows.audit;
SELECT overrides.recorded();
-- The user's own comes before those of its roles.
SELECT betweenrows.set_audit('off', to_user => 'regress_overrides_alice');
SET betweenrows.audit = 'all';
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
RESET betweenrows.audit;
SELECT overrides.recorded();
-- Up as well as down, and for refusals only.
SELECT betweenrows.set_audit('denied', to_user => 'regress_overrides_alice');
SET betweenrows.audit = off;
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
RESET betweenrows.audit;
SELECT overrides.recorded();
-- A policy's comes before the user's, where it takes effect: refusals by another one are the user's.
SELECT betweenrows.set_audit('off', policy => 'overrides-work');
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
SELECT overrides.recorded();
-- And for whom a superuser became.
SELECT betweenrows.set_audit('all', policy => 'overrides-work');
SELECT betweenrows.set_audit('all', policy => 'overrides-vault');
SELECT betweenrows.set_audit('off', to_user => 'regress_overrides_alice');
\o /dev/null
SET ROLE regress_overrides_alice;
:each
4	copied
\.
RESET ROLE;
\o
SELECT overrides.recorded();
-- A policy that records refusals records those only.
SELECT betweenrows.set_audit('denied', policy => 'overrides-work');
SELECT betweenrows.set_audit('denied', policy => 'overrides-vault');
SELECT betweenrows.set_audit('all', to_user => 'regress_overrides_alice');
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
SELECT overrides.recorded();
-- Exceptions end.
SELECT betweenrows.set_audit(NULL, policy => 'overrides-work');
SELECT betweenrows.set_audit(NULL, policy => 'overrides-vault');
SELECT betweenrows.set_audit(NULL, to_user => 'regress_overrides_alice');
SELECT betweenrows.set_audit(NULL, to_role => 'overrides-staff');
SELECT betweenrows.set_audit(NULL, to_role => 'overrides-crew');
\o /dev/null
SET SESSION AUTHORIZATION regress_overrides_alice;
:each
4	copied
\.
RESET SESSION AUTHORIZATION;
\o
SELECT overrides.recorded();

-- Where several policies meet, the one that records most wins: a table whose policy is an exception does not cover another, nor
-- a policy another one of the same table, nor a function the statement that calls it. Relations where no policy takes effect
-- count as well.
SELECT betweenrows.set_audit('off', policy => 'overrides-work');
SET SESSION AUTHORIZATION regress_overrides_alice;
\o /dev/null
SELECT count(*) FROM work;
SELECT count(*) FROM work JOIN other USING (id);
SELECT id FROM other WHERE EXISTS (SELECT FROM work);
SELECT overrides.count_work() FROM other;
SELECT overrides.count_other() FROM work;
DO $$BEGIN PERFORM overrides.count_work(); PERFORM overrides.count_other(); END$$;
SELECT overrides.try_vault() FROM work;
WITH w AS (UPDATE work SET note = 'w' RETURNING id) SELECT count(*) FROM w JOIN other USING (id);
RESET SESSION AUTHORIZATION;
\o
SELECT * FROM overrides.news();
SELECT betweenrows.set_audit('off', policy => 'overrides-other');
SET SESSION AUTHORIZATION regress_overrides_alice;
SELECT id FROM other;
SELECT id, code FROM other;
RESET SESSION AUTHORIZATION;
SELECT * FROM overrides.news();
SELECT betweenrows.drop_policy('overrides-other');
SET SESSION AUTHORIZATION regress_overrides_alice;
SELECT id FROM other;
SELECT other.id FROM other JOIN work USING (id);
RESET SESSION AUTHORIZATION;
SELECT * FROM overrides.news();
-- More by the setting than by an exception.
SELECT betweenrows.set_audit('denied', policy => 'overrides-work');
SET SESSION AUTHORIZATION regress_overrides_alice;
SELECT other.code FROM other JOIN work USING (id);
RESET SESSION AUTHORIZATION;
SET betweenrows.audit = off;
SET SESSION AUTHORIZATION regress_overrides_alice;
SELECT other.code FROM other JOIN work USING (id);
DO $$BEGIN PERFORM other.code FROM overrides.other JOIN overrides.work USING (id); TRUNCATE overrides.work; END$$;
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit;
SELECT * FROM overrides.news();

-- Plans that are kept follow.
SELECT betweenrows.set_audit(NULL, policy => 'overrides-work');
SET plan_cache_mode = force_generic_plan;
SET SESSION AUTHORIZATION regress_overrides_alice;
PREPARE kept AS SELECT id FROM work WHERE id = $1;
EXECUTE kept(1);
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_audit('off', policy => 'overrides-work');
SET SESSION AUTHORIZATION regress_overrides_alice;
EXECUTE kept(1);
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_audit(NULL, policy => 'overrides-work');
SET betweenrows.audit = off;
SET SESSION AUTHORIZATION regress_overrides_alice;
EXECUTE kept(1);
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit;
SET SESSION AUTHORIZATION regress_overrides_alice;
EXECUTE kept(2);
RESET SESSION AUTHORIZATION;
DEALLOCATE kept;
RESET plan_cache_mode;
SELECT * FROM overrides.news();

-- An exception ends with what it was made for, and follows a name.
SELECT betweenrows.set_audit('off', policy => 'overrides-work'), betweenrows.set_audit('off', to_user => 'regress_overrides_alice'),
    betweenrows.set_audit('off', to_role => 'overrides-staff'), betweenrows.set_audit('denied', to_role => 'overrides-crew'),
    betweenrows.set_audit('denied', to_user => 'regress_overrides_maria');
ALTER ROLE regress_overrides_alice RENAME TO regress_overrides_carol;
SELECT s.value FROM betweenrows.settings s WHERE s.key = 'audit';
SELECT betweenrows.drop_policy('overrides-work');
SELECT betweenrows.drop_role('overrides-staff');
SELECT betweenrows.drop_user('regress_overrides_carol');
DROP OWNED BY regress_overrides_maria;
DROP ROLE regress_overrides_maria;
SELECT s.value FROM betweenrows.settings s WHERE s.key = 'audit';
SELECT a.object_name, a.after FROM betweenrows.admin_audit a WHERE a.object_kind = 'audit' ORDER BY a.id DESC LIMIT 1;
SELECT betweenrows.drop_role('overrides-crew');

DROP SCHEMA overrides CASCADE;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'overrides-%' ORDER BY name;
DROP OWNED BY regress_overrides_carol;
DROP ROLE regress_overrides_carol;
