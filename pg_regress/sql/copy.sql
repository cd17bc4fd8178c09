-- COPY. It could get past the policies because COPY of a table runs neither planner nor executor: it reads the table itself.
CREATE ROLE regress_copy_alice LOGIN;
CREATE SCHEMA copying;
SET search_path = copying;
CREATE TABLE people (gone int, id int PRIMARY KEY, org text, ssn text, salary int, note text,
                     hint text GENERATED ALWAYS AS (left(ssn, 3)) STORED, label text GENERATED ALWAYS AS ('#' || id) STORED);
ALTER TABLE people DROP COLUMN gone;
INSERT INTO people VALUES (1, 'acme', '111-11', 100, 'x'), (2, 'acme', '222-22', 200, 'y'), (3, 'globex', '333-33', 300, 'z');
CREATE TABLE heirs (mark text) INHERITS (people);
INSERT INTO heirs VALUES (4, 'acme', '444-44', 400, 'h', DEFAULT, DEFAULT, 'heir');
CREATE TABLE vault (id int, code text);
INSERT INTO vault VALUES (1, 'top secret');
CREATE TABLE free (id int, t text);
CREATE VIEW people_view AS SELECT id, org, ssn FROM people;
CREATE TABLE events (org text, id int) PARTITION BY LIST (org);
CREATE TABLE events_acme PARTITION OF events FOR VALUES IN ('acme');
CREATE TABLE events_globex PARTITION OF events FOR VALUES IN ('globex');
CREATE TABLE forms (id int, org text, ssn text);
GRANT USAGE, CREATE ON SCHEMA copying TO regress_copy_alice;
GRANT ALL ON ALL TABLES IN SCHEMA copying TO regress_copy_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'copy-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***-' || right(ssn, 2)$$, 'copy-ssn');
SELECT betweenrows.deny_columns('people', '{salary}', 'copy-salary');
SELECT betweenrows.deny_table('vault', 'copy-vault');
SELECT betweenrows.deny_table('events_globex', 'copy-partition');
SELECT betweenrows.create_policy('copy-forms', 'column_mask', '[{"schemas": ["copying"], "tables": ["forms"], "columns": ["ssn"]}]',
    '{"mask_expression": "''***''", "writable": true}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('copy-forms') IS NOT NULL AS assigned;
SELECT betweenrows.create_policy('copy-unchecked', 'row_filter', '[{"schemas": ["copying"], "tables": ["forms"]}]',
    '{"filter_expression": "org = ''acme''", "check": "none"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('copy-unchecked') IS NOT NULL AS assigned;

-- Viewpoint of the superuser: everything, and only the table's own rows.
COPY people TO stdout;
COPY vault TO stdout;

-- Viewpoint of alice: rows of acme, masked, without salary; not those of the child, as ever.
SET SESSION AUTHORIZATION regress_copy_alice;
COPY people TO stdout;
COPY people TO stdout WITH (FORMAT csv, HEADER);
COPY people (note, ssn, id) TO stdout WITH (FORMAT csv, HEADER, FORCE_QUOTE (ssn));
COPY ONLY people TO stdout;  -- fail, as ever
COPY copying.people (id) TO stdout;
COPY (TABLE people) TO stdout WITH (FORMAT csv, HEADER);
COPY (SELECT * FROM ONLY people WHERE ssn LIKE '%22%') TO stdout;
COPY (SELECT salary FROM people) TO stdout;  -- fail
COPY (DELETE FROM free RETURNING *) TO stdout;
COPY people_view TO stdout;  -- fail, as ever
COPY (SELECT * FROM people_view) TO stdout;
COPY events TO stdout;  -- fail, as ever
-- A hidden column and a missing one are the same.
COPY people (id, salary) TO stdout;  -- fail
COPY people (id, nothing) TO stdout;  -- fail
COPY people (id, hint) TO stdout;  -- fail, as ever
COPY people (id, id) TO stdout;  -- fail
-- So are a hidden table and a missing one.
COPY vault TO stdout;  -- fail
COPY copying.vault TO stdout;  -- fail
COPY copying.nothing TO stdout;  -- fail
COPY vault FROM stdin;  -- fail
\.
COPY (SELECT * FROM vault) TO stdout;  -- fail
COPY (SELECT * FROM nothing) TO stdout;  -- fail
-- Files and programs need PostgreSQL's own rights.
\set VERBOSITY sqlstate
COPY people TO '/tmp/regress_copy_people';  -- fail
COPY people TO PROGRAM 'cat';  -- fail
\set VERBOSITY default
-- The extension's own tables.
COPY betweenrows.policies TO stdout;  -- fail

-- Inside a function the table is refused without its name.
DO $$ BEGIN EXECUTE 'COPY copying.vault TO ''/tmp/regress_copy_vault'''; END $$;  -- fail

-- COPY FROM where rows would have to be checked, or masked or hidden columns set.
COPY people FROM stdin;  -- fail
\.
COPY people (id, org) FROM stdin;  -- fail
\.
COPY people (id, salary) FROM stdin;  -- fail
\.
COPY events FROM stdin;  -- fail
\.
-- Allowed: a writable mask, a filter that checks nothing, a table without policies.
COPY forms FROM stdin;
1	acme	999-99
2	globex	888-88
\.
TABLE forms;
COPY free FROM stdin WHERE id > 1;
1	one
2	two
\.
COPY free TO stdout;

-- A switch of roles is no way out.
RESET SESSION AUTHORIZATION;
SET ROLE regress_copy_alice;
COPY people TO stdout;
RESET ROLE;
TABLE forms;

-- Native row security and ours together.
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY first ON people USING (id = 1);
SET SESSION AUTHORIZATION regress_copy_alice;
COPY people TO stdout;
COPY people FROM stdin;  -- fail
\.
RESET SESSION AUTHORIZATION;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'copy-%';
SET client_min_messages = warning;
DROP SCHEMA copying CASCADE;
DROP ROLE regress_copy_alice;
