-- Foreign keys have to see all rows, or a filter would break them; RI triggers run their queries as the table's owner, under
-- a mark that also covers whatever user's triggers do inside a cascade: the mark must not be a way around policies.
-- alice sees her own customers and orders, names and amounts are masked.
CREATE ROLE refint_alice LOGIN;
CREATE ROLE refint_owner LOGIN;
CREATE SCHEMA refint;
GRANT ALL ON SCHEMA refint TO refint_alice, refint_owner;
SET search_path = refint;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE TABLE customers (id int PRIMARY KEY, agent text, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers ON DELETE CASCADE ON UPDATE CASCADE, agent text, amount text);
INSERT INTO customers VALUES (1, 'refint_alice', 'raw-1'), (2, 'refint_alice', 'raw-2'), (3, 'refint_bob', 'raw-3');
INSERT INTO orders VALUES
    (10, 1, 'refint_alice', 'raw-10'), (11, 1, 'refint_bob', 'raw-11'), (12, 2, 'refint_alice', 'raw-12'),
    (13, 3, 'refint_bob', 'raw-13'), (14, 3, 'refint_alice', 'raw-14');
GRANT ALL ON ALL TABLES IN SCHEMA refint TO refint_alice, refint_owner;
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'refint customers');
SELECT betweenrows.mask_column('customers', 'name', '''masked''', 'refint name');
SELECT betweenrows.filter_rows('orders', 'agent = {user.username}', 'refint orders');
SELECT betweenrows.mask_column('orders', 'amount', '''masked''', 'refint amount');
-- The raw view of a superuser.
SELECT o.*, c.agent, c.name FROM orders o JOIN customers c ON c.id = o.customer ORDER BY o.id;

-- Viewpoint of alice.
SET SESSION AUTHORIZATION refint_alice;
SELECT o.*, c.agent, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer ORDER BY o.id;
-- The check sees the customer whom she cannot see; without one the key is violated.
BEGIN;
INSERT INTO orders (id, customer, agent) VALUES (20, 3, 'refint_alice') RETURNING *;
UPDATE orders SET customer = 3 WHERE id = 12;
SAVEPOINT s;
INSERT INTO orders (id, customer, agent) VALUES (21, 4, 'refint_alice');  -- fail
ROLLBACK;
-- Cascades reach the rows that she cannot see.
BEGIN;
DELETE FROM customers WHERE id = 1;
UPDATE customers SET id = 22 WHERE id = 2;
SELECT id, customer FROM orders ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT id, customer, agent FROM orders ORDER BY id;
ROLLBACK;
-- NO ACTION and RESTRICT see them too, SET NULL and SET DEFAULT change them.
RESET SESSION AUTHORIZATION;
CREATE TABLE actions (
    id int, agent text, a int REFERENCES customers ON DELETE NO ACTION, b int REFERENCES customers ON DELETE RESTRICT,
    c int REFERENCES customers ON DELETE SET NULL ON UPDATE SET NULL,
    d int DEFAULT 2 REFERENCES customers ON DELETE SET DEFAULT ON UPDATE SET DEFAULT);
GRANT ALL ON actions TO refint_alice;
SELECT betweenrows.filter_rows('actions', 'agent = {user.username}', 'refint actions');
INSERT INTO actions VALUES (1, 'refint_bob', 1, NULL, NULL, NULL);
SET SESSION AUTHORIZATION refint_alice;
DELETE FROM customers WHERE id = 1;  -- fail
UPDATE customers SET id = 111 WHERE id = 1;  -- fail
RESET SESSION AUTHORIZATION;
UPDATE actions SET a = NULL, b = 1;
SET SESSION AUTHORIZATION refint_alice;
-- 18 says it in other words.
DO $$
BEGIN
    DELETE FROM refint.customers WHERE id = 1;
EXCEPTION WHEN foreign_key_violation OR restrict_violation THEN
    RAISE NOTICE 'still referenced';
END $$;
RESET SESSION AUTHORIZATION;
UPDATE actions SET b = NULL, c = 1, d = 1;
SET SESSION AUTHORIZATION refint_alice;
BEGIN;
DELETE FROM customers WHERE id = 1;
SELECT * FROM actions;
RESET SESSION AUTHORIZATION;
TABLE actions;
ROLLBACK;
BEGIN;
UPDATE customers SET id = 111 WHERE id = 1;
RESET SESSION AUTHORIZATION;
TABLE actions;
ROLLBACK;

-- Deferred: checked when the transaction ends, in the middle of it, or by a procedure that commits.
RESET SESSION AUTHORIZATION;
ALTER TABLE orders ALTER CONSTRAINT orders_customer_fkey DEFERRABLE INITIALLY DEFERRED;
CREATE PROCEDURE commit_inside() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO refint.orders (id, customer, agent) VALUES (31, 3, 'refint_alice');
    COMMIT;
    DELETE FROM refint.orders WHERE id = 31;
