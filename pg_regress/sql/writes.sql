-- INSERT, UPDATE and DELETE: a write reads rows, compares values and returns them. alice and bob see their own accounts,
-- pins are masked, what an account is rated does not exist; notes may be written although they are read masked.
CREATE ROLE writes_alice LOGIN;
CREATE ROLE writes_bob LOGIN;
CREATE SCHEMA writes;
GRANT ALL ON SCHEMA writes TO writes_alice, writes_bob;
SET search_path = writes;
CREATE TABLE accounts (
    id int PRIMARY KEY, owner text DEFAULT CURRENT_USER, balance int DEFAULT 0, pin text DEFAULT 'raw-0',
    note text, rating int DEFAULT 7, gone text);
INSERT INTO accounts VALUES
    (1, 'writes_alice', 100, 'raw-1', 'n1', 10, ''), (2, 'writes_alice', 200, 'raw-2', 'n2', 20, ''),
    (3, 'writes_bob', 300, 'raw-3', 'n3', 30, ''), (4, 'writes_bob', 400, 'raw-4', 'n4', 40, ''),
    (5, NULL, 500, 'raw-5', 'n5', 50, '');
-- A dropped column, so that attribute numbers are no positions.
ALTER TABLE accounts DROP COLUMN gone, ADD COLUMN late text DEFAULT 'l';
CREATE TABLE scratch (id int, t text);
CREATE TABLE moves (account int, amount int, day int);
INSERT INTO moves SELECT a, d, d FROM generate_series(1, 5) a, generate_series(1, 2) d;
GRANT ALL ON ALL TABLES IN SCHEMA writes TO writes_alice, writes_bob;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('accounts', 'owner = {user.username}', 'writes own');
SELECT betweenrows.mask_column('accounts', 'pin', '''mask-'' || right(pin, 1)', 'writes pin');
SELECT betweenrows.mask_column('accounts', 'note', 'upper(note)', 'writes note');
SELECT betweenrows.alter_policy('writes note', definition => '{"mask_expression": "upper(note)", "writable": true}');
SELECT betweenrows.deny_columns('accounts', '{rating}', 'writes rating');

-- The raw view of a superuser.
TABLE accounts ORDER BY id;

-- Viewpoint of alice.
SET SESSION AUTHORIZATION writes_alice;

-- RETURNING reads the rows that were written: columns, whole rows, system columns, subqueries, functions.
BEGIN;
UPDATE accounts SET balance = balance + 1 RETURNING *;
UPDATE accounts SET balance = balance + 1 RETURNING accounts, accounts.*, (accounts).pin, tableoid::regclass, ctid IS NULL;
UPDATE accounts a SET balance = balance + 1 RETURNING row_to_json(a), f_leak(a), f_leak(pin);
UPDATE accounts SET balance = 0 RETURNING (SELECT string_agg(x.pin, ',' ORDER BY id) FROM accounts x), accounts IS NULL;
UPDATE accounts SET balance = 0 RETURNING rating;  -- fail
ROLLBACK;
DELETE FROM accounts WHERE id = 1 RETURNING rating;  -- fail
BEGIN;
DELETE FROM accounts RETURNING *, accounts;
SELECT count(*) FROM accounts;
RESET SESSION AUTHORIZATION;
SELECT id, owner FROM accounts ORDER BY id;
ROLLBACK;
SET SESSION AUTHORIZATION writes_alice;

-- Rows that are not visible are not found, whatever names them; the count of a command does not tell either.
BEGIN;
\set QUIET off
UPDATE accounts SET balance = -1 WHERE id = 3;
UPDATE accounts SET balance = -1 WHERE owner = 'writes_bob' RETURNING *;
UPDATE accounts SET balance = -1 WHERE owner IS NULL RETURNING *;
UPDATE accounts SET balance = -1 WHERE ctid = '(0,3)';
UPDATE accounts SET balance = -1 WHERE id IN (SELECT account FROM moves) RETURNING id;
DELETE FROM accounts WHERE id > 2;
DELETE FROM accounts USING moves WHERE account = id AND owner <> 'writes_alice';
UPDATE ONLY accounts SET balance = 0 WHERE id = 4;
\set QUIET on
ROLLBACK;

-- Functions of the statement run for visible rows only, and see masked values only.
BEGIN;
UPDATE accounts SET balance = 1 WHERE f_leak(pin) AND f_leak(owner);
UPDATE accounts SET balance = 2 FROM moves WHERE account = id AND f_leak(pin);
DELETE FROM accounts USING moves WHERE f_leak(pin) AND account = id AND id = 1;
DELETE FROM accounts a USING accounts b WHERE a.id = b.id AND f_leak(b.pin) AND f_leak(a);
ROLLBACK;

-- Probing a masked value by what is found.
BEGIN;
\set QUIET off
UPDATE accounts SET balance = 0 WHERE pin = 'raw-1';
UPDATE accounts SET balance = 0 WHERE pin = 'mask-1' RETURNING id;
DELETE FROM accounts WHERE pin > 'raw';
UPDATE accounts SET balance = 0 FROM (VALUES ('raw-1'), ('mask-2')) v (p) WHERE pin = p RETURNING id;
UPDATE accounts SET balance = CASE WHEN pin LIKE 'raw%' THEN 1 ELSE 2 END RETURNING id, balance;
\set QUIET on
ROLLBACK;

-- Copying a masked or hidden value into a column that can be read.
BEGIN;
UPDATE accounts SET late = pin RETURNING id, late;
UPDATE accounts SET late = rating;  -- fail
ROLLBACK;
BEGIN;
UPDATE accounts a SET (late, balance) = (SELECT b.pin, a.balance + 1 FROM accounts b WHERE b.id = a.id) RETURNING id, late;
UPDATE accounts a SET late = (SELECT max(pin) FROM accounts) RETURNING id, late;
UPDATE accounts a SET late = to_json(a)::text RETURNING late;
INSERT INTO scratch SELECT id, pin FROM accounts RETURNING *;
INSERT INTO scratch SELECT 1, accounts::text FROM accounts RETURNING *;
WITH w AS (UPDATE accounts SET balance = 5 RETURNING pin, id) INSERT INTO scratch SELECT id, pin FROM w RETURNING *;
WITH w AS (DELETE FROM accounts RETURNING accounts AS whole) SELECT (whole).pin, (whole).owner FROM w;
ROLLBACK;

-- A masked value must not be written back, which would destroy what it masks; a hidden column cannot be named.
UPDATE accounts SET pin = pin;  -- fail
UPDATE accounts SET pin = 'guess' WHERE false;  -- fail
UPDATE accounts SET pin = DEFAULT;  -- fail
UPDATE accounts SET (balance, pin) = (1, 'x');  -- fail
UPDATE accounts SET rating = 1;  -- fail
UPDATE accounts SET late = 'x', rating = DEFAULT;  -- fail
INSERT INTO accounts (id, pin) VALUES (10, 'x');  -- fail
INSERT INTO accounts (id, pin) VALUES (10, DEFAULT);  -- fail
INSERT INTO accounts (id, rating) VALUES (10, 1);  -- fail
-- Positions would be counted without the hidden column.
INSERT INTO accounts VALUES (10, 'writes_alice');  -- fail
INSERT INTO accounts SELECT 10;  -- fail
TABLE accounts;

-- A writable mask takes what is written, and still shows it masked.
BEGIN;
UPDATE accounts SET note = 'new' WHERE id = 1 RETURNING id, note;
INSERT INTO accounts (id, note) VALUES (10, 'ten') RETURNING id, note, pin;
RESET SESSION AUTHORIZATION;
SELECT id, owner, pin, note, rating FROM accounts ORDER BY id;
ROLLBACK;
SET SESSION AUTHORIZATION writes_alice;

-- New rows have to be rows that the writer may see. NULL is not true.
INSERT INTO accounts (id, owner) VALUES (10, 'writes_bob');  -- fail
INSERT INTO accounts (id, owner) VALUES (10, NULL);  -- fail
INSERT INTO accounts (id, owner) VALUES (10, 'writes_alice'), (11, 'writes_bob');  -- fail
INSERT INTO accounts (id, owner) SELECT account + 10, 'writes_bob' FROM moves WHERE day = 1;  -- fail
UPDATE accounts SET owner = 'writes_bob' WHERE id = 1;  -- fail
UPDATE accounts SET owner = NULL RETURNING *;  -- fail
UPDATE accounts SET owner = owner RETURNING id;
WITH w AS (INSERT INTO accounts (id, owner) VALUES (10, 'writes_bob') RETURNING *) SELECT * FROM w;  -- fail
-- No row is made, no row is checked.
INSERT INTO accounts (id, owner) SELECT 10, 'writes_bob' WHERE false;
BEGIN;
INSERT INTO accounts (id) VALUES (10), (11) RETURNING *;
INSERT INTO accounts (id) SELECT id + 20 FROM accounts WHERE id < 3 RETURNING id, owner, pin;
ROLLBACK;

-- A default is part of the row: a subject finds out its own row's only.
BEGIN;
INSERT INTO accounts (id) VALUES (10) RETURNING pin;
ROLLBACK;

-- What errors say is cleaned in every state of a transaction: after an error in it, after a savepoint, after its end.
BEGIN;
SAVEPOINT s;
INSERT INTO accounts (id, owner) VALUES (NULL, 'writes_alice');  -- fail
ROLLBACK TO s;
INSERT INTO accounts (id, owner) VALUES (NULL, 'writes_alice');  -- fail
SELECT 1;  -- fail
ROLLBACK TO s;
INSERT INTO accounts (id) VALUES (1);  -- fail
ROLLBACK;
BEGIN;
SELECT 1 / 0;  -- fail
SELECT 1;  -- fail
ROLLBACK;
INSERT INTO accounts (id, owner) VALUES (NULL, 'writes_alice');  -- fail

-- Prepared writes with parameters, generic and custom.
BEGIN;
PREPARE p (int, text) AS UPDATE accounts SET balance = $1 WHERE pin = $2 RETURNING id, pin;
SET plan_cache_mode = force_generic_plan;
EXECUTE p (1, 'raw-1');
EXECUTE p (1, 'mask-1');
SET plan_cache_mode = force_custom_plan;
EXECUTE p (1, 'raw-1');
EXECUTE p (1, 'mask-1');
RESET plan_cache_mode;
DEALLOCATE p;
ROLLBACK;

-- Viewpoint of bob: the same statements, other rows.
SET SESSION AUTHORIZATION writes_bob;
BEGIN;
UPDATE accounts SET balance = 0 RETURNING *;
DELETE FROM accounts WHERE id < 3 RETURNING id;
ROLLBACK;

-- An expression of its own for new rows, or none.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('writes own', definition =>
    '{"filter_expression": "owner = {user.username}", "check_expression": "balance < 1000 AND owner <> ''nobody''"}');
SET SESSION AUTHORIZATION writes_alice;
BEGIN;
INSERT INTO accounts (id, owner, balance) VALUES (12, 'writes_bob', 1);
UPDATE accounts SET owner = 'writes_bob', balance = 999 WHERE id = 1;
SELECT id FROM accounts ORDER BY id;
SAVEPOINT s;
INSERT INTO accounts (id, balance) VALUES (13, 1000);  -- fail
ROLLBACK TO s;
UPDATE accounts SET balance = 1000;  -- fail
ROLLBACK TO s;
INSERT INTO accounts (id, owner) VALUES (13, NULL);  -- fail, NULL is not true
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('writes own', definition => '{"filter_expression": "owner = {user.username}", "check": "none"}');
SET SESSION AUTHORIZATION writes_alice;
BEGIN;
INSERT INTO accounts (id, owner, balance) VALUES (12, 'writes_bob', 2000);
UPDATE accounts SET owner = NULL WHERE id = 1;
UPDATE accounts SET balance = 1 WHERE id = 12;
SELECT id FROM accounts ORDER BY id;
ROLLBACK;

-- A check sees raw values: what the writer reads masked does not get by. A filter on a masked column works on what is stored.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('writes own', definition =>
    '{"filter_expression": "note LIKE ''n%''", "check_expression": "note LIKE ''n%''"}');
SET SESSION AUTHORIZATION writes_alice;
BEGIN;
SELECT id, note FROM accounts ORDER BY id;
UPDATE accounts SET note = 'nn' WHERE id = 1 RETURNING id, note;
UPDATE accounts SET note = note WHERE id = 2;  -- fail, N2
ROLLBACK;

-- Triggers see the row as it is stored: they belong to the table. What they do is done by the subject.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('writes own', definition => '{"filter_expression": "owner = {user.username}"}');
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN NEW.late := 'stamped'; NEW.owner := coalesce(NEW.owner, 'writes_bob'); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE FUNCTION count_them() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE '% sees % accounts, pins %', session_user, (SELECT count(*) FROM accounts),
        (SELECT string_agg(pin, ',' ORDER BY id) FROM accounts); RETURN NULL; END $$;
CREATE TRIGGER count_them AFTER UPDATE ON accounts FOR EACH STATEMENT EXECUTE FUNCTION count_them();
SET SESSION AUTHORIZATION writes_alice;
BEGIN;
UPDATE accounts SET balance = 0 RETURNING id, late;
-- The row is checked as the trigger made it.
INSERT INTO accounts (id, owner) VALUES (14, NULL);  -- fail
ROLLBACK;
RESET SESSION AUTHORIZATION;
DROP TRIGGER stamp ON accounts;
DROP TRIGGER count_them ON accounts;

-- A filter whose subquery reads the table that is written: it has to see the table as it was when the statement began.
SELECT betweenrows.alter_policy('writes own', definition =>
    '{"filter_expression": "balance <= (SELECT 2 * min(a.balance) FROM writes.accounts a WHERE a.owner = {user.username})"}');
SET SESSION AUTHORIZATION writes_alice;
SELECT id, owner FROM accounts ORDER BY id;
BEGIN;
UPDATE accounts SET balance = balance + 300 RETURNING id, balance;  -- fail, the new row is not visible
ROLLBACK;
BEGIN;
DELETE FROM accounts WHERE f_leak(id) RETURNING id;
ROLLBACK;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'writes %' ORDER BY name;
DROP SCHEMA writes CASCADE;
DROP ROLE writes_alice, writes_bob;
