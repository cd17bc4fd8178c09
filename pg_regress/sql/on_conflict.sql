-- ON CONFLICT reads a row that the statement did not name: whatever value conflicts says that a row with it exists, and DO
-- UPDATE reads, changes and returns that row (CVE-2017-15099). alice and bob see their own accounts; mail addresses are
-- masked, though they may be written; tax numbers do not exist.
CREATE ROLE conflict_alice LOGIN;
CREATE ROLE conflict_bob LOGIN;
CREATE SCHEMA conflicts;
GRANT ALL ON SCHEMA conflicts TO conflict_alice, conflict_bob;
SET search_path = conflicts;
CREATE TABLE accounts (
    id int PRIMARY KEY, owner text DEFAULT CURRENT_USER, mail text DEFAULT 'raw-0', tax text DEFAULT 'raw-0', balance int,
    CONSTRAINT one_mail UNIQUE (mail), CONSTRAINT one_tax UNIQUE (tax));
CREATE UNIQUE INDEX lower_mail ON accounts (lower(mail));
CREATE UNIQUE INDEX some_mail ON accounts (balance) WHERE mail LIKE 'special%';
CREATE UNIQUE INDEX whole_row ON accounts ((accounts IS NULL), id);
INSERT INTO accounts VALUES
    (1, 'conflict_alice', 'raw-1', 'tax-1', 100), (2, 'conflict_alice', 'raw-2', 'tax-2', 200),
    (3, 'conflict_bob', 'raw-3', 'tax-3', 300), (4, NULL, 'raw-4', 'tax-4', 400);
