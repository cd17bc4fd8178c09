-- EXPLAIN. It could show what policies hide because it prints the plan with all that was put into it: filters, attribute
-- values, masks, tables that policies read; and estimates that were computed from hidden rows.
CREATE ROLE regress_explain_alice LOGIN;
CREATE SCHEMA explaining;
SET search_path = explaining;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text UNIQUE, salary int, team int);
CREATE INDEX people_salary ON people (salary);
CREATE INDEX people_team ON people (team);
CREATE INDEX people_partial ON people (id) WHERE salary > 100;
INSERT INTO people SELECT i, 'org' || i % 10, '111-' || i, i, i % 100 FROM generate_series(1, 1000) i;
CREATE TABLE members (org text, person text);
INSERT INTO members VALUES ('org1', 'regress_explain_alice');
CREATE TABLE vault (id int, code text);
CREATE TABLE free (id int PRIMARY KEY, t text);
CREATE VIEW staff AS SELECT id, ssn FROM people WHERE team > 5;
CREATE TABLE events (org text, y int) PARTITION BY LIST (y);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES IN (2024);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES IN (2025);
CREATE VIEW vault_view AS SELECT v.id FROM vault v JOIN free f ON f.id = v.id;
-- What must not be shown that an EXPLAIN's output contains, in any format.
CREATE FUNCTION secrets(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    output text := '';
BEGIN
    FOR line IN EXECUTE statement LOOP
        output := output || line || E'\n';
    END LOOP;
    RETURN coalesce((SELECT string_agg(word, ', ') FROM unnest(ARRAY['org1', 'members', 'secret', 'salary', 'masked constant', 'Filter',
        'Cond', 'cost', 'Cost', 'rows', 'Rows', 'Output', 'vault', '2025', '''x''']) word WHERE strpos(output, word) > 0), 'none')
        || CASE WHEN output ~ 'Scan|Result' THEN ', but the shape' ELSE ', nor anything else: ' || output END;
END $$;
-- The words of an EXPLAIN's output that are neither PostgreSQL's for the kinds of nodes nor names in the statement.
CREATE FUNCTION unknown_words(statement text, hashed text, indexed text, OUT unknown text, OUT lines int) LANGUAGE plpgsql AS $$
DECLARE
    line text;
    word text;
    known text[] := ARRAY['query', 'plan', 'plans', 'node', 'type', 'operation', 'strategy', 'partial', 'mode', 'parent', 'relationship',
        'outer', 'inner', 'member', 'subquery', 'initplan', 'subplan', 'name', 'command', 'parallel', 'async', 'capable', 'aware', 'true', 'false',
        'join', 'scan', 'direction', 'forward', 'backward', 'relation', 'alias', 'cte', 'index', 'function', 'on', 'using', 'only', 'seq', 'bitmap',
        'heap', 'tid', 'range', 'sample', 'sampling', 'method', 'parameters', 'repeatable', 'seed', 'bernoulli', 'values', 'result', 'projectset', 'modifytable',
        'insert', 'update', 'delete', 'merge', 'conflict', 'resolution', 'append', 'recursive', 'union', 'worktable', 'nested', 'loop', 'hash', 'left',
        'right', 'full', 'semi', 'anti', 'sort', 'incremental', 'materialize', 'memoize', 'cache', 'key', 'logical', 'binary', 'group', 'aggregate',
        'groupaggregate', 'hashaggregate', 'mixedaggregate', 'aggregated', 'sorted', 'hashed', 'mixed', 'plain', 'simple', 'partial', 'finalize', 'windowagg',
        'window', 'w', 'as', 'unique', 'setop', 'hashsetop', 'intersect', 'except', 'lockrows', 'limit', 'gather', 'workers', 'planned', 'single',
        'copy', 'hidden', 'settings', 'bitmapor', 'bitmapand', 'enable_partitionwise_join', 'enable_partitionwise_aggregate', 'search_path', 'explaining',
        'enable_hashjoin', 'enable_hashagg', 'enable_seqscan', 'off', 'http', 'www.postgresql.org', '2009', 'returns', 'explain', 'xmlns', 'item',
        -- In formats other than text, always 0 and false; names of set operations.
        'subplans', 'removed', 'disabled', 'select'];
BEGIN
    PERFORM set_config('enable_hashjoin', hashed, true), set_config('enable_hashagg', hashed, true), set_config('enable_seqscan', indexed, true);
    lines := 0;
    FOR line IN EXECUTE statement LOOP
        lines := lines + 1;
        FOR word IN SELECT m[1] FROM regexp_matches(line, '[[:alnum:]_.]+', 'g') m LOOP
            -- Aliases and numbered names of what the statement names; indexes on what it names.
            IF lower(regexp_replace(word, '[-_]?\d*$', '')) = ANY (known) OR word ~ '^\d$' OR word = ANY (known)
                OR word ~ '^(people|regions|free|[prswxvf]|people_pkey|people_team|regions_pkey|free_pkey|jsonb_to_recordset)(_\d)?$' THEN
                CONTINUE;
            END IF;
            unknown := concat_ws(' ', unknown, word);
        END LOOP;
    END LOOP;
END $$;
CREATE TABLE regions (id int, region text, v int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE regions_north PARTITION OF regions FOR VALUES IN ('north');
CREATE TABLE regions_south PARTITION OF regions FOR VALUES IN ('south');
CREATE TABLE regions_west PARTITION OF regions FOR VALUES IN ('west', 'far west') PARTITION BY LIST (region);
CREATE TABLE regions_west_1 PARTITION OF regions_west FOR VALUES IN ('west');
CREATE TABLE regions_rest PARTITION OF regions DEFAULT;
INSERT INTO regions SELECT i, (ARRAY['north', 'south', 'west', 'east'])[i % 4 + 1], i FROM generate_series(1, 1000) i;
CREATE TABLE ancestors (id int);
CREATE TABLE descendants (note text) INHERITS (ancestors);
GRANT USAGE, CREATE ON SCHEMA explaining TO regress_explain_alice;
GRANT ALL ON people, vault, free, staff, events, vault_view, regions, regions_north, ancestors TO regress_explain_alice;
ANALYZE people, free, regions;
SELECT betweenrows.define_attribute('explain_org', 'string') IS NOT NULL AS defined;
SELECT betweenrows.create_user('regress_explain_alice', attributes => '{"explain_org": "org1"}') IS NOT NULL AS created;
SELECT betweenrows.filter_rows('people', 'org = {user.explain_org} AND EXISTS (SELECT FROM explaining.members secret_alias WHERE secret_alias.org = people.org AND person = {user.username})', 'explain-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'masked constant'$$, 'explain-ssn');
SELECT betweenrows.deny_columns('people', '{salary}', 'explain-salary');
SELECT betweenrows.filter_rows('events', 'org = {user.explain_org} AND org IN (WITH secret_cte AS MATERIALIZED (SELECT org FROM explaining.members) SELECT org FROM secret_cte)', 'explain-events');
SELECT betweenrows.deny_table('events_2025', 'explain-partition');
SELECT betweenrows.deny_table('vault', 'explain-vault');
SELECT betweenrows.filter_rows('regions', $$region IN ('south', 'west')$$, 'explain-regions');
SELECT betweenrows.filter_rows('ancestors', 'id > 0', 'explain-ancestors');

-- Viewpoint of the superuser: all of it.
EXPLAIN (COSTS OFF) SELECT ssn FROM people WHERE salary = 3;
-- What runs for alice:
SELECT position('org1' IN betweenrows.rewritten_query('SELECT ssn FROM people', 'regress_explain_alice')) > 0 AS has_constant;

-- Viewpoint of alice: the shape, no condition, no constant, no estimate, no policy's table, no index on a hidden column.
SET SESSION AUTHORIZATION regress_explain_alice;
EXPLAIN SELECT ssn FROM people;
EXPLAIN SELECT ssn FROM people WHERE id = 3;
EXPLAIN SELECT id FROM people WHERE team = 3 ORDER BY ssn;
EXPLAIN WITH mine AS MATERIALIZED (SELECT id FROM people) SELECT * FROM mine a JOIN mine b USING (id) JOIN free f ON f.id = a.id;
EXPLAIN SELECT * FROM events;
EXPLAIN SELECT * FROM staff s, generate_series(1, 3) g WHERE s.id = g;
EXPLAIN UPDATE people SET team = 3 WHERE id = 4;
EXPLAIN INSERT INTO people (id, org) VALUES (1, 'org1') ON CONFLICT (id) DO UPDATE SET team = 1 WHERE people.team > 2;
EXPLAIN DELETE FROM events;
SELECT format, left(statement, 10) AS statement, secrets(format('EXPLAIN (FORMAT %s, COSTS, VERBOSE, BUFFERS, SETTINGS, SUMMARY) %s', format, statement))
  FROM unnest(ARRAY['text', 'json', 'xml', 'yaml']) format,
       unnest(ARRAY[$$SELECT ssn FROM explaining.people WHERE id = 3$$,
           $$SELECT team, count(*) FROM explaining.people WHERE ssn > 'x' GROUP BY team HAVING count(*) > 1 ORDER BY 2$$,
           $$SELECT row_number() OVER (PARTITION BY ssn ORDER BY team ROWS 3 PRECEDING) FROM explaining.people$$,
           $$SELECT * FROM explaining.events e JOIN explaining.people p ON p.org = e.org AND p.ssn = 'x'$$,
           $$UPDATE explaining.people SET team = 1 WHERE ssn = 'x'$$,
           $$DELETE FROM explaining.events$$]) statement;
EXPLAIN VERBOSE SELECT id, ssn FROM people WHERE id = 3;
EXPLAIN CREATE TABLE copied AS SELECT * FROM people WHERE id = 3;
EXPLAIN DECLARE c CURSOR FOR SELECT * FROM people WHERE id = 3;
PREPARE p(int) AS SELECT ssn FROM people WHERE id = $1;
EXPLAIN EXECUTE p(3);
EXPLAIN CREATE TABLE copied AS EXECUTE p(3);
-- Partitions. Which of them are left tells what the filter compares with, and a prepared plan what is left when it runs.
SET enable_bitmapscan = off;
EXPLAIN SELECT * FROM regions;
SET enable_seqscan = off;
EXPLAIN SELECT * FROM regions WHERE id = 3;
RESET enable_seqscan;
EXPLAIN SELECT id FROM regions ORDER BY id;
EXPLAIN SELECT * FROM regions WHERE region IN (SELECT org FROM people WHERE id = 3);
EXPLAIN SELECT region, count(*) FROM regions GROUP BY region;
EXPLAIN UPDATE regions SET v = 1;
EXPLAIN SELECT * FROM regions UNION ALL SELECT id, t, 1 FROM free;
EXPLAIN SELECT * FROM regions_north;
EXPLAIN SELECT * FROM ancestors;
SET plan_cache_mode = force_generic_plan;
PREPARE r(text) AS SELECT * FROM regions WHERE region = $1;
EXPLAIN EXECUTE r('north');
EXPLAIN EXECUTE r('nowhere');
RESET plan_cache_mode;
RESET enable_bitmapscan;
-- Every kind of node, in every format, with every option of this version: nothing but words that are known to be harmless.
SET enable_partitionwise_join = on;
SET enable_partitionwise_aggregate = on;
SELECT coalesce(string_agg(DISTINCT unknown, ' '), 'nothing') AS shown_beside_the_shape, min(lines) > 0 AS shown
  FROM unnest(ARRAY['text', 'json', 'xml', 'yaml']) format,
       unnest(ARRAY['BUFFERS, SETTINGS, VERBOSE, SUMMARY OFF', CASE WHEN current_setting('server_version_num')::int < 170000
           THEN 'COSTS' ELSE 'MEMORY, COSTS, SUMMARY OFF' END]) options,
       unnest(ARRAY['on', 'off']) hashed, unnest(ARRAY['on', 'off']) indexed,
       unnest(ARRAY[$$SELECT r.*, s.v FROM regions r JOIN regions s USING (region, id) WHERE r.v > 7654321 ORDER BY r.v LIMIT 7654321$$,
           $$SELECT region, sum(v + 7654321) FILTER (WHERE v > 7654321) FROM regions GROUP BY ROLLUP (region), v HAVING max(v) > 7654321$$,
           $$SELECT sum(v) OVER win, lag(v, 7654321) OVER (ORDER BY id) FROM regions WINDOW win AS (PARTITION BY v ORDER BY id ROWS 7654321 PRECEDING)$$,
           $$SELECT DISTINCT id FROM people WHERE team = 7654321 OR id = 7654321 INTERSECT SELECT v FROM regions EXCEPT SELECT 7654321$$,
           $$WITH RECURSIVE w AS (SELECT 7654321 AS n UNION SELECT n + p.id FROM w, people p WHERE p.team = n) SELECT * FROM w$$,
           $$SELECT * FROM people TABLESAMPLE bernoulli (7) REPEATABLE (7654321) WHERE ctid > '(7654321,1)'$$,
           $$SELECT p.id FROM people p, LATERAL (SELECT * FROM free f WHERE f.id = p.team + 7654321 LIMIT 1) x WHERE p.ctid = '(7654321,1)'$$,
           $$SELECT p.id, x.* FROM people p, jsonb_to_recordset('[{"a": 7654321}]') AS x (a int), (VALUES (7654321), (2)) v (n) WHERE v.n = p.team$$,
           $$SELECT (SELECT max(v) FROM regions r WHERE r.id = p.id), ARRAY(SELECT 7654321 FROM regions) FROM people p WHERE id IN (SELECT v FROM regions) FOR UPDATE$$,
           $$INSERT INTO people (id, org) SELECT v, 'org1' FROM regions WHERE v < 7654321 ON CONFLICT (id) DO UPDATE SET team = 7654321 WHERE people.team < 7654321 RETURNING org$$,
           $$UPDATE regions SET v = 7654321 FROM people p WHERE p.id = regions.id AND p.team = 7654321$$,
           $$SELECT generate_series(1, team + 7654321), id FROM people WHERE id = 1 OR team = 7654321 ORDER BY id, team$$,
           $$SELECT team FROM people GROUP BY team UNION ALL SELECT v FROM regions ORDER BY 1$$,
           $$SELECT id, region FROM regions ORDER BY id, v LIMIT 1$$,
           $$DELETE FROM regions USING people p WHERE p.id = regions.id$$,
           $$MERGE INTO people p USING regions r ON p.id = r.id WHEN MATCHED AND p.team = 7654321 THEN UPDATE SET team = 7654321 WHEN MATCHED THEN DELETE$$]) statement,
       LATERAL unknown_words(format('EXPLAIN (FORMAT %s, %s) %s', format, options, statement), hashed, indexed);
-- The same in parallel.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN SELECT count(*) FROM people WHERE team > 7654321;
EXPLAIN SELECT team FROM people WHERE team > 7654321 ORDER BY team;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET enable_partitionwise_join;
RESET enable_partitionwise_aggregate;
-- A hidden table is a missing one, also below a view of its own.
EXPLAIN SELECT * FROM vault;  -- fail
EXPLAIN SELECT * FROM vault_view;  -- fail
EXPLAIN SELECT salary FROM people;  -- fail
-- Nothing is run to be measured: the row counts would include hidden rows.
EXPLAIN ANALYZE SELECT count(*) FROM people;  -- fail
EXPLAIN (ANALYZE, COSTS OFF, FORMAT json) UPDATE people SET team = 0;  -- fail
EXPLAIN ANALYZE EXECUTE p(3);  -- fail
EXPLAIN ANALYZE CREATE TABLE copied AS SELECT * FROM people;  -- fail
EXPLAIN (ANALYZE, ANALYZE off) SELECT id FROM people WHERE id = 3;
EXPLAIN (NOTHING) SELECT id FROM people;  -- fail
-- As ever where nothing is governed.
EXPLAIN (COSTS OFF, VERBOSE) SELECT t FROM free WHERE id = 3;
SELECT secrets('EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT t FROM explaining.free WHERE id < 0');
-- In a function.
DO $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN SELECT id FROM explaining.people WHERE team = 77' LOOP
        RAISE NOTICE '%', line;
    END LOOP;
END $$;
-- Plans that go to the client as log messages.
SET client_min_messages = log;
SET debug_print_plan = on;
SELECT count(*) FROM people WHERE id = 3;
RESET debug_print_plan;
-- What a module writes to the server's log, with plans that have run.
RESET SESSION AUTHORIZATION;
DO $$ BEGIN LOAD 'auto_explain'; EXCEPTION WHEN undefined_file THEN NULL; END $$;
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_analyze = on;
SET auto_explain.log_timing = off;
SET SESSION AUTHORIZATION regress_explain_alice;
SELECT count(*) FROM people WHERE id = 3;
EXPLAIN SELECT id FROM people WHERE id = 3;
DO $$ BEGIN RAISE LOG 'of her own'; END $$;
RESET SESSION AUTHORIZATION;
RESET auto_explain.log_min_duration;
RESET client_min_messages;
RESET SESSION AUTHORIZATION;
DEALLOCATE p;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'explain-%';
SELECT betweenrows.drop_user('regress_explain_alice');
SELECT betweenrows.drop_attribute('explain_org');
SET client_min_messages = warning;
DROP SCHEMA explaining CASCADE;
DROP ROLE regress_explain_alice;
