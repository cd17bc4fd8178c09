-- What decision functions make of policies: each type and answer, errors, when they are asked again, and what they are told.
-- Where a function runs that another one calls depends on the session.
\set SHOW_CONTEXT never
CREATE ROLE dg_alice LOGIN;
CREATE SCHEMA dg;
CREATE TABLE dg.staff (id int, name text, salary int, dept int);
INSERT INTO dg.staff VALUES (1, 'Ann', 100, 1), (2, 'Bo', 200, 1), (3, 'Cy', 300, 2);
CREATE TABLE dg.dept (id int, title text);
INSERT INTO dg.dept VALUES (1, 'one'), (2, 'two');
CREATE VIEW dg.staff_of_dept AS SELECT s.name, d.title FROM dg.staff s JOIN dg.dept d ON d.id = s.dept WHERE s.id > 0;
GRANT USAGE ON SCHEMA dg TO dg_alice;
GRANT ALL ON ALL TABLES IN SCHEMA dg TO dg_alice;
-- Another time of the day for decision functions, which only a superuser may set.
CREATE FUNCTION dg.at(moment timestamptz) RETURNS void SECURITY DEFINER LANGUAGE sql AS
$$ SELECT set_config('betweenrows.decision_clock_offset', extract(epoch FROM moment - statement_timestamp())::int::text, false) $$;
-- A function that answers as it is configured.
SELECT betweenrows.create_decision_function('dg', 'function evaluate(ctx, config) { return config.answer; }', '{"answer": {"fire": false}}') IS NOT NULL AS created;
CREATE FUNCTION dg.answer(answer jsonb, on_error text DEFAULT 'deny') RETURNS int LANGUAGE sql AS
$$ SELECT betweenrows.alter_decision_function('dg', config => jsonb_build_object('answer', answer), on_error => on_error) $$;
-- Asks as alice under each answer.
CREATE PROCEDURE dg.each(query text) LANGUAGE plpgsql AS $$
DECLARE
    result text;
    answer jsonb;
    on_error text;
BEGIN
    FOR answer, on_error IN VALUES ('{"fire": true}'::jsonb, 'deny'), ('{"fire": false}', 'deny'), ('{"fire": "no"}', 'deny'), ('{"fire": "no"}', 'skip') LOOP
        PERFORM dg.answer(answer, on_error);
        COMMIT;
        SET SESSION AUTHORIZATION dg_alice;
        BEGIN
            EXECUTE query INTO result;
        EXCEPTION WHEN OTHERS THEN
            result := SQLSTATE || ' ' || SQLERRM;
        END;
        RESET SESSION AUTHORIZATION;
        RAISE NOTICE '%, on_error %: %', answer ->> 'fire', on_error, result;
    END LOOP;
END $$;

-- Each type of policy. "no" is a wrong answer: an error, under which deny restricts, whatever the type.
SELECT betweenrows.create_policy('dg', 'row_filter', '[{"schemas": ["dg"], "tables": ["staff"]}]', '{"filter_expression": "id = 1"}', decision_function => 'dg') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('dg') IS NOT NULL AS assigned;
CALL dg.each('SELECT string_agg(name, '','' ORDER BY id) FROM dg.staff');
SELECT betweenrows.alter_policy('dg', definition => '{"filter_expression": "id = 1", "mode": "permissive"}') > 0 AS altered;
CALL dg.each('SELECT coalesce(string_agg(name, '','' ORDER BY id), ''none'') FROM dg.staff');
SELECT betweenrows.drop_policy('dg');
SELECT betweenrows.create_policy('dg', 'column_mask', '[{"schemas": ["dg"], "tables": ["staff"], "columns": ["salary"]}]', '{"mask_expression": "0"}', decision_function => 'dg') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('dg') IS NOT NULL AS assigned;
CALL dg.each('SELECT sum(salary) FROM dg.staff');
SELECT betweenrows.drop_policy('dg');
SELECT betweenrows.create_policy('dg', 'column_deny', '[{"schemas": ["dg"], "tables": ["staff"], "columns": ["salary"]}]', decision_function => 'dg') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('dg') IS NOT NULL AS assigned;
CALL dg.each('SELECT count(salary) FROM dg.staff');
SELECT betweenrows.drop_policy('dg');
SELECT betweenrows.create_policy('dg', 'column_allow', '[{"schemas": ["dg"], "tables": ["staff"], "columns": ["name"]}]', decision_function => 'dg') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('dg') IS NOT NULL AS assigned;
CALL dg.each('SELECT count(name) FROM dg.staff');
SELECT betweenrows.drop_policy('dg');
SELECT betweenrows.create_policy('dg', 'table_deny', '[{"schemas": ["dg"], "tables": ["staff"]}]', decision_function => 'dg') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('dg') IS NOT NULL AS assigned;
CALL dg.each('SELECT count(*) FROM dg.staff');
-- A disabled function: the policy takes part.
SELECT dg.answer('{"fire": false}') > 0 AS altered, betweenrows.alter_decision_function('dg', is_enabled => false) > 0 AS disabled;
SET SESSION AUTHORIZATION dg_alice;
SELECT count(*) FROM dg.staff;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_decision_function('dg', is_enabled => true) > 0 AS enabled;
SET SESSION AUTHORIZATION dg_alice;
SELECT count(*) FROM dg.staff;
RESET SESSION AUTHORIZATION;

