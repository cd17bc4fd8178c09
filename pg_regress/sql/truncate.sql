-- TRUNCATE. It could remove rows that the subject cannot see, since it removes them all without reading them, also in
-- tables that CASCADE or inheritance reaches; its errors and notices name those tables.
CREATE ROLE regress_truncate_alice LOGIN;
CREATE SCHEMA truncating;
SET search_path = truncating;
CREATE TABLE filtered (id int);
CREATE TABLE masked (id int, ssn text);
CREATE TABLE free (id int);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (parent int REFERENCES parent);
CREATE TABLE referred (id int PRIMARY KEY);
CREATE TABLE vault (referred int REFERENCES referred);
CREATE TABLE years (y int) PARTITION BY LIST (y);
CREATE TABLE years_2024 PARTITION OF years FOR VALUES IN (2024);
INSERT INTO filtered VALUES (1), (2);
INSERT INTO masked VALUES (1, 'x');
INSERT INTO free VALUES (1);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (1);
INSERT INTO years VALUES (2024);
CREATE FUNCTION clear(relation text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'TRUNCATE ' || relation; END $$;
GRANT USAGE ON SCHEMA truncating TO regress_truncate_alice;
GRANT ALL ON ALL TABLES IN SCHEMA truncating TO regress_truncate_alice;
SELECT betweenrows.filter_rows('filtered', 'id = 1', 'truncate-filtered');
SELECT betweenrows.mask_column('masked', 'ssn', $$'*'$$, 'truncate-masked');
SELECT betweenrows.filter_rows('child', 'true', 'truncate-child');
SELECT betweenrows.filter_rows('years_2024', 'true', 'truncate-partition');
SELECT betweenrows.deny_table('vault', 'truncate-vault');

SET SESSION AUTHORIZATION regress_truncate_alice;
TRUNCATE filtered;  -- fail
TRUNCATE free, filtered;  -- fail
TRUNCATE years;  -- fail
TRUNCATE vault;  -- fail
TRUNCATE truncating.nothing;  -- fail
SELECT clear('truncating.filtered');  -- fail
SELECT clear('truncating.vault');  -- fail
-- CASCADE reaches a filtered and a hidden table; without it the error must not name the hidden one.
TRUNCATE parent CASCADE;  -- fail
TRUNCATE parent;  -- fail, as ever
TRUNCATE referred CASCADE;  -- fail
TRUNCATE referred;  -- fail
-- No row of these is hidden.
TRUNCATE masked;
TRUNCATE free;
RESET SESSION AUTHORIZATION;

-- The superuser's view: only what alice may empty is empty.
SELECT (SELECT count(*) FROM filtered) AS filtered, (SELECT count(*) FROM masked) AS masked, (SELECT count(*) FROM free) AS free,
       (SELECT count(*) FROM child) AS child, (SELECT count(*) FROM years) AS years;
TRUNCATE parent CASCADE;
SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'truncate-%';
SET client_min_messages = warning;
DROP SCHEMA truncating CASCADE;
DROP ROLE regress_truncate_alice;
