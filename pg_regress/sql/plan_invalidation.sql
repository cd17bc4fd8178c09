-- A plan that outlives its reason: prepared statements, plans that functions keep, portals and cursors, across a change of
-- who asks, of policies, attributes and roles, and of transactions that take a change back (CVE-2016-2193, CVE-2023-2455,
-- CVE-2024-10976). The actors look at the table by plans that were all made early.
CREATE ROLE plans_alice LOGIN;
CREATE ROLE plans_bob LOGIN;
CREATE ROLE plans_group;
CREATE SCHEMA plans;
GRANT ALL ON SCHEMA plans TO PUBLIC;
SET search_path = plans;
CREATE TABLE t (id int PRIMARY KEY, owner text, secret text);
INSERT INTO t VALUES (1, 'plans_alice', 'raw-1'), (2, 'plans_bob', 'raw-2'), (3, 'nobody', 'raw-3');
CREATE TABLE switch (id int);
GRANT ALL ON t, switch TO PUBLIC;
CREATE VIEW v AS SELECT * FROM t;
GRANT ALL ON v TO PUBLIC;
SELECT betweenrows.define_attribute('plans_level', 'integer', default_value => '2') IS NOT NULL AS defined;
SELECT betweenrows.create_user('plans_alice') IS NOT NULL, betweenrows.create_user('plans_bob') IS NOT NULL,
    betweenrows.create_role('plans_group') IS NOT NULL;
CREATE FUNCTION by_sql() RETURNS text LANGUAGE sql STABLE AS $$ SELECT string_agg(id || secret, ' ' ORDER BY id) FROM plans.t $$;
CREATE FUNCTION by_body() RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT string_agg(id || secret, ' ' ORDER BY id) FROM plans.t; END;
CREATE FUNCTION by_set() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT string_agg(id || secret, ' ' ORDER BY id) FROM plans.t $$;
CREATE FUNCTION by_plpgsql() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT string_agg(id || secret, ' ' ORDER BY id) FROM plans.t); END $$;
CREATE FUNCTION by_definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN plans.by_plpgsql(); END $$;
-- One text a plan, so that all are asked in one statement.
CREATE PROCEDURE look(title text) LANGUAGE plpgsql AS $$
DECLARE
    name text;
    seen text;
    result jsonb := '{}';
BEGIN
    FOREACH name IN ARRAY ARRAY['custom', 'generic', 'under', 'param'] LOOP
        BEGIN
            EXECUTE 'EXECUTE ' || name || CASE name WHEN 'param' THEN '(3)' ELSE '' END INTO seen;
        EXCEPTION WHEN OTHERS THEN
            seen := SQLSTATE || ' ' || SQLERRM;
        END;
        result := result || jsonb_build_object(coalesce(seen, 'nothing'), coalesce(result -> coalesce(seen, 'nothing'), '[]') || to_jsonb(name));
    END LOOP;
    FOREACH name IN ARRAY ARRAY['by_sql', 'by_body', 'by_set', 'by_plpgsql', 'by_definer'] LOOP
        BEGIN
            seen := CASE name WHEN 'by_sql' THEN plans.by_sql() WHEN 'by_body' THEN plans.by_body() WHEN 'by_plpgsql' THEN plans.by_plpgsql()
                WHEN 'by_definer' THEN plans.by_definer() ELSE (SELECT plans.by_set()) END;
        EXCEPTION WHEN OTHERS THEN
            seen := SQLSTATE || ' ' || SQLERRM;
        END;
        result := result || jsonb_build_object(coalesce(seen, 'nothing'), coalesce(result -> coalesce(seen, 'nothing'), '[]') || to_jsonb(name));
    END LOOP;
    -- All plans have to agree.
    FOR name, seen IN SELECT key, CASE jsonb_array_length(value) WHEN 9 THEN '' ELSE ' ONLY BY ' || value::text END FROM jsonb_each(result) LOOP
        RAISE NOTICE '%: % reads %', title, session_user, name || seen;
    END LOOP;
END $$;
PREPARE custom AS SELECT string_agg(id || secret, ' ' ORDER BY id) FROM t;
PREPARE generic AS SELECT string_agg(id || secret, ' ' ORDER BY id) FROM t WHERE id > 0;
PREPARE under AS WITH c AS (SELECT * FROM v) SELECT string_agg(id || secret, ' ' ORDER BY id) FROM (SELECT * FROM c OFFSET 0) s;
PREPARE param (int) AS SELECT string_agg(id || secret, ' ' ORDER BY id) FROM t WHERE id <= $1;
SET plan_cache_mode = force_generic_plan;