GRANT ALL ON ALL TABLES IN SCHEMA conflicts TO conflict_alice, conflict_bob;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('accounts', 'owner = {user.username}', 'conflict own');
SELECT betweenrows.mask_column('accounts', 'mail', '''mask-'' || right(mail, 1)', 'conflict mail');
SELECT betweenrows.alter_policy('conflict mail', definition =>
    '{"mask_expression": "''mask-'' || right(mail, 1)", "writable": true}');
SELECT betweenrows.deny_columns('accounts', '{tax}', 'conflict tax');
-- The raw view of a superuser.
TABLE accounts ORDER BY id;

-- Viewpoint of alice.
SET SESSION AUTHORIZATION conflict_alice;
BEGIN;
-- Her own row is updated, and read as she reads it.
INSERT INTO accounts AS a (id, balance, mail) VALUES (1, 1, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = a.balance + excluded.balance RETURNING *, a.mail;
INSERT INTO accounts AS a (id, balance, mail) VALUES (1, 1, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = 0 WHERE f_leak(a) AND f_leak(a.mail) AND f_leak(excluded.balance) RETURNING a;
INSERT INTO accounts AS a (id, mail) VALUES (1, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = -1 WHERE a.mail = 'raw-1' RETURNING *;
INSERT INTO accounts AS a (id, mail) VALUES (1, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = length(a.mail) WHERE a.mail = 'mask-1' RETURNING balance;
INSERT INTO accounts AS a (id, mail) VALUES (1, 'new-9') ON CONFLICT (id)
    DO UPDATE SET mail = excluded.mail RETURNING id, mail;
INSERT INTO accounts AS a (id, mail) VALUES (2, 'new-8') ON CONFLICT (id)
    DO UPDATE SET balance = (SELECT count(*) FROM accounts x WHERE x.mail LIKE 'raw%' OR f_leak(x.mail)) RETURNING balance;
ROLLBACK;

-- A row that she cannot see is an error, and nothing of it is read: not by WHERE, not by SET, not by RETURNING.
INSERT INTO accounts AS a (id, mail) VALUES (3, 'new-9') ON CONFLICT (id)
    DO UPDATE SET owner = 'conflict_alice' WHERE f_leak(a) RETURNING *;  -- fail
INSERT INTO accounts AS a (id, mail) VALUES (4, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = a.balance WHERE false;  -- fail
INSERT INTO accounts AS a (id, mail) VALUES (3, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = 0 WHERE a.balance = 300;  -- fail
INSERT INTO accounts AS a (id, mail) VALUES (3, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = 0 WHERE a.balance <> 300;  -- fail
INSERT INTO accounts AS a (id, mail) VALUES (1, 'new-9'), (3, 'new-8') ON CONFLICT (id)
    DO UPDATE SET owner = 'conflict_alice' RETURNING *;  -- fail
INSERT INTO accounts AS a (id, mail) SELECT i, 'new-' || i FROM generate_series(3, 4) i ON CONFLICT ON CONSTRAINT accounts_pkey
    DO UPDATE SET balance = 0 RETURNING *;  -- fail
-- The new row has to be visible, in both ways.
INSERT INTO accounts (id, mail) VALUES (1, 'new-9') ON CONFLICT (id) DO UPDATE SET owner = 'conflict_bob';  -- fail
INSERT INTO accounts (id, owner, mail) VALUES (1, 'conflict_bob', 'new-9') ON CONFLICT (id) DO UPDATE SET balance = 0;  -- fail
INSERT INTO accounts (id, owner, mail) VALUES (3, 'conflict_bob', 'new-9') ON CONFLICT (id) DO NOTHING;  -- fail

-- Whether a value exists must not be asked of a masked or hidden column: not by name, by constraint, by an index expression
-- or predicate, nor by the whole row.
INSERT INTO accounts (id, mail) VALUES (9, 'raw-3') ON CONFLICT (mail) DO NOTHING;  -- fail
INSERT INTO accounts (id, mail) VALUES (9, 'raw-1') ON CONFLICT (mail) DO UPDATE SET balance = 0;  -- fail
INSERT INTO accounts (id, mail) VALUES (9, 'raw-1') ON CONFLICT ON CONSTRAINT one_mail DO NOTHING;  -- fail
INSERT INTO accounts (id, mail) VALUES (9, 'raw-1') ON CONFLICT (lower(mail)) DO NOTHING;  -- fail
INSERT INTO accounts (id, balance) VALUES (9, 100) ON CONFLICT (balance) WHERE mail LIKE 'special%' DO NOTHING;  -- fail
INSERT INTO accounts (id, balance) VALUES (9, 100) ON CONFLICT ((accounts IS NULL), id) DO NOTHING;  -- fail
INSERT INTO accounts (id) VALUES (9) ON CONFLICT (tax) DO NOTHING;  -- fail
INSERT INTO accounts (id) VALUES (9) ON CONFLICT ON CONSTRAINT one_tax DO NOTHING;  -- fail
INSERT INTO accounts (id) VALUES (9) ON CONFLICT ON CONSTRAINT no_such DO NOTHING;  -- fail
-- Without a target every unique index decides: refused where a value for one with a masked column is given.
INSERT INTO accounts (id, mail) VALUES (9, 'raw-3') ON CONFLICT DO NOTHING;  -- fail
BEGIN;
INSERT INTO accounts (id, balance) VALUES (1, 5), (9, 5) ON CONFLICT DO NOTHING RETURNING id;
ROLLBACK;
-- In a function, where a hidden column is no error of naming.
DO $$ BEGIN
    INSERT INTO conflicts.accounts (id) VALUES (9) ON CONFLICT (tax) DO NOTHING;
END $$;  -- fail
-- The columns of excluded are those of the table.
INSERT INTO accounts (id, mail) VALUES (1, 'new-9') ON CONFLICT (id) DO UPDATE SET balance = length(excluded.tax);  -- fail
INSERT INTO accounts (id, mail) VALUES (1, 'new-9') ON CONFLICT (id) DO UPDATE SET tax = 'x';  -- fail
BEGIN;
INSERT INTO accounts AS a (id, mail) VALUES (1, 'new-9') ON CONFLICT (id)
    DO UPDATE SET balance = 1 WHERE f_leak(excluded) RETURNING balance;
ROLLBACK;

-- Viewpoint of bob.
SET SESSION AUTHORIZATION conflict_bob;
BEGIN;
INSERT INTO accounts (id, mail) VALUES (3, 'new-9') ON CONFLICT (id) DO UPDATE SET balance = 0 RETURNING *;
INSERT INTO accounts (id, mail) VALUES (1, 'new-9') ON CONFLICT (id) DO UPDATE SET balance = 0 RETURNING *;  -- fail
ROLLBACK;

-- A mask that is not writable: the arbiter is refused all the same, and so is the value.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('conflict mail', definition => '{"mask_expression": "''mask-'' || right(mail, 1)"}');
SET SESSION AUTHORIZATION conflict_alice;
INSERT INTO accounts (id) VALUES (9) ON CONFLICT (mail) DO NOTHING;  -- fail
INSERT INTO accounts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET mail = accounts.mail;  -- fail
INSERT INTO accounts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET mail = excluded.mail;  -- fail

-- A check of its own for new rows does not make hidden rows visible to DO UPDATE.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('conflict own', definition => '{"filter_expression": "owner = {user.username}", "check": "none"}');
SET SESSION AUTHORIZATION conflict_alice;
BEGIN;
INSERT INTO accounts AS a (id, owner) VALUES (1, 'conflict_bob') ON CONFLICT (id) DO UPDATE SET owner = excluded.owner;
INSERT INTO accounts AS a (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET owner = 'conflict_alice';  -- fail
ROLLBACK;

-- Partitions.
RESET SESSION AUTHORIZATION;
CREATE TABLE parts (id int, owner text, mail text, PRIMARY KEY (id, owner)) PARTITION BY LIST (owner);
CREATE TABLE parts_alice PARTITION OF parts FOR VALUES IN ('conflict_alice');
CREATE TABLE parts_bob (mail text, owner text NOT NULL, id int NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts_bob FOR VALUES IN ('conflict_bob');
INSERT INTO parts VALUES (1, 'conflict_alice', 'raw-1'), (2, 'conflict_bob', 'raw-2'), (5, 'conflict_bob', 'raw-5');
GRANT ALL ON parts TO conflict_alice;
SELECT betweenrows.filter_rows('parts', 'id < 5', 'conflict parts');
SELECT betweenrows.mask_column('parts', 'mail', '''mask-'' || right(mail, 1)', 'conflict parts mail');
SET SESSION AUTHORIZATION conflict_alice;
BEGIN;
INSERT INTO parts AS p (id, owner) VALUES (1, 'conflict_alice'), (2, 'conflict_bob') ON CONFLICT (id, owner)
    DO UPDATE SET id = p.id + 1 WHERE f_leak(p) RETURNING *, p, tableoid::regclass;
ROLLBACK;
INSERT INTO parts AS p (id, owner) VALUES (5, 'conflict_bob') ON CONFLICT (id, owner) DO UPDATE SET id = 4 RETURNING *;  -- fail
INSERT INTO parts AS p (id, owner) VALUES (4, 'conflict_bob') ON CONFLICT (id, owner) DO UPDATE SET id = 4 RETURNING *;
INSERT INTO parts AS p (id, owner) VALUES (4, 'conflict_bob') ON CONFLICT (id, owner) DO UPDATE SET id = 6 RETURNING *;  -- fail

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'conflict %' ORDER BY name;
DROP SCHEMA conflicts CASCADE;
DROP ROLE conflict_alice, conflict_bob;
