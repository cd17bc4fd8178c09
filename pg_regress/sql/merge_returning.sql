-- From 17 MERGE has RETURNING, acts on rows that the source does not have, and goes through views: three more places that
-- read the target. A hidden row that "WHEN NOT MATCHED BY SOURCE" deletes, a raw value in RETURNING or a view's base table
-- without its filter would be a leak or a loss. alice sees her own stock, costs are masked, suppliers do not exist.
SELECT current_setting('server_version_num')::int < 170000 AS too_old \gset
\if :too_old
\quit
\endif
CREATE ROLE mr_alice LOGIN;
CREATE ROLE mr_bob LOGIN;
CREATE SCHEMA mr;
GRANT ALL ON SCHEMA mr TO mr_alice, mr_bob;
SET search_path = mr;
CREATE TABLE stock (item int, owner text DEFAULT CURRENT_USER, amount int, cost text DEFAULT 'raw-0', supplier text, note text);
INSERT INTO stock VALUES (1, 'mr_alice', 10, 'raw-1', 's1', 'n1'), (2, 'mr_alice', 20, 'raw-2', 's2', 'n2'),
    (3, 'mr_bob', 30, 'raw-3', 's3', 'n3'), (4, NULL, 40, 'raw-4', 's4', 'n4');
CREATE TABLE source (item int, text text);
INSERT INTO source VALUES (1, 'raw-1'), (3, 'raw-3'), (5, 'raw-5');
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE FUNCTION stored() RETURNS TABLE (item int, owner text, amount int, cost text, supplier text, note text) LANGUAGE sql
    AS 'SELECT * FROM mr.stock ORDER BY item, owner';
