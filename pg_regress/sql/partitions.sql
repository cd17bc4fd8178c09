-- A partition is a table of its own and a part of another. Policies of the parent hold for rows read from the partition,
-- and a partition's own policies for rows read from the parent, at every depth, whenever it was attached.
CREATE ROLE partitions_alice LOGIN;
CREATE SCHEMA partitions;
GRANT ALL ON SCHEMA partitions TO partitions_alice;
SET search_path = partitions;
CREATE TABLE sales (id int, region text, agent text, amount int, note text) PARTITION BY LIST (region);
CREATE TABLE north PARTITION OF sales FOR VALUES IN ('north');
CREATE TABLE south (note text, dropped int, amount int, agent text, region text, id int);
ALTER TABLE south DROP COLUMN dropped;
ALTER TABLE sales ATTACH PARTITION south FOR VALUES IN ('south');
CREATE TABLE east PARTITION OF sales FOR VALUES IN ('east') PARTITION BY RANGE (id);
CREATE TABLE east_low PARTITION OF east FOR VALUES FROM (0) TO (100);
CREATE TABLE east_high PARTITION OF east FOR VALUES FROM (100) TO (200);
CREATE TABLE rest PARTITION OF sales DEFAULT;
INSERT INTO sales
    SELECT n, r, CASE WHEN n % 2 = 1 THEN 'partitions_alice' ELSE 'other' END, n * 10, r || ' ' || n
      FROM (VALUES (1, 'north'), (2, 'north'), (3, 'south'), (4, 'south'), (5, 'east'), (6, 'east'), (105, 'east'), (106, 'east'),
                   (7, 'west'), (8, 'west')) v (n, r);
GRANT ALL ON ALL TABLES IN SCHEMA partitions TO partitions_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('sales', 'agent = {user.username}', 'partitions own');
SELECT betweenrows.mask_column('sales', 'amount', '0', 'partitions amount');
-- The raw view of a superuser.
SELECT tableoid::regclass, * FROM sales ORDER BY id;

-- Viewpoint of alice: the parent's policies, through the parent and in each partition.
SET SESSION AUTHORIZATION partitions_alice;
SELECT tableoid::regclass, * FROM sales WHERE f_leak(note) ORDER BY id;
SELECT * FROM north;
SELECT * FROM south WHERE f_leak(note) AND f_leak(amount);
SELECT s, to_json(s) FROM south s;
SELECT * FROM ONLY sales;
SELECT * FROM east ORDER BY id;
SELECT * FROM east_low;
SELECT * FROM east_high WHERE amount > 0;
SELECT * FROM rest;
SELECT * FROM sales WHERE region = 'south' OR id = 106;
SELECT s.id FROM sales s JOIN south p ON p.id = s.id AND p.amount = s.amount;
SELECT s FROM sales s ORDER BY id;
UPDATE sales SET note = note || amount RETURNING tableoid::regclass, *;
UPDATE south SET note = note || '!' RETURNING *;
UPDATE east_low SET amount = 1;  -- fail
UPDATE sales SET agent = 'other' WHERE id = 1;  -- fail
DELETE FROM rest WHERE id = 8 RETURNING *;
INSERT INTO east_low (id, region, agent) VALUES (6, 'east', 'other');  -- fail
INSERT INTO sales (id, region, agent) VALUES (9, 'west', 'other');  -- fail
INSERT INTO sales (id, region, agent) VALUES (9, 'west', 'partitions_alice') RETURNING *;
-- A row that moves to another partition is a new row there.
UPDATE sales SET region = 'south' WHERE id = 9 RETURNING tableoid::regclass, *;
UPDATE sales SET region = 'west', agent = 'other' WHERE id = 9;  -- fail
DELETE FROM sales WHERE id = 9;