-- Plans are made while nothing is governed, then by a superuser, and used by others.
CALL look('ungoverned');
SET SESSION AUTHORIZATION plans_alice;
CALL look('ungoverned');
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('t', 'owner = {user.username}', 'plans own');
CALL look('after filter');
SET SESSION AUTHORIZATION plans_alice;
CALL look('after filter');
SET SESSION AUTHORIZATION plans_bob;
CALL look('after filter');
RESET SESSION AUTHORIZATION;
CALL look('after filter');
-- A superuser who steps down is governed, except inside what an exempt role's SECURITY DEFINER function does.
SET ROLE plans_bob;
CALL look('after SET ROLE');
SET ROLE plans_alice;
CALL look('after SET ROLE');
RESET ROLE;
-- Roles switched inside one statement's work.
DO $$ BEGIN
    SET LOCAL ROLE plans_alice;
    CALL plans.look('in DO, alice');
    SET LOCAL ROLE plans_bob;
    CALL plans.look('in DO, bob');
    RESET ROLE;
    CALL plans.look('in DO, superuser');
END $$;
-- DISCARD PLANS and generic or custom plans make no difference.
SET SESSION AUTHORIZATION plans_alice;
DISCARD PLANS;
CALL look('after DISCARD PLANS');
SET plan_cache_mode = force_custom_plan;
CALL look('custom plans');
SET plan_cache_mode = auto;
CALL look('auto'); CALL look('auto'); CALL look('auto'); CALL look('auto'); CALL look('auto'); CALL look('auto');
SET plan_cache_mode = force_generic_plan;

-- Every kind of change, seen by the next statement of the same session.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION admin(command text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE 'SELECT ' || command; END $$;
SET SESSION AUTHORIZATION plans_alice;
SELECT plans.admin($$ betweenrows.mask_column('plans.t', 'secret', '''m''', 'plans mask') $$);
CALL look('mask made');
SELECT plans.admin($$ betweenrows.alter_policy('plans mask', definition => '{"mask_expression": "''n'' || right(secret, 1)"}') $$);
CALL look('mask altered');
SELECT plans.admin($$ betweenrows.alter_policy('plans mask', is_enabled => false) $$);
CALL look('mask disabled');
SELECT plans.admin($$ betweenrows.alter_policy('plans own', definition => '{"filter_expression": "id <= {user.plans_level}"}') $$);
CALL look('filter altered');
SELECT plans.admin($$ betweenrows.set_attribute('plans_bob', 'plans_level', '3') $$);
CALL look('other''s attribute');
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '1') $$);
CALL look('attribute set');
SELECT plans.admin($$ betweenrows.alter_user('plans_alice', attributes => '{}') $$);
CALL look('attribute gone');
SELECT plans.admin($$ betweenrows.define_attribute('plans_level', 'integer', default_value => '3') $$);
CALL look('default altered');
SELECT plans.admin($$ betweenrows.unassign_policy('plans own') $$);
CALL look('unassigned');
SELECT plans.admin($$ betweenrows.assign_policy('plans own', to_role => 'plans_group') $$);
CALL look('assigned to a role');
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '1') $$);
SELECT plans.admin($$ betweenrows.add_member('plans_group', 'plans_alice') $$);
CALL look('member added');
SELECT plans.admin($$ betweenrows.alter_role('plans_group', is_active => false) $$);
CALL look('role switched off');
SELECT plans.admin($$ betweenrows.alter_role('plans_group', is_active => true) $$);
SELECT plans.admin($$ betweenrows.remove_member('plans_group', 'plans_alice') $$);
CALL look('member removed');
RESET SESSION AUTHORIZATION;
GRANT plans_group TO plans_alice;
SET SESSION AUTHORIZATION plans_alice;
CALL look('PostgreSQL member');
RESET SESSION AUTHORIZATION;
REVOKE plans_group FROM plans_alice;
SET SESSION AUTHORIZATION plans_alice;
CALL look('no PostgreSQL member');
SELECT plans.admin($$ betweenrows.exempt_role('plans_alice') $$);
CALL look('exempt');
SELECT plans.admin($$ betweenrows.exempt_role('plans_alice', exempt => false) $$);
SELECT plans.admin($$ betweenrows.assign_policy('plans own') $$);
CALL look('assigned to all');
SELECT plans.admin($$ betweenrows.alter_user('plans_alice', is_active => false) $$);
CALL look('user switched off');
SELECT plans.admin($$ betweenrows.alter_user('plans_alice', is_active => true) $$);
SELECT plans.admin($$ betweenrows.deny_columns('plans.t', '{secret}', 'plans deny') $$);
CALL look('column denied');
SELECT plans.admin($$ betweenrows.drop_policy('plans deny') $$);
SELECT plans.admin($$ betweenrows.deny_table('plans.t', 'plans deny') $$);
CALL look('table denied');
SELECT plans.admin($$ betweenrows.drop_policy('plans deny') $$);
-- Being hidden by default is judged for the role that reads: the owner of by_definer is exempt.
SELECT plans.admin($$ betweenrows.set_access_mode('policy_required') $$);
CALL look('policy_required');
SELECT plans.admin($$ betweenrows.set_access_mode('open') $$);
CALL look('open');
SELECT plans.admin($$ betweenrows.apply('{"version": 1, "policies": [{"name": "plans doc", "policy_type": "row_filter",
    "targets": [{"schemas": ["plans"], "tables": ["t"]}], "definition": {"filter_expression": "id <> 1"}, "assignments": [{}]}]}') $$);
CALL look('applied');
SELECT plans.admin($$ betweenrows.drop_policy('plans doc') $$);

