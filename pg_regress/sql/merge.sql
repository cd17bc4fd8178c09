-- MERGE reads its target twice, to join it and to change it, and tells by its branches whether a row exists: one that
-- missed the filter or the masks at any of these places would show hidden rows (CVE-2023-39418). alice and bob see their
-- own stock, costs are masked, suppliers do not exist.
CREATE ROLE merge_alice LOGIN;
CREATE ROLE merge_bob LOGIN;
CREATE SCHEMA merges;
GRANT ALL ON SCHEMA merges TO merge_alice, merge_bob;
SET search_path = merges;
CREATE TABLE stock (item int, owner text DEFAULT CURRENT_USER, amount int, cost text DEFAULT 'raw-0', note text, supplier text);
INSERT INTO stock VALUES
    (1, 'merge_alice', 10, 'raw-1', 'n1', 's1'), (2, 'merge_alice', 20, 'raw-2', 'n2', 's2'),
    (3, 'merge_bob', 30, 'raw-3', 'n3', 's3'), (4, NULL, 40, 'raw-4', 'n4', 's4');
CREATE TABLE source (item int, change int, text text);
INSERT INTO source SELECT i, i, 'raw-' || i FROM generate_series(1, 5) i;
GRANT ALL ON ALL TABLES IN SCHEMA merges TO merge_alice, merge_bob;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
-- What a statement did, by a superuser's eyes.
CREATE FUNCTION stored() RETURNS TABLE (item int, owner text, amount int, cost text, note text, supplier text) LANGUAGE sql
    AS 'SELECT * FROM merges.stock ORDER BY item, owner';