-- Policies of one partition only, also for rows read through the parents above it: a filter, a mask, a column, the whole.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('north', 'id > 1', 'partitions north');
SELECT betweenrows.mask_column('south', 'note', '''south is masked''', 'partitions south note');
SELECT betweenrows.deny_columns('east_high', '{note}', 'partitions east high note');
SELECT betweenrows.deny_table('rest', 'partitions rest');
SET SESSION AUTHORIZATION partitions_alice;
SELECT tableoid::regclass, * FROM sales WHERE f_leak(note) ORDER BY id;
SELECT * FROM north;
SELECT * FROM south;
SELECT note FROM east_high;  -- fail
SELECT * FROM east_high;
SELECT * FROM east WHERE f_leak(note) ORDER BY id;
SELECT * FROM rest;  -- fail
SELECT s, to_jsonb(s) ->> 'note' FROM sales s WHERE s.note = 'south is masked' OR s.note IS NULL ORDER BY id;
SELECT id FROM sales WHERE note LIKE 'south 3%' OR note LIKE 'east 105%' OR note LIKE 'west%';
SELECT count(*), count(note), max(note) FROM sales;
UPDATE sales SET note = 'x' WHERE region = 'south';  -- fail
UPDATE sales SET note = 'x' WHERE id = 105;  -- fail
UPDATE sales SET region = region RETURNING tableoid::regclass, id, note;
INSERT INTO sales (id, region, agent) VALUES (11, 'west', 'partitions_alice');  -- fail
INSERT INTO sales (id, region, agent) VALUES (1, 'north', 'partitions_alice');  -- fail
UPDATE sales SET region = 'nowhere' WHERE id = 5;  -- fail
DELETE FROM sales WHERE region = 'west' RETURNING *;

-- A plan that was made before a partition was attached, detached or got a policy of its own.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'partitions %' ORDER BY name;
SELECT betweenrows.filter_rows('sales', 'agent = {user.username}', 'partitions own');
CREATE TABLE late (id int, region text, agent text, amount int, note text);
INSERT INTO late VALUES (21, 'late', 'partitions_alice', 210, 'late 21'), (22, 'late', 'other', 220, 'late 22');
GRANT ALL ON late TO partitions_alice;
SELECT betweenrows.mask_column('late', 'note', '''late is masked''', 'partitions late note');
SET SESSION AUTHORIZATION partitions_alice;
PREPARE p AS SELECT tableoid::regclass, id, note FROM sales WHERE id > 20 ORDER BY id;
CREATE FUNCTION kept() RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RETURN (SELECT string_agg(id || ' ' || note, ',' ORDER BY id) FROM partitions.sales WHERE id > 20); END $$;
EXECUTE p;
SELECT kept();
SELECT * FROM late ORDER BY id;
RESET SESSION AUTHORIZATION;
ALTER TABLE sales ATTACH PARTITION late FOR VALUES IN ('late');
SET SESSION AUTHORIZATION partitions_alice;
EXECUTE p;
SELECT kept();
SELECT * FROM late ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('partitions late note', definition => '{"mask_expression": "''masked again''"}');
SET SESSION AUTHORIZATION partitions_alice;
EXECUTE p;
SELECT kept();
RESET SESSION AUTHORIZATION;
ALTER TABLE sales DETACH PARTITION late;
SET SESSION AUTHORIZATION partitions_alice;
EXECUTE p;
SELECT kept();
SELECT * FROM late ORDER BY id;
RESET SESSION AUTHORIZATION;
BEGIN;
ALTER TABLE sales ATTACH PARTITION late FOR VALUES IN ('late');
SET LOCAL SESSION AUTHORIZATION partitions_alice;
EXECUTE p;
ROLLBACK;
SET SESSION AUTHORIZATION partitions_alice;
EXECUTE p;
SELECT * FROM late ORDER BY id;
DEALLOCATE p;

-- Pruning and joins by partition do not lose a filter on the way.
RESET SESSION AUTHORIZATION;
SET enable_partitionwise_join = on;
SET enable_partitionwise_aggregate = on;
SET SESSION AUTHORIZATION partitions_alice;
SELECT region, count(*), max(note) FROM sales GROUP BY region ORDER BY 1;
SELECT a.id, b.note FROM sales a JOIN sales b ON a.region = b.region AND a.id = b.id AND f_leak(b.id) ORDER BY 1;
SELECT count(*) FROM sales WHERE region = ANY (ARRAY['north', 'south']) AND f_leak(region);
RESET enable_partitionwise_join;
RESET enable_partitionwise_aggregate;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'partitions %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA partitions CASCADE;
DROP OWNED BY partitions_alice;
DROP ROLE partitions_alice;
