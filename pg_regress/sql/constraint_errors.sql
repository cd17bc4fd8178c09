-- Errors. A violated constraint could show what policies hide because PostgreSQL prints the row or the key, of which it only
-- knows that native privileges allow to see it, and names the constraint and the tables of a foreign key. Deferred
-- constraints fire at COMMIT, outside every hook. Misspelled names get hints that name hidden columns.
CREATE ROLE regress_errors_alice LOGIN;
CREATE SCHEMA erring;
SET search_path = erring;
CREATE FUNCTION trap(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; hint text; context text; relation text; constraint_ text; column_ text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        relation = TABLE_NAME, constraint_ = CONSTRAINT_NAME, column_ = COLUMN_NAME;
    RETURN concat_ws(' | ', SQLSTATE, message, detail, hint, relation, constraint_, column_);
END $$;
CREATE TABLE people (id int PRIMARY KEY, org text, ssn text UNIQUE, salary int NOT NULL UNIQUE CHECK (salary > 0),
                     team int NOT NULL CHECK (team > 0), room int4range, EXCLUDE USING gist (room WITH &&));
INSERT INTO people VALUES (1, 'acme', '111-11', 100, 1, '[1,5]'), (2, 'acme', '222-22', 200, 1, '[6,9]'), (3, 'globex', '333-33', 300, 1, '[10,12]');
CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people DEFERRABLE);
INSERT INTO orders VALUES (1, 1), (3, 3);
CREATE TABLE vault (id int PRIMARY KEY, owner int REFERENCES people, note text CHECK (note <> ''));
INSERT INTO vault VALUES (1, 2, 'x');
CREATE TABLE lists (id int PRIMARY KEY);
INSERT INTO lists VALUES (1), (2);
CREATE TABLE hidden_items (list int REFERENCES lists ON DELETE CASCADE ON UPDATE CASCADE CHECK (list < 100));
INSERT INTO hidden_items VALUES (1), (2);
CREATE TABLE slots (id int, org text, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO slots VALUES (1, 'acme'), (2, 'globex');
CREATE TABLE events (org text, code text, y int) PARTITION BY LIST (y);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
INSERT INTO events VALUES ('acme', 'raw code', 1);
CREATE TABLE free (id int PRIMARY KEY, t text CHECK (t <> 'bad'));
INSERT INTO free VALUES (1, 'one');
CREATE VIEW checked AS SELECT id, org, ssn, salary, team FROM people WHERE team < 5 WITH CHECK OPTION;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
GRANT USAGE, CREATE ON SCHEMA erring TO regress_errors_alice;
GRANT ALL ON ALL TABLES IN SCHEMA erring TO regress_errors_alice;
SELECT betweenrows.filter_rows('people', $$org = 'acme'$$, 'errors-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$, 'errors-ssn');
SELECT betweenrows.deny_columns('people', '{salary}', 'errors-salary');
SELECT betweenrows.mask_column('events', 'code', $$'***'$$, 'errors-code');
SELECT betweenrows.filter_rows('slots', $$org = 'acme'$$, 'errors-slots');
SELECT betweenrows.alter_policy('errors-slots', definition => '{"filter_expression": "org = ''acme''", "check": "none"}');
SELECT betweenrows.deny_table('vault', 'errors-vault');
SELECT betweenrows.deny_table('hidden_items', 'errors-items');

-- Viewpoint of the superuser: rows, keys and names.
UPDATE people SET team = -1 WHERE id = 1;  -- fail
DELETE FROM people WHERE id = 2;  -- fail
UPDATE lists SET id = 100 WHERE id = 1;  -- fail

-- Viewpoint of alice.
SET SESSION AUTHORIZATION regress_errors_alice;
UPDATE people SET team = -1 WHERE id = 1;  -- fail
UPDATE people SET team = NULL WHERE id = 1;  -- fail
UPDATE people SET id = 3 WHERE id = 1;  -- fail
UPDATE people SET room = '[11,11]' WHERE id = 1;  -- fail
INSERT INTO people (id, org, team) VALUES (9, 'acme', 1);  -- fail: of a hidden column
INSERT INTO people (id, org, team) VALUES (1, 'acme', 1) ON CONFLICT (id) DO NOTHING;  -- fail: of a hidden column
DELETE FROM people WHERE id = 1;  -- fail
DELETE FROM people WHERE id = 2;  -- fail: a hidden table refers to it
INSERT INTO orders VALUES (9, 99);  -- fail
UPDATE lists SET id = 100 WHERE id = 1;  -- fail: in a hidden table
UPDATE events SET y = 2;  -- fail
UPDATE checked SET team = 7 WHERE id = 1;  -- fail
-- What functions of alice see of it.
SELECT trap('UPDATE erring.people SET team = -1 WHERE id = 1');
SELECT trap('DELETE FROM erring.people WHERE id = 2');
SELECT trap('UPDATE erring.people SET id = 3 WHERE id = 1');
SELECT trap('UPDATE erring.lists SET id = 100 WHERE id = 1');
SELECT trap('SELECT salry FROM erring.people');
-- Deferred constraints.
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO orders VALUES (9, 99);
COMMIT;  -- fail
BEGIN;
DELETE FROM orders;
DELETE FROM people WHERE id = 1;
INSERT INTO orders VALUES (5, 1);  -- fail
ROLLBACK;
BEGIN;
UPDATE slots SET id = 2 WHERE id = 1;
COMMIT;  -- fail
INSERT INTO slots VALUES (2, 'x');  -- fail
-- COPY FROM.
COPY orders FROM stdin;  -- fail
9	99
\.
-- Hints.
SELECT salry FROM people;  -- fail
SELECT people.salry FROM people;  -- fail
SELECT o.id FROM orders o WHERE o.persn = 1;  -- fail
SELECT idd FROM people;  -- fail
-- As ever where nothing is governed.
INSERT INTO free VALUES (1, 'two');  -- fail
INSERT INTO free VALUES (2, 'bad');  -- fail
SELECT 0::positive;  -- fail
SELECT trap('INSERT INTO erring.free VALUES (1, ''two'')');
SELECT 1/0;  -- fail
RESET SESSION AUTHORIZATION;

-- The superuser sees everything again, in the same session.
UPDATE people SET team = -1 WHERE id = 1;  -- fail
SELECT salry FROM people;  -- fail

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'errors-%';
SET client_min_messages = warning;
DROP SCHEMA erring CASCADE;
DROP ROLE regress_errors_alice;
