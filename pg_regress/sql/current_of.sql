-- WHERE CURRENT OF names a row by the position of a cursor instead of a condition: the statement must not reach a row that
-- its own filter excludes, and the cursor's rows must still be found although they come from a rewritten query.
CREATE ROLE current_alice LOGIN;
CREATE ROLE current_bob LOGIN;
CREATE SCHEMA current_of;
GRANT ALL ON SCHEMA current_of TO current_alice, current_bob;
SET search_path = current_of;
CREATE TABLE jobs (id int PRIMARY KEY, owner text, state text, secret text);
INSERT INTO jobs SELECT i, CASE WHEN i % 2 = 1 THEN 'current_alice' ELSE 'current_bob' END, 'new', 'raw-' || i
    FROM generate_series(1, 6) i;
CREATE VIEW all_jobs AS SELECT * FROM jobs;
GRANT ALL ON jobs, all_jobs TO current_alice, current_bob;
SELECT betweenrows.filter_rows('jobs', 'owner = {user.username}', 'current own');
SELECT betweenrows.mask_column('jobs', 'secret', '''mask-'' || right(secret, 1)', 'current secret');

-- Viewpoint of alice.
SET SESSION AUTHORIZATION current_alice;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM jobs ORDER BY id FOR UPDATE;
FETCH 2 FROM c;
UPDATE jobs SET state = 'taken' WHERE CURRENT OF c RETURNING *;
FETCH c;
DELETE FROM jobs WHERE CURRENT OF c RETURNING *;
UPDATE jobs SET state = secret WHERE CURRENT OF c RETURNING *;
CLOSE c;
-- Without FOR UPDATE the scan itself is asked.
DECLARE c CURSOR FOR SELECT id FROM jobs WHERE id > 0;
FETCH c;
UPDATE jobs SET state = 'first ' || secret WHERE CURRENT OF c RETURNING *;
CLOSE c;
-- Through a view, which is a subquery of the cursor's query.
DECLARE c CURSOR FOR SELECT * FROM all_jobs WHERE id = 3 FOR UPDATE;
FETCH c;
UPDATE jobs SET state = 'by view' WHERE CURRENT OF c RETURNING *;
ROLLBACK;
-- A cursor over the table twice: FOR UPDATE says which one is meant.
BEGIN;
DECLARE c CURSOR FOR SELECT a.id, b.secret FROM jobs a JOIN jobs b ON b.id = a.id + 2 ORDER BY 1 FOR UPDATE OF b;
FETCH c;
UPDATE jobs SET state = 'b' WHERE CURRENT OF c RETURNING *;
ROLLBACK;

-- A cursor of another subject in the same session: opened by the superuser, it stands on a row of bob's.
RESET SESSION AUTHORIZATION;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM jobs WHERE id = 2 FOR UPDATE;
FETCH c;
SET LOCAL ROLE current_alice;
\set QUIET off
UPDATE jobs SET state = 'stolen' WHERE CURRENT OF c RETURNING *;
DELETE FROM jobs WHERE CURRENT OF c;
\set QUIET on
RESET ROLE;
SELECT * FROM jobs WHERE id = 2;
ROLLBACK;

-- PL/pgSQL: bound cursors, FOR loops, and positions.
CREATE FUNCTION work() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c CURSOR FOR SELECT * FROM current_of.jobs ORDER BY id FOR UPDATE;
    seen text := '';
BEGIN
    FOR job IN c LOOP
        UPDATE current_of.jobs SET state = 'done' WHERE CURRENT OF c;
        seen := seen || job.id || ':' || job.secret || ' ';
    END LOOP;
    RETURN seen || (SELECT count(*) FROM current_of.jobs WHERE state = 'done');
END $$;
SET SESSION AUTHORIZATION current_bob;
BEGIN;
SELECT work();
SELECT * FROM jobs ORDER BY id;
ROLLBACK;

-- LIMIT and SKIP LOCKED lock what they return and no more.
BEGIN;
SELECT id FROM jobs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
RESET SESSION AUTHORIZATION;
SELECT id AS locked FROM jobs WHERE xmax = pg_current_xact_id()::xid;
ROLLBACK;
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'current %' ORDER BY name;
DROP SCHEMA current_of CASCADE;
DROP ROLE current_alice, current_bob;