END $$;
SET SESSION AUTHORIZATION refint_alice;
BEGIN;
INSERT INTO orders (id, customer, agent) VALUES (30, 3, 'refint_alice');
COMMIT;
DELETE FROM orders WHERE id = 30;
BEGIN;
INSERT INTO orders (id, customer, agent) VALUES (30, 4, 'refint_alice');
COMMIT;  -- fail
BEGIN;
INSERT INTO orders (id, customer, agent) VALUES (30, 3, 'refint_alice');
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK;
CALL commit_inside();
SELECT id FROM orders ORDER BY id;

-- Self reference, composite keys, keys of different types.
RESET SESSION AUTHORIZATION;
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE, agent text);
INSERT INTO tree VALUES (1, NULL, 'refint_alice'), (2, 1, 'refint_bob'), (3, 2, 'refint_alice'), (4, 2, 'refint_bob');
CREATE TABLE pairs (a int, b text, agent text, PRIMARY KEY (b, a));
CREATE TABLE refers (b varchar(10), a smallint, agent text, FOREIGN KEY (a, b) REFERENCES pairs (a, b) ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO pairs VALUES (1, 'x', 'refint_alice'), (2, 'y', 'refint_bob');
INSERT INTO refers VALUES ('x', 1, 'refint_bob'), ('y', 2, 'refint_alice');
CREATE TABLE amounts (n numeric PRIMARY KEY, agent text);
CREATE TABLE counts (n int REFERENCES amounts ON DELETE CASCADE, agent text);
INSERT INTO amounts VALUES (1, 'refint_alice'), (2, 'refint_bob');
INSERT INTO counts VALUES (1, 'refint_bob');
GRANT ALL ON ALL TABLES IN SCHEMA refint TO refint_alice;
SELECT betweenrows.create_policy('refint more', 'row_filter',
    '[{"schemas": ["refint"], "tables": ["tree", "pairs", "refers", "amounts", "counts"]}]',
    '{"filter_expression": "agent = {user.username}"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('refint more') IS NOT NULL AS assigned;
SET SESSION AUTHORIZATION refint_alice;
TABLE tree ORDER BY id;
BEGIN;
INSERT INTO tree VALUES (5, 4, 'refint_alice');
UPDATE tree SET id = 11 WHERE id = 1;
INSERT INTO refers VALUES ('y', 2, 'refint_alice');
UPDATE pairs SET b = 'z' WHERE a = 1;
INSERT INTO counts VALUES (2, 'refint_alice');
DELETE FROM amounts WHERE n = 1;
RESET SESSION AUTHORIZATION;
TABLE tree ORDER BY id;
TABLE refers ORDER BY a;
TABLE counts ORDER BY n;
SET SESSION AUTHORIZATION refint_alice;
DELETE FROM tree WHERE id = 11;
RESET SESSION AUTHORIZATION;
TABLE tree;
ROLLBACK;

-- Partitions on both sides.
RESET SESSION AUTHORIZATION;
CREATE TABLE pk (id int, agent text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE pk_low PARTITION OF pk FOR VALUES FROM (0) TO (10);
CREATE TABLE pk_high (agent text, id int NOT NULL);
ALTER TABLE pk ATTACH PARTITION pk_high FOR VALUES FROM (10) TO (20);
CREATE TABLE fk (agent text, ref int REFERENCES pk ON DELETE CASCADE ON UPDATE CASCADE) PARTITION BY LIST (agent);
CREATE TABLE fk_alice PARTITION OF fk FOR VALUES IN ('refint_alice');
CREATE TABLE fk_rest (ref int, agent text);
ALTER TABLE fk ATTACH PARTITION fk_rest DEFAULT;
INSERT INTO pk VALUES (1, 'refint_alice'), (2, 'refint_bob'), (11, 'refint_alice'), (12, 'refint_bob');
INSERT INTO fk VALUES ('refint_alice', 1), ('refint_bob', 1), ('refint_bob', 11), ('refint_alice', 12);
GRANT ALL ON pk, fk, fk_alice, fk_rest, pk_low, pk_high TO refint_alice;
SELECT betweenrows.create_policy('refint parts', 'row_filter', '[{"schemas": ["refint"], "tables": ["pk", "fk*"]}]',
    '{"filter_expression": "agent = {user.username}"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('refint parts') IS NOT NULL AS assigned;
SET SESSION AUTHORIZATION refint_alice;
SELECT * FROM fk ORDER BY ref;
BEGIN;
INSERT INTO fk VALUES ('refint_alice', 12), ('refint_alice', 2);
INSERT INTO fk_alice VALUES ('refint_alice', 2);
UPDATE pk SET id = 5 WHERE id = 11;
DELETE FROM pk WHERE id = 1;
DELETE FROM pk_low WHERE id = 5;
RESET SESSION AUTHORIZATION;
SELECT * FROM fk ORDER BY ref;
ROLLBACK;
SET SESSION AUTHORIZATION refint_alice;
INSERT INTO fk VALUES ('refint_alice', 3);  -- fail

-- A user's trigger inside a cascade runs under the mark of referential integrity, as the table's owner. It is a statement
-- like any other, also when it looks like RI's own: it asks for a key, or for all of them through an operator or a cast that
-- tells, it sets or deletes what the key refers to. refint_owner owns a table that refers to secrets.
RESET SESSION AUTHORIZATION;
CREATE TABLE secrets (id int PRIMARY KEY, secret text);
INSERT INTO secrets VALUES (1, 's1'), (2, 's2'), (3, 's3');
CREATE TABLE owned (id int REFERENCES secrets ON DELETE CASCADE ON UPDATE CASCADE, remark text);
INSERT INTO owned VALUES (1, 'one'), (2, 'two');
ALTER TABLE owned OWNER TO refint_owner;
GRANT ALL ON secrets TO refint_owner;
SELECT betweenrows.filter_rows('secrets', 'id = 1', 'refint secrets');
SELECT betweenrows.mask_column('secrets', 'secret', '''masked''', 'refint secret');
SELECT betweenrows.filter_rows('owned', 'id = 1', 'refint owned');
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    IF pg_trigger_depth() > 2 OR OLD.id <> 1 THEN
        RETURN OLD;
    END IF;
    RAISE NOTICE '% as % for %: sees secrets %, owned %', TG_OP, current_user, session_user,
        (SELECT json_agg(s ORDER BY id) FROM refint.secrets s), (SELECT json_agg(o ORDER BY id) FROM refint.owned o);
    PERFORM 1 FROM ONLY refint.secrets x WHERE id OPERATOR(pg_catalog.=) 3 FOR KEY SHARE OF x;
    RAISE NOTICE 'constant: %', FOUND;
    n := 3;
    PERFORM 1 FROM ONLY refint.secrets x WHERE id OPERATOR(pg_catalog.=) n FOR KEY SHARE OF x;
    RAISE NOTICE 'key share: %', FOUND;
    EXECUTE 'SELECT 1 FROM ONLY refint.secrets x WHERE id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x' INTO n USING 3;
    RAISE NOTICE 'dynamic key share: %', n;
    EXECUTE 'SELECT 1 FROM ONLY refint.secrets x WHERE refint.f_leak(id) OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x'
        INTO n USING true;
    RAISE NOTICE 'with a function: %', n;
    EXECUTE 'SELECT 1 FROM ONLY refint.secrets x WHERE id OPERATOR(pg_catalog.<>) $1 FOR KEY SHARE OF x' INTO n USING 1;
    RAISE NOTICE 'other operator: %', n;
    EXECUTE 'DELETE FROM ONLY refint.owned WHERE $1 OPERATOR(pg_catalog.=) id' USING 2;
    GET DIAGNOSTICS n = ROW_COUNT;
    RAISE NOTICE 'deleted: %', n;
    EXECUTE 'UPDATE ONLY refint.owned SET id = $1 WHERE $2 OPERATOR(pg_catalog.=) id' USING 1, 2;
    GET DIAGNOSTICS n = ROW_COUNT;
    RAISE NOTICE 'updated: %', n;
    EXECUTE 'DO $do$ BEGIN PERFORM 1 FROM refint.secrets x WHERE id OPERATOR(pg_catalog.=) 3 FOR KEY SHARE;
        RAISE NOTICE ''in DO: %'', FOUND; END $do$';
    RETURN NULL;
END $$;
CREATE TRIGGER spy BEFORE UPDATE OR DELETE ON owned FOR EACH ROW EXECUTE FUNCTION spy();
SET SESSION AUTHORIZATION refint_owner;
BEGIN;
DELETE FROM secrets WHERE id = 1;
ROLLBACK;
BEGIN;
UPDATE secrets SET id = 1 WHERE id = 1;
RESET SESSION AUTHORIZATION;
DROP TRIGGER spy ON owned;
CREATE TRIGGER spy AFTER UPDATE OR DELETE ON owned FOR EACH ROW EXECUTE FUNCTION spy();
SET SESSION AUTHORIZATION refint_owner;
DELETE FROM secrets WHERE id = 1;
ROLLBACK;
-- Under somebody else's statement the trigger sees no more than that one does.
RESET SESSION AUTHORIZATION;
GRANT ALL ON secrets TO refint_alice;
SET SESSION AUTHORIZATION refint_alice;
BEGIN;
DELETE FROM secrets WHERE id = 1;
ROLLBACK;
-- The superuser's own statement is exempt, the trigger in it is not: it runs as the owner of its table.
RESET SESSION AUTHORIZATION;
BEGIN;
DELETE FROM secrets WHERE id = 1;
ROLLBACK;
-- A genuine key below such a trigger still works.
CREATE OR REPLACE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM refint.tree WHERE id = 1;
    INSERT INTO refint.orders (id, customer, agent) VALUES (40, 3, session_user);
    SET CONSTRAINTS ALL IMMEDIATE;
    RETURN OLD;
END $$;
GRANT ALL ON tree TO refint_owner;
SET SESSION AUTHORIZATION refint_alice;
BEGIN;
DELETE FROM secrets WHERE id = 1;
RESET SESSION AUTHORIZATION;
TABLE tree;
SELECT id, customer FROM orders WHERE id = 40;
ROLLBACK;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'refint %' ORDER BY name;
DROP SCHEMA refint CASCADE;
DROP ROLE refint_alice, refint_owner;
