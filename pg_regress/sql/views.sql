-- A view is the relation reached another way: base tables have to stay governed below it, whoever owns it, and a view can be
-- what a policy is about itself. bob owns views, alice may read them and has no privileges on the tables.
CREATE ROLE views_alice LOGIN;
CREATE ROLE views_bob LOGIN;
CREATE SCHEMA views;
GRANT USAGE ON SCHEMA views TO views_alice, views_bob;
GRANT CREATE ON SCHEMA views TO views_alice, views_bob;
SET search_path = views;
CREATE TABLE customers (id int PRIMARY KEY, agent text, ssn text, debt int, note text);
INSERT INTO customers VALUES
    (1, 'views_alice', '111-11-1111', 100, 'a'), (2, 'views_alice', '222-22-2222', 200, 'b'),
    (3, 'views_bob', '333-33-3333', 300, 'c');
CREATE TABLE secrets (secret text);
INSERT INTO secrets VALUES ('classified');
GRANT ALL ON customers, secrets TO views_bob;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE VIEW of_superuser AS SELECT * FROM customers;
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, agent, ssn FROM customers WHERE note < 'z';
CREATE VIEW invoker WITH (security_invoker) AS SELECT id, agent, ssn, debt FROM customers;
CREATE VIEW secret_view AS SELECT * FROM secrets;
CREATE VIEW joined AS SELECT c.id, c.ssn, o.id AS other FROM customers c JOIN customers o ON o.ssn > c.ssn;
CREATE VIEW totals AS SELECT agent, count(*), max(ssn) AS ssn, sum(debt) AS debt FROM customers GROUP BY agent;
CREATE VIEW recursive AS WITH RECURSIVE r AS (SELECT id, ssn FROM customers WHERE id = 1
    UNION ALL SELECT c.id, c.ssn FROM r JOIN customers c ON c.id = r.id + 1) SELECT * FROM r;