SELECT betweenrows.filter_rows('stock', 'owner = {user.username}', 'merge own');
SELECT betweenrows.mask_column('stock', 'cost', '''mask-'' || right(cost, 1)', 'merge cost');
SELECT betweenrows.deny_columns('stock', '{supplier}', 'merge supplier');

-- The raw view of a superuser.
SELECT * FROM stored();

-- Viewpoint of alice.
SET SESSION AUTHORIZATION merge_alice;

-- Rows that are not visible are not matched; here they are inserted anew as her own.
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item
    WHEN MATCHED THEN UPDATE SET amount = t.amount + s.change
    WHEN NOT MATCHED THEN INSERT (item, amount) VALUES (s.item, -s.change);
TABLE stock ORDER BY item;
RESET SESSION AUTHORIZATION;
SELECT * FROM stored();
ROLLBACK;
SET SESSION AUTHORIZATION merge_alice;
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE;
RESET SESSION AUTHORIZATION;
SELECT * FROM stored();
ROLLBACK;
SET SESSION AUTHORIZATION merge_alice;

-- Functions in the join, in a branch's condition, in SET and VALUES: visible rows and masked values only.
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item AND f_leak(t.cost)
    WHEN MATCHED AND f_leak(t) AND f_leak(t.owner) THEN UPDATE SET amount = 0, note = t.cost
    WHEN MATCHED THEN DO NOTHING;
TABLE stock ORDER BY item;
MERGE INTO stock t USING source s ON true
    WHEN MATCHED AND t.item = s.item AND f_leak(t.cost) THEN DELETE;
TABLE stock ORDER BY item;
ROLLBACK;

-- Probing a masked value by the branch that is taken.
BEGIN;
MERGE INTO stock t USING source s ON t.cost = s.text
    WHEN MATCHED THEN UPDATE SET note = 'guessed ' || s.text
    WHEN NOT MATCHED THEN DO NOTHING;
MERGE INTO stock t USING source s ON t.item = s.item
    WHEN MATCHED AND t.cost = s.text THEN UPDATE SET note = 'guessed ' || s.text
    WHEN MATCHED AND t.cost > 'raw' THEN UPDATE SET note = 'more than raw'
    WHEN MATCHED AND (SELECT t.cost) LIKE 'mask%' THEN UPDATE SET note = 'is ' || (SELECT t.cost);
SELECT item, note FROM stock ORDER BY item;
ROLLBACK;
MERGE INTO stock t USING source s ON t.supplier = s.text WHEN MATCHED THEN DELETE;  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED AND t.supplier IS NULL THEN DELETE;  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET note = t.supplier;  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET supplier = 'x';  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED THEN INSERT (item, supplier) VALUES (1, 'x');  -- fail
-- Positions would be counted without the hidden column.
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED THEN INSERT VALUES (6, 'merge_alice', 1);  -- fail

-- A masked value is not written back, whatever branch does it and whether it is taken.
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET cost = t.cost;  -- fail
MERGE INTO stock t USING source s ON false WHEN MATCHED THEN UPDATE SET cost = '' WHEN NOT MATCHED THEN DO NOTHING;  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED THEN INSERT (item, cost) VALUES (s.item, 'x');  -- fail

-- New rows, inserted or updated, have to be visible.
MERGE INTO stock t USING source s ON t.item = s.item
    WHEN NOT MATCHED THEN INSERT (item, owner) VALUES (s.item, 'merge_bob');  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET owner = 'merge_bob';  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET owner = NULL;  -- fail

-- The table as source, under a view or a CTE, merged into one that everybody reads.
BEGIN;
MERGE INTO source t USING stock s ON t.item = s.item AND f_leak(s.cost)
    WHEN MATCHED AND s.cost LIKE 'mask%' THEN UPDATE SET text = s.cost
    WHEN MATCHED THEN DELETE;
WITH c AS (SELECT * FROM stock) MERGE INTO source t USING c ON false
    WHEN NOT MATCHED THEN INSERT VALUES (c.item * 10, c.amount, c.cost);
TABLE source ORDER BY item;
MERGE INTO source t USING (SELECT s AS row FROM stock s) s ON t.item = (s.row).item
    WHEN MATCHED THEN UPDATE SET text = s.row::text;
SELECT item, text FROM source ORDER BY item;
ROLLBACK;
-- Both at once.
BEGIN;
MERGE INTO stock t USING stock s ON t.item = s.item - 1
    WHEN MATCHED THEN UPDATE SET note = s.cost || t.cost WHEN NOT MATCHED THEN DO NOTHING;
SELECT item, cost, note FROM stock ORDER BY item;
ROLLBACK;

-- In a function, where denied columns read NULL instead of failing, and prepared.
CREATE FUNCTION inside() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    MERGE INTO merges.stock t USING merges.source s ON t.item = s.item
        WHEN MATCHED AND t.supplier IS NOT NULL THEN UPDATE SET note = t.supplier
        WHEN MATCHED THEN UPDATE SET note = 'nothing: ' || coalesce(t.supplier, '') || t.cost;
    RETURN (SELECT string_agg(note, ',' ORDER BY item) FROM merges.stock);
END $$;
BEGIN;
SELECT inside();
ROLLBACK;
CREATE OR REPLACE FUNCTION inside() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    MERGE INTO merges.stock t USING merges.source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET supplier = 'x';
    RETURN 'done';
END $$;
SELECT inside();  -- fail
DROP FUNCTION inside();
PREPARE m (text) AS MERGE INTO stock t USING source s ON t.item = s.item
    WHEN MATCHED AND t.cost = $1 THEN UPDATE SET note = 'found' WHEN NOT MATCHED THEN INSERT (item, note) VALUES (s.item, 'new');
SET plan_cache_mode = force_generic_plan;
BEGIN;
EXECUTE m ('raw-1');
SELECT item, note FROM stock ORDER BY item;
ROLLBACK;
-- Viewpoint of bob: the plan is made anew.
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION merge_bob;
BEGIN;
EXECUTE m ('mask-3');
SELECT item, owner, note FROM stock ORDER BY item;
ROLLBACK;
DEALLOCATE m;
RESET plan_cache_mode;

-- Checks of their own, or none.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('merge own', definition =>
    '{"filter_expression": "owner = {user.username}", "check_expression": "amount < 100"}');
SET SESSION AUTHORIZATION merge_alice;
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item
    WHEN MATCHED THEN UPDATE SET owner = 'merge_bob'
    WHEN NOT MATCHED THEN INSERT (item, owner, amount) VALUES (s.item, 'merge_bob', 99);
TABLE stock;
ROLLBACK;
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET amount = 100;  -- fail

-- Partitions: every part has the checks and the filter.
RESET SESSION AUTHORIZATION;
CREATE TABLE parts (item int, owner text, cost text) PARTITION BY LIST (owner);
CREATE TABLE parts_alice PARTITION OF parts FOR VALUES IN ('merge_alice');
CREATE TABLE parts_rest (cost text, item int, owner text);
ALTER TABLE parts ATTACH PARTITION parts_rest DEFAULT;
INSERT INTO parts VALUES (1, 'merge_alice', 'raw-1'), (2, 'merge_bob', 'raw-2'), (3, NULL, 'raw-3');
GRANT ALL ON parts, parts_alice, parts_rest TO merge_alice;
SELECT betweenrows.filter_rows('parts', 'owner = {user.username} OR item = 3', 'merge parts');
SELECT betweenrows.mask_column('parts', 'cost', '''mask-'' || right(cost, 1)', 'merge parts cost');
SET SESSION AUTHORIZATION merge_alice;
BEGIN;
MERGE INTO parts t USING source s ON t.item = s.item AND f_leak(t.cost)
    WHEN MATCHED AND t.item = 3 THEN UPDATE SET owner = 'merge_alice'
    WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND s.item = 2 THEN INSERT (item, owner) VALUES (22, 'merge_alice');
TABLE parts ORDER BY item;
RESET SESSION AUTHORIZATION;
SELECT tableoid::regclass, * FROM parts ORDER BY item;
ROLLBACK;
SET SESSION AUTHORIZATION merge_alice;
MERGE INTO parts t USING source s ON t.item = s.item WHEN MATCHED AND t.item = 1 THEN UPDATE SET owner = 'merge_bob';  -- fail
MERGE INTO parts t USING source s ON t.item = s.item
    WHEN NOT MATCHED THEN INSERT (item, owner) VALUES (s.item, 'merge_bob');  -- fail

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'merge %' ORDER BY name;
DROP SCHEMA merges CASCADE;
DROP ROLE merge_alice, merge_bob;
