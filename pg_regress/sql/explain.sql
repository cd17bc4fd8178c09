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
GRANT USAGE, CREATE ON SCHEMA explaining TO regress_explain_alice;
GRANT ALL ON people, vault, free, staff, events, vault_view TO regress_explain_alice;
ANALYZE people, free;
SELECT betweenrows.define_attribute('explain_org', 'string') IS NOT NULL AS defined;
SELECT betweenrows.create_user('regress_explain_alice', attributes => '{"explain_org": "org1"}') IS NOT NULL AS created;
SELECT betweenrows.filter_rows('people', 'org = {user.explain_org} AND EXISTS (SELECT FROM explaining.members secret_alias WHERE secret_alias.org = people.org AND person = {user.username})', 'explain-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'masked constant'$$, 'explain-ssn');
SELECT betweenrows.deny_columns('people', '{salary}', 'explain-salary');
SELECT betweenrows.filter_rows('events', 'org = {user.explain_org} AND org IN (WITH secret_cte AS MATERIALIZED (SELECT org FROM explaining.members) SELECT org FROM secret_cte)', 'explain-events');
SELECT betweenrows.deny_table('events_2025', 'explain-partition');
SELECT betweenrows.deny_table('vault', 'explain-vault');

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
RESET client_min_messages;
RESET SESSION AUTHORIZATION;
DEALLOCATE p;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'explain-%';
SELECT betweenrows.drop_user('regress_explain_alice');
SELECT betweenrows.drop_attribute('explain_org');
SET client_min_messages = warning;
DROP SCHEMA explaining CASCADE;
DROP ROLE regress_explain_alice;
