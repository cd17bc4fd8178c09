-- With a catalog allowlist, what is not selected does not exist for subjects, and whatever comes up later is not selected: a
-- column that a migration adds is the one that nobody has written a policy for.
CREATE ROLE listed_alice LOGIN;
CREATE ROLE listed_owner;
CREATE ROLE listed_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE listed_auditor LOGIN IN ROLE betweenrows_auditor;
CREATE SCHEMA listed;
CREATE SCHEMA listed_ref;
CREATE SCHEMA listed_other;
GRANT ALL ON SCHEMA listed, listed_ref, listed_other TO PUBLIC;
SET search_path = listed;
CREATE TABLE orders (id int PRIMARY KEY, org text DEFAULT 'none', price int, secret text DEFAULT 'raw');
INSERT INTO orders VALUES (1, 'acme', 10, 's1'), (2, 'globex', 20, 's2');
CREATE TABLE notes (id int, body text);
INSERT INTO notes VALUES (1, 'note');
CREATE TABLE salaries (id int, amount int);
INSERT INTO salaries VALUES (1, 1000);
CREATE TABLE parts (id int, region text) PARTITION BY LIST (region);
CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
CREATE TABLE parts_south PARTITION OF parts FOR VALUES IN ('south');
INSERT INTO parts VALUES (1, 'north'), (2, 'south');
CREATE TABLE base (id int, a text);
CREATE TABLE derived (extra text) INHERITS (base);
INSERT INTO derived VALUES (1, 'a', 'extra');
CREATE VIEW of_salaries AS SELECT sum(amount) AS total FROM salaries;
CREATE VIEW not_selected AS SELECT id FROM orders;
CREATE VIEW by_owner AS SELECT amount FROM salaries;
CREATE SEQUENCE s;
CREATE TABLE listed_ref.countries (code text);
CREATE TABLE listed_other.orders (id int);
CREATE FUNCTION rows_of() RETURNS SETOF orders STABLE LANGUAGE sql AS 'SELECT * FROM listed.orders';
CREATE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = listed, pg_temp
    AS 'SELECT sum(amount) FROM salaries';
GRANT ALL ON ALL TABLES IN SCHEMA listed, listed_ref, listed_other TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA listed TO PUBLIC;
ALTER VIEW by_owner OWNER TO listed_owner;
SELECT FROM betweenrows.create_user('listed_alice');
SELECT betweenrows.set_catalog('{"schemas": [
    {"schema": "listed", "tables": [{"table": "orders", "columns": ["id", "org", "price", "later"]}, {"table": "notes"},
        {"table": "parts"}, {"table": "base", "columns": ["id"]}, {"table": "of_salaries"}, {"table": "by_owner"}]},
    {"schema": "listed_ref"}]}');
SELECT betweenrows.status() -> 'has_catalog' AS has_catalog;
SELECT finding FROM jsonb_array_elements(betweenrows.status() -> 'findings') AS finding WHERE finding ->> 'kind' = 'catalog';

