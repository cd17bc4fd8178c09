-- From 16 EXPLAIN (GENERIC_PLAN) takes parameters without values. PostgreSQL finds their types by hooks that are gone when the
-- statement has been analysed; naming analyses it once more where something is hidden, and would look there.
SELECT current_setting('server_version_num')::int < 160000 AS too_old \gset
\if :too_old
\quit
\endif
CREATE ROLE generic_alice LOGIN;
CREATE SCHEMA generic;
SET search_path = generic;
CREATE TABLE people (id int PRIMARY KEY, name text, born date, card text);
INSERT INTO people VALUES (1, 'Ann', '2000-01-01', 'c1');
CREATE TABLE vault (id int);
GRANT USAGE ON SCHEMA generic TO generic_alice;
GRANT ALL ON people, vault TO generic_alice;
SELECT betweenrows.deny_columns('people', '{card}', 'generic card');
SELECT betweenrows.deny_table('vault', 'generic vault');

-- Viewpoint of alice.
SET SESSION AUTHORIZATION generic_alice;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
EXPLAIN (GENERIC_PLAN) SELECT * FROM people WHERE id = $1;
EXPLAIN (GENERIC_PLAN) SELECT p.*, p FROM people p WHERE name LIKE $3 AND born > $1 AND id = ANY ($2) LIMIT $4;
EXPLAIN (GENERIC_PLAN) UPDATE people SET name = $2 WHERE id = $1 RETURNING *;
EXPLAIN (GENERIC_PLAN) SELECT * FROM people;
EXPLAIN (GENERIC_PLAN) SELECT card FROM people WHERE id = $1;  -- fail
EXPLAIN (GENERIC_PLAN) SELECT $1 = card FROM people;  -- fail
EXPLAIN (GENERIC_PLAN) SELECT * FROM vault WHERE id = $1;  -- fail
EXPLAIN (GENERIC_PLAN) SELECT *, $1 FROM people;
EXPLAIN SELECT * FROM people WHERE id = $1;  -- fail
-- The session works on, and so do prepared statements, which bring their parameters' types along.
PREPARE one(int) AS SELECT * FROM people WHERE id = $1;
EXECUTE one(1);
EXPLAIN EXECUTE one(1);

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'generic %' ORDER BY name;
DROP SCHEMA generic CASCADE;
DROP ROLE generic_alice;
