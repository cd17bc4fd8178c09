-- Writing through views: the rewriter replaces an updatable view by its table, so that the view's own policies would vanish
-- and the table's have to hold; INSTEAD OF triggers and rules get rows that were read masked and could write them back.
CREATE ROLE upviews_alice LOGIN;
CREATE ROLE upviews_bob LOGIN;
CREATE ROLE upviews_owner;
CREATE SCHEMA upviews;
GRANT ALL ON SCHEMA upviews TO upviews_alice, upviews_bob, upviews_owner;
SET search_path = upviews;
CREATE TABLE base (id int PRIMARY KEY, owner text DEFAULT SESSION_USER, amount int DEFAULT 1, code text DEFAULT 'raw-0', rate int DEFAULT 5);
INSERT INTO base VALUES
    (1, 'upviews_alice', 10, 'raw-1', 11), (2, 'upviews_alice', 20, 'raw-2', 22),
    (3, 'upviews_bob', 30, 'raw-3', 33), (4, NULL, 40, 'raw-4', 44);
CREATE VIEW plain AS SELECT id, owner, amount, code AS secret, rate FROM base;
CREATE VIEW narrow AS SELECT id, amount FROM base WHERE code LIKE 'raw%';
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM base WHERE code = 'raw-1' OR code = 'raw-3';
CREATE VIEW checked AS SELECT * FROM base WHERE amount < 100 WITH CHECK OPTION;
CREATE VIEW invoker WITH (security_invoker) AS SELECT * FROM base;
CREATE VIEW twice AS SELECT * FROM plain WHERE amount < 50 WITH CASCADED CHECK OPTION;
CREATE VIEW by_name AS SELECT id, owner, amount, code FROM base;
CREATE VIEW over_by_name AS SELECT * FROM by_name;
CREATE VIEW open AS SELECT * FROM base;
ALTER VIEW open OWNER TO upviews_owner;
GRANT ALL ON ALL TABLES IN SCHEMA upviews TO upviews_alice, upviews_bob, upviews_owner;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('base', 'owner = {user.username}', 'upviews own');
SELECT betweenrows.mask_column('base', 'code', '''mask-'' || right(code, 1)', 'upviews code');
SELECT betweenrows.deny_columns('base', '{rate}', 'upviews rate');
SELECT betweenrows.filter_rows('by_name', 'amount < 20', 'upviews by name');
-- The raw view of a superuser.
TABLE base ORDER BY id;

-- Viewpoint of alice. The view's columns are hers to name, what hides behind them is not: a denied one reads NULL.
SET SESSION AUTHORIZATION upviews_alice;
TABLE plain ORDER BY id;
BEGIN;
UPDATE plain SET amount = amount + 1 RETURNING *;
UPDATE plain p SET amount = 0 WHERE f_leak(p) AND f_leak(secret) RETURNING p, secret, rate;
UPDATE plain SET amount = 7 WHERE secret = 'raw-1' RETURNING id;
UPDATE plain SET amount = length(secret) RETURNING id, amount;
UPDATE plain SET amount = rate RETURNING id, amount;
DELETE FROM plain WHERE id > 1 RETURNING *;
INSERT INTO plain (id, amount) VALUES (10, 10) RETURNING *;
INSERT INTO plain (id) VALUES (10) ON CONFLICT (id) DO UPDATE SET amount = length(plain.secret) + excluded.amount RETURNING *;
ROLLBACK;
UPDATE plain SET secret = 'x';  -- fail
UPDATE plain SET rate = 1;  -- fail
UPDATE plain SET owner = 'upviews_bob';  -- fail
INSERT INTO plain (id, owner) VALUES (10, 'upviews_bob');  -- fail
INSERT INTO plain (id, secret) VALUES (10, 'x') ON CONFLICT (secret) DO NOTHING;  -- fail
INSERT INTO plain (id) VALUES (3) ON CONFLICT (id) DO UPDATE SET owner = 'upviews_alice' RETURNING *;  -- fail

-- A view's own condition works on what its reader may see, raw values of masked columns are not for probing.
BEGIN;
UPDATE narrow SET amount = 0 RETURNING *;
UPDATE barrier SET amount = 0 WHERE f_leak(code) RETURNING id;
DELETE FROM barrier WHERE f_leak(id);
SELECT id, amount FROM base ORDER BY id;
ROLLBACK;

-- CHECK OPTION: its message does not show the row.
BEGIN;
UPDATE checked SET amount = 99 RETURNING *;
SAVEPOINT s;
UPDATE checked SET amount = 100 WHERE id = 1;  -- fail
ROLLBACK TO s;
INSERT INTO checked (id, amount) VALUES (12, 100);  -- fail
ROLLBACK TO s;
INSERT INTO checked (id, owner) VALUES (12, 'upviews_bob');  -- fail
ROLLBACK TO s;
UPDATE checked SET amount = 20;
UPDATE twice SET amount = 10 RETURNING *;
UPDATE twice SET amount = 50 RETURNING *;  -- fail
ROLLBACK TO s;
UPDATE invoker SET amount = 1 WHERE f_leak(code) RETURNING *;
UPDATE invoker SET code = 'x';  -- fail
ROLLBACK;

-- The owner of the view does not matter.
BEGIN;
UPDATE open SET amount = 5 RETURNING *;
ROLLBACK;
UPDATE open SET code = 'x';  -- fail

-- A view that is governed by its own name cannot be written through, at any distance.
SELECT * FROM by_name ORDER BY id;
UPDATE by_name SET amount = 1;  -- fail
DELETE FROM by_name;  -- fail
INSERT INTO by_name (id) VALUES (10);  -- fail
INSERT INTO by_name (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET amount = 1;  -- fail
UPDATE over_by_name SET amount = 1;  -- fail
DELETE FROM over_by_name USING base b WHERE b.id = over_by_name.id;  -- fail
WITH w AS (DELETE FROM by_name RETURNING *) SELECT * FROM w;  -- fail

-- Viewpoint of bob.
SET SESSION AUTHORIZATION upviews_bob;
BEGIN;
UPDATE plain SET amount = amount + 1 RETURNING *;
UPDATE twice SET amount = 0 RETURNING *;
ROLLBACK;

-- INSTEAD OF triggers get OLD as the view's reader sees it: a trigger that writes it back would store masks.
RESET SESSION AUTHORIZATION;
CREATE VIEW joined AS SELECT b.id, b.owner, b.amount, b.code, b.rate, 1 AS one FROM base b JOIN (SELECT 1 AS x) d ON true;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = upviews, pg_temp AS $$
BEGIN
    RAISE NOTICE '% old %, new %', TG_OP, OLD, NEW;
    IF TG_OP = 'UPDATE' THEN
        UPDATE base SET amount = NEW.amount, code = NEW.code WHERE id = NEW.id;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM base WHERE id = OLD.id;
    ELSE
        INSERT INTO base (id, amount) VALUES (NEW.id, NEW.amount);
    END IF;
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE ON joined FOR EACH ROW EXECUTE FUNCTION instead();
GRANT ALL ON joined TO upviews_alice, upviews_bob;
SET SESSION AUTHORIZATION upviews_alice;
SELECT * FROM joined ORDER BY id;
BEGIN;
INSERT INTO joined (id, amount) VALUES (10, 3);
SELECT id, owner FROM base ORDER BY id;
ROLLBACK;
UPDATE joined SET amount = 0;  -- fail
DELETE FROM joined;  -- fail
UPDATE joined SET amount = 0 WHERE id = 3;  -- fail
-- Nothing is masked in this one.
RESET SESSION AUTHORIZATION;
CREATE VIEW tame AS SELECT j.id, j.owner, j.amount, 1 AS one FROM (base b JOIN (SELECT 1 AS x) d ON true) AS j;
CREATE FUNCTION tame() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = upviews, pg_temp AS $$
BEGIN
    RAISE NOTICE '% old %, new %', TG_OP, OLD, NEW;
    UPDATE base SET amount = NEW.amount WHERE id >= NEW.id;
    RETURN NEW;
END $$;
CREATE TRIGGER tame INSTEAD OF UPDATE ON tame FOR EACH ROW EXECUTE FUNCTION tame();
GRANT ALL ON tame TO upviews_alice, upviews_bob;
SET SESSION AUTHORIZATION upviews_alice;
BEGIN;
UPDATE tame SET amount = -1 WHERE f_leak(tame) RETURNING *;
RESET SESSION AUTHORIZATION;
SELECT id, amount FROM base ORDER BY id;
ROLLBACK;
RESET SESSION AUTHORIZATION;

-- Rules: what they do is done for the subject, OLD and NEW are what the subject reads and writes.
CREATE TABLE log (what text, id int, old text, new text);
GRANT ALL ON log TO upviews_alice;
CREATE TABLE ruled (id int, owner text, code text, rate text);
INSERT INTO ruled VALUES (1, 'upviews_alice', 'raw-1', 'r1'), (2, 'upviews_bob', 'raw-2', 'r2');
GRANT ALL ON ruled TO upviews_alice;
CREATE RULE also AS ON UPDATE TO ruled DO ALSO INSERT INTO log VALUES ('also ' || OLD.rate, OLD.id, OLD.code, NEW.code);
CREATE RULE gone AS ON DELETE TO ruled DO INSTEAD UPDATE ruled SET owner = owner WHERE id = OLD.id RETURNING OLD.*;
CREATE RULE conditional AS ON UPDATE TO ruled WHERE OLD.code = 'raw-1' DO INSTEAD INSERT INTO log VALUES ('raw', OLD.id, OLD.code, '');
SELECT betweenrows.filter_rows('ruled', 'owner = {user.username}', 'upviews ruled');
SELECT betweenrows.mask_column('ruled', 'code', '''mask-'' || right(code, 1)', 'upviews ruled code');
SELECT betweenrows.deny_columns('ruled', '{rate}', 'upviews ruled rate');
SET SESSION AUTHORIZATION upviews_alice;
BEGIN;
UPDATE ruled SET owner = owner;
SELECT * FROM log ORDER BY 1, 2;
ROLLBACK;
RESET SESSION AUTHORIZATION;
DROP RULE also ON ruled;
DROP RULE conditional ON ruled;
SET SESSION AUTHORIZATION upviews_alice;
DELETE FROM ruled RETURNING *;
DELETE FROM ruled WHERE code = 'raw-1' RETURNING code;
-- A rule of a view that nobody else governs.
RESET SESSION AUTHORIZATION;
CREATE VIEW by_rule AS SELECT id, owner, code, count(*) FROM base GROUP BY id, owner, code;
CREATE RULE write AS ON UPDATE TO by_rule DO INSTEAD UPDATE base SET amount = 0 WHERE id = OLD.id RETURNING id, owner, code, 0::bigint;
CREATE RULE copy AS ON DELETE TO by_rule DO INSTEAD INSERT INTO log SELECT 'deleted', OLD.id, OLD.code, b.code FROM base b;
CREATE RULE back AS ON INSERT TO by_rule DO INSTEAD UPDATE base SET code = 'x';
GRANT ALL ON by_rule TO upviews_alice;
SET SESSION AUTHORIZATION upviews_alice;
BEGIN;
UPDATE by_rule SET owner = '' WHERE f_leak(code) RETURNING *;
DELETE FROM by_rule;
SELECT * FROM log ORDER BY 1, 2, 3, 4;
ROLLBACK;
INSERT INTO by_rule (id) VALUES (1);  -- fail

RESET SESSION AUTHORIZATION;
TABLE base ORDER BY id;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'upviews %' ORDER BY name;
DROP SCHEMA upviews CASCADE;
DROP ROLE upviews_alice, upviews_bob, upviews_owner;