CREATE VIEW whole AS SELECT c FROM customers c;
CREATE VIEW either AS SELECT id, ssn FROM customers UNION ALL SELECT -id, ssn FROM customers;
SET SESSION AUTHORIZATION views_bob;
CREATE VIEW of_bob AS SELECT * FROM customers WHERE f_leak(ssn);
CREATE VIEW over_views AS SELECT b.id, b.ssn, o.note FROM of_bob b JOIN of_bob o USING (id);
RESET SESSION AUTHORIZATION;
CREATE VIEW over_bob AS SELECT * FROM of_bob;
GRANT SELECT ON ALL TABLES IN SCHEMA views TO views_alice;
REVOKE ALL ON customers, secrets FROM views_alice;
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'views own');
SELECT betweenrows.mask_column('customers', 'ssn', '''***-'' || right(ssn, 2)', 'views ssn');
SELECT betweenrows.deny_columns('customers', '{debt}', 'views debt');
SELECT betweenrows.deny_table('secrets', 'views secrets');
-- The raw view of a superuser. In a view that selects it, a hidden column reads NULL.
SELECT * FROM of_superuser ORDER BY id;

-- Viewpoint of alice: views of a superuser, with barrier, with her own rights, with everything a query can have.
SET SESSION AUTHORIZATION views_alice;
SELECT * FROM customers;  -- fail
SELECT * FROM of_superuser ORDER BY id;
SELECT * FROM of_superuser WHERE f_leak(ssn) AND f_leak(debt) ORDER BY id;
SELECT debt FROM of_superuser WHERE debt > 0;
SELECT * FROM barrier WHERE f_leak(ssn) ORDER BY id;
SELECT * FROM invoker;  -- fail
SELECT * FROM secret_view;  -- fail
SELECT 1 FROM of_superuser WHERE EXISTS (SELECT FROM secret_view);  -- fail
SELECT * FROM joined ORDER BY 1, 3;
SELECT * FROM totals ORDER BY agent;
SELECT * FROM recursive ORDER BY id;
SELECT c, (c).ssn, (c).note FROM whole ORDER BY (c).id;
SELECT whole, of_superuser FROM whole, of_superuser WHERE id = (c).id ORDER BY id;
SELECT * FROM either ORDER BY 1;
SELECT * FROM of_bob ORDER BY id;
SELECT * FROM over_views ORDER BY id;
SELECT * FROM over_bob WHERE f_leak(ssn) ORDER BY id;
SELECT a.id, b.ssn FROM barrier a LEFT JOIN of_superuser b ON b.id = a.id + 1 ORDER BY 1;
SELECT * FROM of_superuser v FOR UPDATE;  -- fail
WITH v AS (SELECT * FROM of_superuser) SELECT count(*) FROM v;

-- Viewpoint of bob, owner of views: of_bob is not expanded with his eyes but with those of who reads it.
SET SESSION AUTHORIZATION views_bob;
SELECT * FROM of_bob ORDER BY id;
SELECT * FROM over_bob ORDER BY id;
CREATE VIEW of_secrets AS SELECT * FROM secrets;  -- fail
CREATE VIEW of_debt AS SELECT debt FROM customers;  -- fail
CREATE VIEW of_all AS SELECT * FROM customers;
SELECT * FROM of_all;
CREATE OR REPLACE VIEW of_bob AS SELECT id, agent, ssn, NULL::int AS debt, note FROM customers WHERE f_leak(note);
SET SESSION AUTHORIZATION views_alice;
SELECT * FROM of_bob ORDER BY id;

-- Privileges are as without policies, an invoker's view asks for the reader's.
RESET SESSION AUTHORIZATION;
GRANT SELECT (id, agent, ssn, note), UPDATE (note), DELETE ON customers TO views_alice;
SET SESSION AUTHORIZATION views_alice;
SELECT * FROM invoker ORDER BY id;  -- fail
SELECT id, ssn FROM invoker ORDER BY id;
RESET SESSION AUTHORIZATION;
GRANT SELECT ON customers TO views_alice;
GRANT ALL ON barrier, of_superuser TO views_alice;
SET SESSION AUTHORIZATION views_alice;
SELECT * FROM invoker WHERE f_leak(ssn) ORDER BY id;

-- Writing through a view reaches the base table: its policies hold, the view's own condition sees masked values as well.
UPDATE barrier SET agent = agent WHERE f_leak(ssn) RETURNING *;
UPDATE barrier SET ssn = 'x';  -- fail
UPDATE barrier SET agent = 'views_bob' WHERE id = 1;  -- fail
DELETE FROM barrier WHERE id = 3 OR ssn LIKE '%-%-%' RETURNING *;
UPDATE of_superuser SET note = ssn WHERE f_leak(note) RETURNING id, note, ssn, debt;
INSERT INTO barrier (id, agent) VALUES (4, 'views_bob');  -- fail

-- Policies about views: by name they are tables like others, on top of what holds below.
RESET SESSION AUTHORIZATION;
CREATE TABLE plain (id int, region text, secret text);
INSERT INTO plain VALUES (1, 'north', 's1'), (2, 'south', 's2'), (3, 'north', 's3');
CREATE VIEW sales AS SELECT * FROM plain;
CREATE VIEW sales_barrier WITH (security_barrier) AS SELECT * FROM plain WHERE id < 3;
CREATE VIEW over_sales AS SELECT id, secret FROM sales;
CREATE VIEW hidden_view AS SELECT * FROM plain;
CREATE VIEW over_hidden AS SELECT * FROM hidden_view;
GRANT ALL ON sales, sales_barrier, over_sales, hidden_view, over_hidden TO views_alice, views_bob;
SELECT betweenrows.filter_rows('sales', 'region = ''north''', 'views sales');
SELECT betweenrows.mask_column('sales', 'secret', '''-''', 'views sales secret');
SELECT betweenrows.filter_rows('sales_barrier', 'region <> ''north''', 'views sales barrier');
SELECT betweenrows.deny_columns('sales_barrier', '{secret}', 'views sales barrier secret');
SELECT betweenrows.deny_table('hidden_view', 'views hidden');
SET SESSION AUTHORIZATION views_alice;
SELECT * FROM plain;  -- fail
SELECT * FROM sales WHERE f_leak(secret) AND f_leak(region) ORDER BY id;
SELECT * FROM sales_barrier WHERE f_leak(region);
SELECT secret FROM sales_barrier;  -- fail
SELECT s, to_jsonb(s) FROM sales s ORDER BY id;
SELECT s FROM sales_barrier s;
SELECT * FROM over_sales ORDER BY id;
SELECT * FROM sales a JOIN sales b ON a.secret = b.secret ORDER BY 1, 4;
SELECT n, s.* FROM generate_series(1, 3) n LEFT JOIN sales s ON s.id = n AND f_leak(s.id) ORDER BY n;
SELECT count(s) FROM generate_series(1, 3) n LEFT JOIN sales s ON s.id = n;
SELECT * FROM hidden_view;  -- fail
SELECT * FROM over_hidden;  -- fail
SELECT id FROM sales FOR UPDATE;
INSERT INTO sales (id) VALUES (9);  -- fail
UPDATE sales SET id = id;  -- fail
DELETE FROM sales;  -- fail
MERGE INTO sales s USING (VALUES (1)) v (x) ON s.id = v.x WHEN MATCHED THEN DELETE;  -- fail
UPDATE over_sales SET id = id;  -- fail

-- Rules: what they add to a statement is governed like the statement.
RESET SESSION AUTHORIZATION;
CREATE TABLE log (id int, ssn text, debt int);
GRANT ALL ON log TO views_alice;
CREATE RULE log_update AS ON UPDATE TO customers DO ALSO INSERT INTO log SELECT old.id, old.ssn, old.debt;
CREATE RULE log_delete AS ON DELETE TO customers DO ALSO INSERT INTO log SELECT c.id, c.ssn, c.debt FROM customers c WHERE c.id <> old.id;
CREATE VIEW instead AS SELECT id, note FROM customers;
CREATE RULE instead AS ON UPDATE TO instead DO INSTEAD UPDATE customers SET note = new.note WHERE id = new.id RETURNING id, ssn;
GRANT ALL ON instead TO views_alice;
SET SESSION AUTHORIZATION views_alice;
UPDATE customers SET note = 'ruled' RETURNING id, ssn;
TABLE log ORDER BY id;
DELETE FROM customers WHERE id IN (1, 3);
TABLE log ORDER BY id;
UPDATE instead SET note = 'instead' RETURNING *;

-- The raw view of a superuser: what alice did.
RESET SESSION AUTHORIZATION;
SELECT * FROM customers ORDER BY id;
SELECT * FROM log ORDER BY id;

SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'views %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA views CASCADE;
DROP OWNED BY views_alice, views_bob;
DROP ROLE views_alice, views_bob;