-- Office hours end for open sessions too, and for their prepared statements.
SELECT betweenrows.create_decision_function('dg hours', 'function evaluate(ctx, config) {
    const { hour, day_of_week } = ctx.session.time;
    return {fire: ["Saturday", "Sunday"].includes(day_of_week) || hour < config.open || hour >= config.close};
}', '{"open": 8, "close": 18}') IS NOT NULL AS created;
SELECT betweenrows.alter_policy('dg', decision_function => 'dg hours') > 0 AS altered;
SET SESSION AUTHORIZATION dg_alice;
SET plan_cache_mode = force_generic_plan;
SELECT dg.at('2026-11-23 08:01+00');
PREPARE staff AS SELECT count(*) FROM dg.staff;
CREATE FUNCTION pg_temp.staff() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM dg.staff); END $$;
SELECT dg.at('2026-11-23 10:00+00');
EXECUTE staff;
SELECT pg_temp.staff();
SELECT dg.at('2026-11-23 19:00+00');
EXECUTE staff;  -- fail
SELECT pg_temp.staff();  -- fail
SELECT * FROM dg.staff_of_dept ORDER BY name;  -- fail
SELECT dg.at('2026-11-24 17:58+00');
EXECUTE staff;
SELECT pg_temp.staff();
SELECT name FROM dg.staff_of_dept ORDER BY name;
SELECT relname FROM pg_class WHERE relnamespace = 'dg'::regnamespace ORDER BY 1;
SELECT dg.at('2026-11-28 12:00+00');
EXECUTE staff;  -- fail
SELECT relname FROM pg_class WHERE relnamespace = 'dg'::regnamespace ORDER BY 1;
SET betweenrows.decision_clock_offset = 0;  -- fail
RESET SESSION AUTHORIZATION;
RESET betweenrows.decision_clock_offset;
DEALLOCATE staff;

-- What else can change in a session is told anew.
SELECT betweenrows.create_decision_function('dg session', 'function evaluate(ctx, config) {
    return {fire: ctx.session.application_name !== "report" || !ctx.session.read_only};
}') IS NOT NULL AS created;
SELECT betweenrows.alter_policy('dg', decision_function => 'dg session') > 0 AS altered;
SET SESSION AUTHORIZATION dg_alice;
SELECT count(*) FROM dg.staff;  -- fail
SET application_name = 'report';
SELECT count(*) FROM dg.staff;  -- fail
BEGIN READ ONLY;
SELECT count(*) FROM dg.staff;
COMMIT;
SELECT count(*) FROM dg.staff;  -- fail
RESET SESSION AUTHORIZATION;
RESET application_name;

-- What functions are told.
SELECT betweenrows.define_attribute('dg_level', 'integer') IS NOT NULL AS l, betweenrows.define_attribute('dg_regions', 'list', '["eu"]') IS NOT NULL AS r,
    betweenrows.define_attribute('dg_vip', 'boolean') IS NOT NULL AS v,
    betweenrows.create_user('dg_alice', attributes => '{"dg_level": 3}') IS NOT NULL AS u,
    betweenrows.create_role('dg staff') IS NOT NULL AS s, betweenrows.create_role('dg boss') IS NOT NULL AS b;
