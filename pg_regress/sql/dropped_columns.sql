-- Columns come and go: a dropped one keeps its number, a new one gets the next, a partition has its own numbers. A mask or
-- deny that is applied by number, or a plan that is older than the column, would meet another column's values.
CREATE ROLE dropped_alice LOGIN;
CREATE SCHEMA dropped;
GRANT ALL ON SCHEMA dropped TO dropped_alice;
SET search_path = dropped;
CREATE TABLE staff (gone_a text, id int, gone_b int, ssn text, gone_c date, agent text, pay int);
ALTER TABLE staff DROP COLUMN gone_a;
INSERT INTO staff (id, gone_b, ssn, gone_c, agent, pay) VALUES
    (1, 77, '111-11-1111', '2000-01-01', 'dropped_alice', 1000), (2, 78, '222-22-2222', '2000-01-02', 'other', 2000);
ALTER TABLE staff DROP COLUMN gone_b;
CREATE TABLE parts (gone int, id int, ssn text, agent text) PARTITION BY RANGE (id);
ALTER TABLE parts DROP COLUMN gone;
CREATE TABLE parts_1 (agent text, x text, ssn text, y int, id int);
ALTER TABLE parts_1 DROP COLUMN x;
ALTER TABLE parts_1 DROP COLUMN y;
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 (ssn text, id int, gone_too bool, agent text);
ALTER TABLE parts_2 DROP COLUMN gone_too;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
INSERT INTO parts (id, ssn, agent) VALUES (1, '111', 'dropped_alice'), (2, '222', 'other'), (11, '1111', 'dropped_alice'), (12, '2222', 'other');
GRANT ALL ON ALL TABLES IN SCHEMA dropped TO dropped_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('staff', 'agent = {user.username}', 'dropped own');
SELECT betweenrows.mask_column('staff', 'ssn', '''***-'' || right(ssn, 2)', 'dropped ssn');
SELECT betweenrows.deny_columns('staff', '{pay}', 'dropped pay');
SELECT betweenrows.filter_rows('parts', 'agent = {user.username}', 'dropped parts');
SELECT betweenrows.mask_column('parts', 'ssn', 'left(ssn, 1)', 'dropped parts ssn');
SELECT betweenrows.mask_column('parts_2', 'ssn', '''two''', 'dropped parts 2');
-- The raw view of a superuser.
SELECT * FROM staff ORDER BY id;
SELECT * FROM parts ORDER BY id;

-- Viewpoint of alice.
SET SESSION AUTHORIZATION dropped_alice;
SELECT * FROM staff WHERE f_leak(ssn) AND f_leak(agent);
SELECT s, s.*::text, row_to_json(s) FROM staff s;
SELECT gone_a FROM staff;  -- fail
SELECT gone_b FROM staff;  -- fail
SELECT "........pg.dropped.1........" FROM staff;  -- fail
SELECT pay FROM staff;  -- fail
SELECT x.* FROM staff x JOIN staff y USING (id, ssn, agent);
UPDATE staff SET gone_c = gone_c + 1 RETURNING *;
INSERT INTO staff (id, agent) VALUES (3, 'dropped_alice') RETURNING *;
INSERT INTO staff (id, agent) SELECT id + 10, agent FROM staff WHERE id = 3 RETURNING staff;
DELETE FROM staff WHERE id > 2 RETURNING *;
SELECT tableoid::regclass, * FROM parts WHERE f_leak(ssn) ORDER BY id;
SELECT * FROM parts_1;
SELECT * FROM parts_2;
SELECT p, p::text FROM parts p ORDER BY id;
SELECT p FROM parts_2 p;
UPDATE parts SET agent = agent RETURNING tableoid::regclass, *, parts;
UPDATE parts SET id = 13 WHERE id = 1 RETURNING tableoid::regclass, *;
UPDATE parts SET id = 1 WHERE id = 13 RETURNING tableoid::regclass, *;
INSERT INTO parts (id, agent) VALUES (3, 'other');  -- fail
INSERT INTO parts_2 (agent, id) VALUES ('dropped_alice', 13) RETURNING *, parts_2;
DELETE FROM parts WHERE id = 13;

-- Columns come and go while plans are kept: in prepared statements, functions, views and cursors.
PREPARE p AS SELECT id, ssn FROM staff;
PREPARE q AS SELECT * FROM parts ORDER BY id;
CREATE FUNCTION kept() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT string_agg(s::text, ',') FROM dropped.staff s); END $$;
CREATE FUNCTION kept_sql() RETURNS SETOF text LANGUAGE sql AS 'SELECT ssn FROM dropped.staff';
CREATE VIEW shown AS SELECT * FROM staff;
EXECUTE p;
EXECUTE q;
SELECT kept(), kept_sql();
SELECT * FROM shown;
RESET SESSION AUTHORIZATION;
ALTER TABLE staff ADD COLUMN added text DEFAULT 'added';
ALTER TABLE parts ADD COLUMN added text DEFAULT 'added';
SET SESSION AUTHORIZATION dropped_alice;
EXECUTE p;
EXECUTE q;  -- fail
SELECT kept(), kept_sql();
SELECT * FROM shown;
SELECT * FROM staff;
SELECT tableoid::regclass, * FROM parts ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.mask_column('staff', 'added', '''masked''', 'dropped added');
SELECT betweenrows.deny_columns('parts', '{added}', 'dropped parts added');
SET SESSION AUTHORIZATION dropped_alice;
SELECT * FROM staff;
SELECT kept();
SELECT * FROM parts ORDER BY id;
EXECUTE q;
RESET SESSION AUTHORIZATION;
DROP VIEW shown;
ALTER TABLE staff DROP COLUMN gone_c;
ALTER TABLE staff ALTER COLUMN id TYPE bigint;
ALTER TABLE parts_2 ALTER COLUMN agent SET STORAGE EXTERNAL;
SET SESSION AUTHORIZATION dropped_alice;
EXECUTE p;  -- fail
SELECT * FROM staff WHERE f_leak(ssn);
SELECT kept(), kept_sql();
SELECT s FROM staff s;
SELECT * FROM parts ORDER BY id;
DEALLOCATE ALL;

-- A name that is free again is governed when it comes back, and a column that policies do not know is not.
RESET SESSION AUTHORIZATION;
ALTER TABLE parts DROP COLUMN added;
ALTER TABLE parts ADD COLUMN added int DEFAULT 42;
ALTER TABLE parts ADD COLUMN other int DEFAULT 43;
SET SESSION AUTHORIZATION dropped_alice;
SELECT * FROM parts ORDER BY id;
SELECT added FROM parts_2;  -- fail
SELECT p FROM parts_1 p;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM parts ORDER BY id;
FETCH 1 FROM c;
RESET SESSION AUTHORIZATION;
ALTER TABLE parts ALTER COLUMN other SET DEFAULT 44;  -- fail
ROLLBACK;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'dropped %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA dropped CASCADE;
DROP OWNED BY dropped_alice;
DROP ROLE dropped_alice;