-- Views of a superuser and of alice; over the table, with a barrier, with a check, with an INSTEAD OF trigger.
CREATE VIEW plain AS SELECT item, owner, amount, cost, note FROM stock;
CREATE VIEW barrier WITH (security_barrier) AS SELECT item, owner, amount, cost FROM stock WHERE amount > 0;
CREATE VIEW checked AS SELECT item, owner, amount FROM stock WHERE amount < 50 WITH CHECK OPTION;
CREATE VIEW named AS SELECT item, amount FROM stock;
CREATE VIEW instead AS SELECT item, cost FROM stock;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'instead: % %', OLD, NEW; RETURN NEW; END $$;
CREATE TRIGGER instead INSTEAD OF UPDATE ON instead FOR EACH ROW EXECUTE FUNCTION instead();
GRANT ALL ON ALL TABLES IN SCHEMA mr TO mr_alice, mr_bob;
SET SESSION AUTHORIZATION mr_alice;
CREATE VIEW own WITH (security_invoker) AS SELECT * FROM stock;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('stock', 'owner = {user.username}', 'mr own');
SELECT betweenrows.mask_column('stock', 'cost', '''mask-'' || right(cost, 1)', 'mr cost');
SELECT betweenrows.deny_columns('stock', '{supplier}', 'mr supplier');
SELECT betweenrows.filter_rows('named', 'amount > 0', 'mr named');

-- The raw view of a superuser.
SELECT * FROM stored();

-- Viewpoint of alice.
SET SESSION AUTHORIZATION mr_alice;

-- RETURNING: visible columns, masked values, both sides of the join, whole rows.
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item
    WHEN MATCHED THEN UPDATE SET amount = t.amount + 1
    WHEN NOT MATCHED THEN INSERT (item, amount) VALUES (s.item, 0)
    RETURNING merge_action(), t.*, s.*;
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE RETURNING *;
ROLLBACK;
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item AND t.item = 1 WHEN MATCHED THEN UPDATE SET note = t.cost
    RETURNING t.cost, length(t.cost), t, row_to_json(t), (t).cost, t.cost = s.text AS guessed, f_leak(t), t.tableoid::regclass;
ROLLBACK;
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE RETURNING t.supplier;  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE RETURNING (SELECT supplier);  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE RETURNING (t).supplier;  -- fail

-- In a CTE, and through it.
BEGIN;
WITH gone AS (MERGE INTO stock t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE RETURNING t.*)
    SELECT * FROM gone WHERE f_leak(cost);
ROLLBACK;

-- Rows that the source does not have: her own row 2 only; the hidden 3 and 4 stay.
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item AND f_leak(t.cost)
    WHEN NOT MATCHED BY SOURCE AND f_leak(t) THEN DELETE
    RETURNING merge_action(), t.*;
RESET SESSION AUTHORIZATION;
SELECT * FROM stored();
ROLLBACK;
SET SESSION AUTHORIZATION mr_alice;
BEGIN;
MERGE INTO stock t USING source s ON t.item = s.item
    WHEN NOT MATCHED BY SOURCE THEN UPDATE SET note = 'probed ' || t.cost
    WHEN NOT MATCHED BY TARGET THEN INSERT (item, note) VALUES (s.item, 'new')
    WHEN MATCHED AND t.cost = s.text THEN UPDATE SET note = 'guessed'
    WHEN MATCHED THEN DO NOTHING
    RETURNING merge_action(), t.item, t.note;
ROLLBACK;
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED BY SOURCE AND t.supplier = 's2' THEN DELETE;  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED BY SOURCE THEN UPDATE SET cost = 'x';  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED BY SOURCE THEN UPDATE SET supplier = 'x';  -- fail
MERGE INTO stock t USING source s ON t.item = s.item WHEN NOT MATCHED BY SOURCE THEN UPDATE SET owner = 'mr_bob';  -- fail

-- As the source.
BEGIN;
MERGE INTO source t USING stock s ON t.item = s.item
    WHEN NOT MATCHED BY SOURCE THEN DELETE
    WHEN MATCHED THEN UPDATE SET text = s.cost
    WHEN NOT MATCHED THEN INSERT VALUES (s.item, s.cost)
    RETURNING merge_action(), t.*, s.*, s;
ROLLBACK;

-- Through views: the table's filter, masks and checks hold, with whose rights ever it is read.
BEGIN;
MERGE INTO plain t USING source s ON t.item = s.item AND f_leak(t.cost)
    WHEN MATCHED THEN UPDATE SET note = t.cost
    WHEN NOT MATCHED BY SOURCE THEN DELETE
    RETURNING merge_action(), t.*;
RESET SESSION AUTHORIZATION;
SELECT * FROM stored();
ROLLBACK;
SET SESSION AUTHORIZATION mr_alice;
BEGIN;
MERGE INTO barrier t USING source s ON t.item = s.item AND f_leak(t.cost)
    WHEN MATCHED AND t.cost LIKE 'mask%' THEN UPDATE SET amount = 11
    WHEN NOT MATCHED THEN INSERT (item, amount) VALUES (s.item, 1)
    RETURNING merge_action(), t.*, t;
MERGE INTO own t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE
    WHEN NOT MATCHED BY SOURCE THEN UPDATE SET note = t.cost RETURNING merge_action(), t.*;
MERGE INTO checked t USING source s ON t.item = s.item WHEN NOT MATCHED BY SOURCE THEN UPDATE SET amount = 49
    RETURNING t.*;
ROLLBACK;
MERGE INTO plain t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET cost = t.cost;  -- fail
MERGE INTO plain t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET owner = 'mr_bob';  -- fail
MERGE INTO plain t USING source s ON false WHEN NOT MATCHED THEN INSERT (item, owner) VALUES (9, 'mr_bob');  -- fail
MERGE INTO checked t USING source s ON t.item = s.item WHEN NOT MATCHED BY SOURCE THEN UPDATE SET amount = 50;  -- fail
-- A view that is governed by its name, and one whose trigger would be fed with masked rows.
MERGE INTO named t USING source s ON t.item = s.item WHEN MATCHED THEN DELETE;  -- fail
MERGE INTO instead t USING source s ON t.item = s.item WHEN MATCHED THEN UPDATE SET cost = 'x';  -- fail

-- Prepared, then for bob.
PREPARE m AS MERGE INTO stock t USING source s ON t.item = s.item
    WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN MATCHED THEN UPDATE SET note = t.cost RETURNING merge_action(), t.*;
SET plan_cache_mode = force_generic_plan;
BEGIN;
EXECUTE m;
ROLLBACK;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION mr_bob;
BEGIN;
EXECUTE m;
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT * FROM stored();

SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'mr %' ORDER BY name;
DROP SCHEMA mr CASCADE;
DROP ROLE mr_alice, mr_bob;