-- Viewpoint of alice.
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM orders ORDER BY id;
TABLE orders;
SELECT o, to_json(o) FROM orders o ORDER BY id;
SELECT orders.* FROM listed.orders JOIN notes USING (id);
SELECT id, secret FROM orders;  -- fail
SELECT id FROM orders WHERE secret = 's1';  -- fail
SELECT id FROM orders ORDER BY secret;  -- fail
SELECT (o).secret FROM orders o;  -- fail
SELECT * FROM (SELECT * FROM orders) x ORDER BY 1;
SELECT * FROM notes;
SELECT * FROM salaries;  -- fail
SELECT * FROM listed.salaries;  -- fail
SELECT * FROM nothing;  -- fail
SELECT * FROM not_selected;  -- fail
SELECT * FROM listed_ref.countries;
SELECT * FROM listed_other.orders;  -- fail
SELECT NULL::salaries;  -- fail
-- What an exempt owner's view or function reads is its own affair, what a subject's does is not.
SELECT * FROM of_salaries;
SELECT total();
SELECT * FROM by_owner;  -- fail
SELECT * FROM rows_of() ORDER BY id;
-- Writing.
INSERT INTO orders VALUES (3, 'acme', 30);  -- fail
INSERT INTO orders (id, price) VALUES (3, 30) RETURNING *;
INSERT INTO orders (id, secret) VALUES (4, 'x');  -- fail
INSERT INTO salaries VALUES (2, 2);  -- fail
UPDATE orders SET price = price + 1 WHERE id = 3 RETURNING *;
UPDATE orders SET secret = 'x';  -- fail
DELETE FROM orders WHERE secret IS NULL;  -- fail
DELETE FROM orders WHERE id = 3 RETURNING *;
DELETE FROM salaries;  -- fail
MERGE INTO orders o USING (VALUES (1)) x (id) ON o.id = x.id WHEN MATCHED THEN UPDATE SET secret = 'x';  -- fail
TRUNCATE salaries;  -- fail
BEGIN;
LOCK TABLE salaries;  -- fail
ROLLBACK;
COPY orders TO STDOUT;
COPY orders (id, secret) TO STDOUT;  -- fail
COPY salaries TO STDOUT;  -- fail
COPY (SELECT * FROM orders) TO STDOUT;
-- fail; COPY FROM STDIN, but psql of 16 prints the end of data of a refused one.
\copy orders FROM '/dev/null'
EXPLAIN (COSTS OFF) SELECT * FROM orders;
EXPLAIN (COSTS OFF) SELECT * FROM salaries;  -- fail
CREATE TEMP TABLE copied AS SELECT * FROM orders;
SELECT * FROM copied ORDER BY id;
ALTER TABLE orders RENAME secret TO later;  -- fail
CREATE VIEW v AS SELECT secret FROM orders;  -- fail
-- Partitions and children: through the parent that is selected, but not by a name that is not.
SELECT * FROM parts ORDER BY id;
SELECT * FROM parts_north;  -- fail
INSERT INTO parts VALUES (3, 'south') RETURNING *;
UPDATE parts SET region = 'north' WHERE id = 3 RETURNING *;
DELETE FROM parts WHERE id = 3 RETURNING tableoid::regclass::text <> '' AS named, *;
SELECT * FROM base;
SELECT * FROM derived;  -- fail
SELECT a FROM base;  -- fail
-- Sequences and functions are not covered.
SELECT nextval('s');
-- The catalogs.
SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'listed%' ORDER BY 1;
SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0;
SELECT table_schema, table_name, column_name FROM information_schema.columns WHERE table_schema LIKE 'listed%' ORDER BY 1, 2, 3;
\d orders

-- What comes up later is hidden until it is selected, in a session with a plan as well.
PREPARE p AS SELECT * FROM notes;
EXECUTE p;
PREPARE q AS SELECT id FROM orders ORDER BY id;
EXECUTE q;
RESET SESSION AUTHORIZATION;
ALTER TABLE orders ADD COLUMN brand_new text DEFAULT 'new', ADD COLUMN later text DEFAULT 'as planned';
CREATE TABLE fresh (id int);
GRANT ALL ON fresh TO PUBLIC;
ALTER TABLE orders RENAME org TO organisation;
ALTER TABLE notes RENAME TO remarks;
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM orders ORDER BY id;
SELECT brand_new FROM orders;  -- fail
SELECT * FROM fresh;  -- fail
SELECT * FROM notes;  -- fail
SELECT * FROM remarks;  -- fail
EXECUTE p;  -- fail
EXECUTE q;
RESET SESSION AUTHORIZATION;
ALTER TABLE remarks RENAME TO notes;
ALTER TABLE orders RENAME organisation TO org;
SET SESSION AUTHORIZATION listed_alice;
EXECUTE p;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "listed", "tables": [{"table": "orders"}, {"table": "fresh"}]}]}');
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM orders ORDER BY id;
SELECT * FROM fresh;
SELECT * FROM notes;  -- fail
EXECUTE p;  -- fail
EXECUTE q;
RESET SESSION AUTHORIZATION;