-- A change that is taken back, as a whole or to a savepoint; the plans in between were for it.
BEGIN;
SELECT plans.admin($$ betweenrows.alter_policy('plans own', definition => '{"filter_expression": "id = 3"}') $$);
CALL look('in the transaction');
SAVEPOINT s;
SELECT plans.admin($$ betweenrows.alter_policy('plans own', is_enabled => false) $$);
CALL look('in the subtransaction');
ROLLBACK TO s;
CALL look('after ROLLBACK TO');
SAVEPOINT s;
SELECT plans.admin($$ betweenrows.drop_policy('plans own') $$);
CALL look('dropped');
SELECT 1 / 0;  -- fail
ROLLBACK TO s;
CALL look('after an error');
ROLLBACK;
CALL look('after ROLLBACK');
BEGIN;
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '3') $$);
CALL look('attribute in the transaction');
ROLLBACK;
CALL look('after ROLLBACK');
DO $$ BEGIN
    PERFORM plans.admin($a$ betweenrows.exempt_role('plans_alice') $a$);
    CALL plans.look('exempt in the block');
    RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
    CALL plans.look('after the block');
END $$;
BEGIN;
SAVEPOINT a;
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '2') $$);
SAVEPOINT b;
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '3') $$);
RELEASE b;
ROLLBACK TO a;
CALL look('released, then rolled back');
COMMIT;

-- Old snapshots: policies are those in force, whatever the transaction sees.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM switch;
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '2') $$);
CALL look('REPEATABLE READ');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM switch;
CALL look('SERIALIZABLE');
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '1') $$);
CALL look('SERIALIZABLE');
COMMIT;

-- Cursors: what was opened reads on as it was opened, what is opened later does not.
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '3') $$);
BEGIN;
DECLARE before_change CURSOR FOR SELECT id, secret FROM t ORDER BY id;
FETCH before_change;
SELECT plans.admin($$ betweenrows.set_attribute('plans_alice', 'plans_level', '1') $$);
DECLARE after_change CURSOR FOR SELECT id, secret FROM t ORDER BY id;
FETCH ALL FROM after_change;
COMMIT;
-- EXECUTE of a prepared SELECT * after a column was denied: PostgreSQL refuses the new shape.
PREPARE star AS SELECT * FROM t;
EXECUTE star;
SELECT plans.admin($$ betweenrows.deny_columns('plans.t', '{secret}', 'plans deny') $$);
EXECUTE star;  -- fail
SELECT plans.admin($$ betweenrows.drop_policy('plans deny') $$);
EXECUTE star;

-- The relation is dropped and made again, and columns move, under plans that know the old one.
RESET SESSION AUTHORIZATION;
BEGIN;
DROP VIEW v;
DROP FUNCTION by_body();
DROP TABLE t;
CREATE TABLE t (gone int, secret text, owner text, id int);
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t VALUES ('new-1', 'plans_alice', 1), ('new-2', 'plans_alice', 2), ('new-3', 'plans_bob', 3);
GRANT ALL ON t TO PUBLIC;
SET LOCAL SESSION AUTHORIZATION plans_alice;
EXECUTE generic;
EXECUTE param (3);
SELECT by_sql(), by_plpgsql();
ROLLBACK;
SET SESSION AUTHORIZATION plans_alice;
CALL look('end');

-- Plans of EXPLAIN, CREATE TABLE AS and cursors that are made by EXECUTE.
BEGIN;
CREATE TEMP TABLE made AS EXECUTE param (3);
TABLE made;
ROLLBACK;
-- Parallel plans: workers run parts of what the leader has proved; functions in workers are governed there.
RESET SESSION AUTHORIZATION;
CREATE TABLE big AS SELECT i AS id, CASE WHEN i % 100 = 0 THEN 'plans_alice' ELSE 'plans_bob' END AS owner FROM generate_series(1, 2000) i;
GRANT ALL ON big TO PUBLIC;
SELECT betweenrows.filter_rows('big', 'owner = {user.username}', 'plans big');
CREATE FUNCTION inside_worker(int) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE STABLE AS $$ BEGIN RETURN (SELECT count(*) FROM plans.t); END $$;
SET SESSION AUTHORIZATION plans_alice;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode');
SET jit = off;
PREPARE parallel AS SELECT count(*), min(id), max(inside_worker(id)) FILTER (WHERE id % 500 < 2),
    min(inside_worker(id)) FILTER (WHERE id % 500 < 2) FROM big;
EXECUTE parallel;
SET SESSION AUTHORIZATION plans_bob;
EXECUTE parallel;
RESET SESSION AUTHORIZATION;
EXECUTE parallel;
RESET ALL;

SET client_min_messages = warning;
DEALLOCATE ALL;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'plans %' ORDER BY name;
SELECT betweenrows.drop_user('plans_alice'), betweenrows.drop_user('plans_bob'), betweenrows.drop_role('plans_group');
SELECT betweenrows.drop_attribute('plans_level');
DROP SCHEMA plans CASCADE;
DROP ROLE plans_alice, plans_bob, plans_group;
