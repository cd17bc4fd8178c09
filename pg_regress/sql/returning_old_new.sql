-- From 18 RETURNING has OLD and NEW: the row before and after, of every statement that writes. They are references to the
-- target with a mark; a rewriting that looks at references without it would return raw values and hidden columns, for rows
-- that the statement itself just wrote. Generated columns can be virtual from 18: they are expanded after the rewriting.
SELECT current_setting('server_version_num')::int < 180000 AS too_old \gset
\if :too_old
\quit
\endif
CREATE ROLE ron_alice LOGIN;
CREATE SCHEMA ron;
GRANT ALL ON SCHEMA ron TO ron_alice;
SET search_path = ron;
CREATE TABLE pay (id int PRIMARY KEY, owner text DEFAULT CURRENT_USER, amount int, card text DEFAULT 'raw-0', secret text DEFAULT 'hidden',
    last text GENERATED ALWAYS AS (right(card, 1)) VIRTUAL, twice int GENERATED ALWAYS AS (amount * 2) VIRTUAL);
INSERT INTO pay VALUES (1, 'ron_alice', 10, 'raw-1', 's1'), (2, 'ron_alice', 20, 'raw-2', 's2'), (3, 'ron_bob', 30, 'raw-3', 's3');
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE VIEW through AS SELECT id, owner, amount, card FROM pay;
GRANT ALL ON pay, through TO ron_alice;
SELECT betweenrows.filter_rows('pay', 'owner = {user.username}', 'ron own');
SELECT betweenrows.mask_column('pay', 'card', '''mask-'' || right(card, 1)', 'ron card');
SELECT betweenrows.deny_columns('pay', '{secret}', 'ron secret');

-- The raw view of a superuser.
BEGIN;
UPDATE pay SET amount = amount + 1 RETURNING OLD.*, NEW.*;
ROLLBACK;

-- Viewpoint of alice.
SET SESSION AUTHORIZATION ron_alice;
BEGIN;
UPDATE pay SET amount = amount + 1 RETURNING OLD.*, NEW.*;
UPDATE pay SET amount = amount + 1 WHERE id = 1 RETURNING *, OLD, NEW, OLD.card, NEW.card, card;
UPDATE pay SET amount = amount + 1 WHERE id = 1
    RETURNING row_to_json(OLD), to_jsonb(NEW), (OLD).card, f_leak(OLD), f_leak(NEW.card), OLD.last, NEW.twice, OLD IS NULL AS no_old;
UPDATE pay SET amount = amount + 1 WHERE id = 1
    RETURNING WITH (OLD AS before, NEW AS after) before.card, after.card, (SELECT before.card || after.card), before.card = after.card AS same;
DELETE FROM pay WHERE id = 1 RETURNING OLD.*, NEW.*, NEW IS NULL AS no_new;
INSERT INTO pay (id, amount) VALUES (7, 70) RETURNING OLD.*, NEW.*, OLD IS NULL AS no_old;
ROLLBACK;
UPDATE pay SET amount = 0 RETURNING OLD.secret;  -- fail
UPDATE pay SET amount = 0 RETURNING NEW.secret;  -- fail
UPDATE pay SET amount = 0 RETURNING (OLD).secret;  -- fail
UPDATE pay SET amount = 0 RETURNING WITH (OLD AS o) o.secret;  -- fail
DELETE FROM pay RETURNING (SELECT OLD.secret);  -- fail

-- ON CONFLICT, where OLD is the row that was in the way.
BEGIN;
INSERT INTO pay (id, amount) VALUES (1, 1), (8, 8) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount
    RETURNING OLD.*, NEW.*, OLD, NEW.card = 'raw-1' AS guessed;
ROLLBACK;
INSERT INTO pay (id, amount) VALUES (3, 1) ON CONFLICT (id) DO UPDATE SET amount = 0 RETURNING OLD.*;  -- fail

-- MERGE, in a CTE too.
BEGIN;
MERGE INTO pay t USING (VALUES (1), (3), (9)) s (id) ON t.id = s.id AND f_leak(t.card)
    WHEN MATCHED THEN UPDATE SET amount = -t.amount
    WHEN NOT MATCHED AND s.id = 9 THEN INSERT (id, amount) VALUES (s.id, 0)
    WHEN NOT MATCHED BY SOURCE THEN DELETE
    RETURNING merge_action(), OLD.*, NEW.*, OLD.card || NEW.card;
ROLLBACK;
BEGIN;
WITH changed AS (UPDATE pay SET amount = 5 RETURNING OLD AS before, NEW AS after)
    SELECT (before).card, (after).amount, before FROM changed ORDER BY 1;
ROLLBACK;

-- Through a view: OLD and NEW are the view's row.
BEGIN;
UPDATE through SET amount = amount * 2 RETURNING OLD.*, NEW.*, OLD;
DELETE FROM through RETURNING OLD.card, NEW.card;
ROLLBACK;

-- In a function the denied column is NULL. Prepared, the plan is made anew when the mask changes.
CREATE FUNCTION inside() RETURNS TABLE (before text, after text, hidden text) LANGUAGE sql
    AS 'UPDATE ron.pay SET amount = 1 WHERE id = 1 RETURNING OLD.card, NEW.card, OLD.secret';
PREPARE change AS UPDATE pay SET amount = 1 WHERE id = 1 RETURNING OLD.card, NEW.card;
SET plan_cache_mode = force_generic_plan;
BEGIN;
SELECT * FROM inside();
EXECUTE change;
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('ron card', definition => '{"mask_expression": "''changed''"}');
SET SESSION AUTHORIZATION ron_alice;
BEGIN;
SELECT * FROM inside();
EXECUTE change;
ROLLBACK;

RESET SESSION AUTHORIZATION;
TABLE pay ORDER BY id;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'ron %' ORDER BY name;
DROP SCHEMA ron CASCADE;
DROP ROLE ron_alice;