SELECT betweenrows.add_parent('dg boss', 'dg staff'), betweenrows.add_member('dg boss', 'dg_alice');
SET application_name = 'dg test';
SELECT dg.at('2026-11-23 10:00:30+00');
SELECT jsonb_pretty(betweenrows.decision_context('dg_alice') #- '{session,time,now}' #- '{session,user,id}') AS context;
SELECT betweenrows.decision_context('dg_alice') #>> '{session,time,now}' LIKE '2026-11-23T10:00:%Z' AS now,
    (betweenrows.decision_context('dg_alice') #>> '{session,user,id}')::uuid IS NOT NULL AS id;
RESET betweenrows.decision_clock_offset;
RESET application_name;
CREATE FUNCTION dg.told(query text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_set(told, '{tables}', (SELECT jsonb_agg((t ->> 'schema') || '.' || (t ->> 'table') || ' ' || (t ->> 'columns')) FROM jsonb_array_elements(told -> 'tables') t))
    FROM (SELECT betweenrows.decision_context('dg_alice', query) -> 'query' AS told) AS q $$;
SELECT dg.told('SELECT * FROM dg.staff');
SELECT dg.told('SELECT s FROM dg.staff s, dg.dept');
SELECT dg.told('SELECT name FROM dg.staff WHERE salary > 1 ORDER BY dept');
SELECT dg.told('SELECT title FROM dg.staff_of_dept');
SELECT dg.told('SELECT count(*) FROM dg.staff JOIN dg.dept ON dept.id = dept LEFT JOIN dg.dept d ON true');
SELECT dg.told('SELECT 1 WHERE EXISTS (SELECT FROM dg.staff GROUP BY dept)');
SELECT dg.told('WITH w AS (SELECT id FROM dg.staff) SELECT * FROM w');
SELECT dg.told('SELECT id FROM dg.staff UNION SELECT id FROM dg.dept');
SELECT dg.told('INSERT INTO dg.staff (id) SELECT id FROM dg.dept');
SELECT dg.told('UPDATE dg.staff SET name = title FROM dg.dept WHERE dept.id = dept');
SELECT dg.told('DELETE FROM dg.staff USING dg.dept');
SELECT dg.told('MERGE INTO dg.staff USING dg.dept d ON d.id = dept WHEN MATCHED THEN UPDATE SET name = d.title WHEN NOT MATCHED THEN DO NOTHING');
SELECT betweenrows.decision_context('dg_alice', 'TRUNCATE dg.staff');  -- fail
SELECT betweenrows.decision_context('dg_nobody');  -- fail

-- Query functions are asked about each statement.
SELECT betweenrows.create_decision_function('dg joins', 'function evaluate(ctx, config) {
    console.log(`${ctx.query.join_count} joins`);
    return {fire: ctx.query.join_count > config.joins || ctx.query.columns.includes("salary") && !ctx.query.has_aggregation};
}', '{"joins": 0}', 'query', log_level => 'info') IS NOT NULL AS created;
SELECT betweenrows.alter_policy('dg', decision_function => 'dg joins') > 0 AS altered;
SET SESSION AUTHORIZATION dg_alice;
SELECT name FROM dg.staff ORDER BY id;
SELECT name, salary FROM dg.staff;  -- fail
SELECT * FROM dg.staff;  -- fail
SELECT sum(salary) FROM dg.staff;
SELECT name FROM dg.staff s JOIN dg.dept d ON d.id = s.dept;  -- fail
SELECT name FROM dg.staff_of_dept;  -- fail
SELECT title FROM dg.dept ORDER BY id;
EXPLAIN (COSTS OFF) SELECT salary FROM dg.staff;  -- fail
UPDATE dg.staff SET name = name WHERE id = 1;
UPDATE dg.staff SET salary = 0;  -- fail
-- Plans are made for each statement.
PREPARE names AS SELECT count(name) FROM dg.staff;
EXECUTE names;
EXECUTE names;
CREATE FUNCTION pg_temp.names() RETURNS SETOF bigint LANGUAGE plpgsql AS
$$ BEGIN FOR i IN 1..3 LOOP RETURN QUERY SELECT count(name) FROM dg.staff; END LOOP; END $$;
SELECT pg_temp.names();
SELECT pg_temp.names();
BEGIN;
DECLARE c CURSOR FOR SELECT name FROM dg.staff ORDER BY id;
FETCH 1 FROM c;
SELECT count(*) FROM dg.staff, dg.dept;  -- fail
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT name FROM dg.staff ORDER BY id;
FETCH 1 FROM c;
SELECT count(name) FROM dg.staff;
FETCH 1 FROM c;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_decision_function('dg joins', config => '{"joins": 1}') > 0 AS altered;
SET SESSION AUTHORIZATION dg_alice;
SELECT name FROM dg.staff_of_dept ORDER BY name;
EXECUTE names;
-- Where there is no statement to tell of, the policy takes part.
SELECT relname FROM pg_class WHERE relnamespace = 'dg'::regnamespace ORDER BY 1;
TRUNCATE dg.staff;  -- fail
COPY dg.staff TO STDOUT;  -- fail
COPY (SELECT name FROM dg.staff ORDER BY id) TO STDOUT;
RESET SESSION AUTHORIZATION;
RESET plan_cache_mode;
SELECT betweenrows.rewritten_query('SELECT name FROM dg.staff', 'dg_alice');
SELECT on_relation, policy, effect FROM betweenrows.effective_policies('dg_alice', 'dg.staff');

-- A mask that depends on the statement, in a parallel plan.
SELECT betweenrows.drop_policy('dg');
SELECT betweenrows.create_policy('dg', 'column_mask', '[{"schemas": ["dg"], "tables": ["staff"], "columns": ["salary"]}]', '{"mask_expression": "1"}', decision_function => 'dg joins') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('dg') IS NOT NULL AS assigned;
ALTER TABLE dg.staff SET (parallel_workers = 2);
SET SESSION AUTHORIZATION dg_alice;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION pg_temp.salaries() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN (SELECT sum(salary) FROM dg.staff); END $$;
SELECT sum(salary) FROM dg.staff;
SELECT name, salary FROM dg.staff ORDER BY name;
SELECT name, pg_temp.salaries() FROM dg.staff ORDER BY name;
RESET SESSION AUTHORIZATION;

-- A function that cannot be read restricts, and status() says so.
UPDATE betweenrows.decision_functions SET bytecode = 'x', engine = 'other' WHERE name = 'dg joins';
SELECT finding ->> 'severity' AS severity, finding ->> 'name' AS name, finding ->> 'problem' AS problem
FROM jsonb_array_elements(betweenrows.status() -> 'findings') AS finding WHERE finding ->> 'kind' IN ('decision_function', 'engine');
SET SESSION AUTHORIZATION dg_alice;
SELECT sum(salary) FROM dg.staff;
RESET SESSION AUTHORIZATION;
UPDATE betweenrows.decision_functions SET source = 'no longer' WHERE name = 'dg joins';
SET SESSION AUTHORIZATION dg_alice;
SELECT sum(salary) FROM dg.staff;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_decision_function('dg joins', source => 'function evaluate() { return {fire: false}; }') > 0 AS altered;
SET SESSION AUTHORIZATION dg_alice;
SELECT sum(salary) FROM dg.staff;
RESET SESSION AUTHORIZATION;

-- The audit has the answers, those that let a policy rest included.
SELECT betweenrows.audit_flush() AS flushed;
SELECT q.original_query, q.status, d ->> 'function' AS function, d ->> 'context' AS context, d ->> 'fire' AS fire, d ->> 'ruling' AS ruling,
    (d ->> 'fuel')::bigint > 0 AS fuel, d #>> '{logs,0,text}' AS log, d ->> 'error' AS error
FROM betweenrows.query_audit q, jsonb_array_elements(q.decisions) AS d
WHERE q.username = 'dg_alice' AND rtrim(q.original_query, ';') IN ('SELECT name FROM dg.staff ORDER BY id', 'SELECT name, salary FROM dg.staff',
    'SELECT name, salary FROM dg.staff ORDER BY name', 'SELECT sum(salary) FROM dg.staff')
ORDER BY q.started_at, q.id, 3;

SELECT betweenrows.drop_policy('dg');
SELECT betweenrows.drop_decision_function(name) FROM betweenrows.decision_functions WHERE name LIKE 'dg%';
SELECT betweenrows.drop_user('dg_alice'), betweenrows.drop_role('dg boss'), betweenrows.drop_role('dg staff');
SELECT betweenrows.drop_attribute(key) FROM betweenrows.attribute_definitions WHERE key LIKE 'dg%';
DROP SCHEMA dg CASCADE;
DROP OWNED BY dg_alice;
DROP ROLE dg_alice;