-- Together with policies: both have to let a column through, denies, masks and filters stay what they are.
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "listed", "tables": [{"table": "orders", "columns": ["id", "org", "secret"]}]}]}');
SELECT betweenrows.allow_columns('orders', '{org,price,secret}', 'listed allow');
SELECT betweenrows.mask_column('orders', 'secret', '''***''', 'listed mask');
SELECT betweenrows.filter_rows('orders', 'price < 15', 'listed filter');
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM orders;
SELECT id FROM orders;  -- fail
SELECT price FROM orders;  -- fail
RESET SESSION AUTHORIZATION;
SELECT on_relation, policy, effect, column_name FROM betweenrows.effective_policies('listed_alice', 'orders');
SELECT on_relation, policy, effect, column_name FROM betweenrows.effective_policies('listed_alice', 'salaries');
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'listed%' ORDER BY name;

-- The extension's own tables are nobody's to hide: who may read them can, in the mode policy_required as well.
SELECT betweenrows.set_access_mode('policy_required');
SET SESSION AUTHORIZATION listed_admin;
SELECT count(*) > 0 AS readable FROM betweenrows.admin_audit;
SELECT count(*) >= 0 AS readable FROM betweenrows.query_audit;
SELECT count(*) >= 0 AS readable FROM betweenrows.recent_denials;
SELECT count(*) >= 0 AS readable FROM betweenrows.policy_versions;
SELECT count(*) FROM betweenrows.settings;  -- fail
SET SESSION AUTHORIZATION listed_auditor;
SELECT count(*) > 0 AS readable FROM betweenrows.admin_audit;
SELECT count(*) >= 0 AS readable FROM betweenrows.access_by_user;
SET SESSION AUTHORIZATION listed_alice;
SELECT count(*) FROM betweenrows.admin_audit;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_access_mode('open');

-- Whoever keeps the catalog sees each change by whomever, and none where there was none.
SELECT betweenrows.catalog_digest() AS before \gset
SELECT betweenrows.catalog_digest() = :'before' AS same;
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "nowhere"}, {"schema": "listed", "tables": [{"table": "orders"}]}]}');
SELECT betweenrows.catalog_digest() = :'before' AS same;
SELECT betweenrows.catalog_digest() AS before \gset
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "listed", "tables": [{"table": "orders"}]}, {"schema": "nowhere"}]}');
SELECT * FROM betweenrows.apply('{"version": 1, "users": [{"username": "listed_alice", "is_active": false}], "access": [{}]}', dry_run => true);
SELECT betweenrows.catalog_digest() = :'before' AS same;
SELECT finding FROM jsonb_array_elements(betweenrows.status() -> 'findings') AS finding WHERE finding ->> 'kind' = 'catalog';
BEGIN;
SELECT betweenrows.alter_user('listed_alice', attributes => '{}', is_active => false);
SELECT betweenrows.catalog_digest() = :'before' AS same;
ROLLBACK;
SELECT betweenrows.catalog_digest() = :'before' AS same;
SELECT betweenrows.grant_access(to_user => 'listed_alice');
SELECT betweenrows.catalog_digest() = :'before' AS same;
SELECT betweenrows.catalog_digest() AS before \gset
SELECT betweenrows.revoke_access(to_user => 'listed_alice');
SELECT betweenrows.catalog_digest() = :'before' AS same;
SET SESSION AUTHORIZATION listed_alice;
SELECT betweenrows.catalog_digest();  -- fail
RESET SESSION AUTHORIZATION;

-- Documents replace the whole list, whoever made it.
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": {"schemas": [{"schema": "listed", "tables": [
    {"table": "orders", "columns": ["price", "id"]}, {"table": "notes"}]}, {"schema": "listed_ref"}]}}', dry_run => true);
