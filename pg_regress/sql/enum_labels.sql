-- A policy names the labels of an enumeration by their text, rows hold numbers. Whoever owns the type could exchange two labels,
-- and a filter for 'public' would show the secret rows. alice owns the types, and the table.
CREATE ROLE enum_alice LOGIN;
CREATE SCHEMA enum_labels AUTHORIZATION enum_alice;
SET search_path = enum_labels;
SET SESSION AUTHORIZATION enum_alice;
CREATE TYPE level AS ENUM ('public', 'secret');
CREATE TYPE state AS ENUM ('active', 'gone');
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE DOMAIN levels AS level[];
CREATE TABLE papers (id int, level level, shown_to levels DEFAULT '{}');
INSERT INTO papers VALUES (1, 'public'), (2, 'secret');
CREATE TABLE members (name text, state state);
CREATE TABLE cases (id int);
INSERT INTO cases VALUES (1);
CREATE TABLE cars (colour colour);
INSERT INTO cars VALUES ('red');
RESET SESSION AUTHORIZATION;
INSERT INTO members VALUES ('enum_alice', 'gone'), ('enum_bob', 'active');
SELECT betweenrows.filter_rows('papers', $$level = 'public'$$, 'enum papers');
SELECT betweenrows.filter_rows('cases', $$EXISTS (SELECT FROM enum_labels.members m WHERE m.name = {user.username} AND m.state = 'active')$$,
    'enum cases');

-- Viewpoint of alice.
SET SESSION AUTHORIZATION enum_alice;
TABLE papers;
TABLE cases;
ALTER TYPE level RENAME VALUE 'public' TO 'other';  -- fail
ALTER TYPE level RENAME VALUE 'secret' TO 'open';  -- fail
-- A table that a policy asks decides as well.
ALTER TYPE state RENAME VALUE 'gone' TO 'going';  -- fail
DO $$ BEGIN ALTER TYPE enum_labels.state RENAME VALUE 'gone' TO 'going'; END $$;  -- fail
TABLE papers;
TABLE cases;
-- A new label means nothing to rows that there are; no policy is about cars.
ALTER TYPE level ADD VALUE 'internal' BEFORE 'secret';
ALTER TYPE colour RENAME VALUE 'red' TO 'blue';
ALTER TYPE nothing RENAME VALUE 'red' TO 'blue';  -- fail
TABLE cars;
TABLE papers;

-- An exempt role may, and the policy that meant the label closes its table.
RESET SESSION AUTHORIZATION;
ALTER TYPE level RENAME VALUE 'public' TO 'open';
SET SESSION AUTHORIZATION enum_alice;
TABLE papers;  -- fail
RESET SESSION AUTHORIZATION;
ALTER TYPE level RENAME VALUE 'open' TO 'public';
SET SESSION AUTHORIZATION enum_alice;
TABLE papers;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'enum %' ORDER BY name;
DROP SCHEMA enum_labels CASCADE;
DROP ROLE enum_alice;