SELECT betweenrows.export() -> 'catalog';
SET SESSION AUTHORIZATION listed_admin;
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": {"schemas": [{"schema": "listed", "tables": [
    {"table": "orders", "columns": ["price", "id"]}, {"table": "notes"}]}, {"schema": "listed_ref"}]}}');
RESET SESSION AUTHORIZATION;
SELECT * FROM betweenrows.apply(betweenrows.export(), prune => true) WHERE kind = 'catalog';
SELECT * FROM betweenrows.apply('{"version": 1}', prune => true);
SELECT betweenrows.export() -> 'catalog';
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": {"schemas": [{"schema": "a", "table": []}, {"schema": "a"}]}}');  -- fail
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "a", "tables": [{"table": "t", "columns": ["x", "x"]}]}]}');  -- fail
SELECT betweenrows.set_catalog('[]');  -- fail
SELECT betweenrows.set_catalog(NULL);  -- fail
-- What cannot be understood, as by somebody's own hands, selects nothing.
BEGIN;
UPDATE betweenrows.catalog_tables SET columns = '[1]' WHERE table_name = 'orders';
SET LOCAL SESSION AUTHORIZATION listed_alice;
SAVEPOINT s;
SELECT * FROM orders;  -- fail
ROLLBACK TO s;
SELECT * FROM listed_ref.countries;
ROLLBACK;
BEGIN;
DELETE FROM betweenrows.catalog_tables;
SET LOCAL SESSION AUTHORIZATION listed_alice;
SELECT * FROM listed_ref.countries;  -- fail
ROLLBACK;
BEGIN;
ALTER TABLE betweenrows.catalog_tables RENAME TO gone;
SET LOCAL SESSION AUTHORIZATION listed_alice;
SELECT * FROM listed_ref.countries;  -- fail
ROLLBACK;
-- Names with dots are not mixed up.
CREATE SCHEMA "listed.a";
CREATE TABLE "listed.a".b (id int);
CREATE TABLE listed."a.b" (id int);
GRANT ALL ON SCHEMA "listed.a" TO PUBLIC;
GRANT ALL ON "listed.a".b, listed."a.b" TO PUBLIC;
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "listed", "tables": [{"table": "a.b"}]}]}');
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM "listed.a".b;  -- fail
SELECT * FROM listed."a.b";
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "listed.a", "tables": [{"table": "b"}]}, {"schema": "listed", "tables": [{"table": "a.b", "columns": ["none"]}]}]}');
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM "listed.a".b;
SELECT * FROM listed."a.b";  -- fail
RESET SESSION AUTHORIZATION;
-- A schema of which no table is selected is not selected.
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": {"schemas": [{"schema": "listed", "tables": []}, {"schema": "listed_ref"}]}}');
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": {"schemas": [{"schema": "listed", "tables": []}, {"schema": "listed_ref"}]}}');
SELECT betweenrows.set_catalog('{"schemas": []}');
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM orders;  -- fail
SELECT 1 AS one FROM pg_class LIMIT 1;
SELECT betweenrows.set_catalog('{"schemas": [{"schema": "listed"}]}');  -- fail
SELECT betweenrows.clear_catalog();  -- fail
RESET SESSION AUTHORIZATION;
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": null}');
SELECT * FROM betweenrows.apply('{"version": 1, "catalog": null}');
SELECT betweenrows.export() ? 'catalog' AS in_force;
SELECT betweenrows.clear_catalog();
SET SESSION AUTHORIZATION listed_alice;
SELECT * FROM salaries;
RESET SESSION AUTHORIZATION;
SELECT actor, action, before, after FROM betweenrows.admin_audit WHERE object_kind = 'catalog' ORDER BY id;

SELECT betweenrows.drop_user('listed_alice');
DROP OWNED BY listed_alice;
SET client_min_messages = warning;
DROP SCHEMA listed, listed_ref, listed_other, "listed.a" CASCADE;
DROP ROLE listed_alice, listed_owner, listed_admin, listed_auditor;
