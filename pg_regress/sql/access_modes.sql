-- In the mode policy_required a table without a column_allow does not exist. That is like a missing privilege, so it is
-- judged for the role with whose rights a table is read; filters, masks and denies are judged for who asks. Each way to
-- read with somebody else's rights is a way to be judged as somebody else.
CREATE ROLE modes_alice LOGIN;
CREATE ROLE modes_bob LOGIN;
CREATE ROLE modes_exempt LOGIN;
CREATE SCHEMA modes;
GRANT ALL ON SCHEMA modes TO modes_alice, modes_bob, modes_exempt;
SET search_path = modes;
CREATE TABLE customers (id int PRIMARY KEY, agent text, ssn text, debt int);
INSERT INTO customers VALUES (1, 'modes_alice', '111', 100), (2, 'modes_bob', '222', 200);
CREATE TABLE salaries (id int, amount int);
INSERT INTO salaries VALUES (1, 1000);
CREATE TABLE parts (id int, region text) PARTITION BY LIST (region);
CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
CREATE TABLE parts_south PARTITION OF parts FOR VALUES IN ('south');
INSERT INTO parts VALUES (1, 'north'), (2, 'south');
GRANT ALL ON ALL TABLES IN SCHEMA modes TO modes_alice, modes_bob, modes_exempt;
SELECT betweenrows.exempt_role('modes_exempt');
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'modes own');
SELECT betweenrows.mask_column('customers', 'ssn', '''***''', 'modes ssn');
SELECT betweenrows.allow_columns('customers', '{id,agent,ssn}', 'modes customers', to_user => 'modes_alice');  -- fail
SELECT betweenrows.create_user('modes_alice') IS NOT NULL AS created;
SELECT betweenrows.allow_columns('customers', '{id,agent,ssn}', 'modes customers', to_user => 'modes_alice');

-- Mode open: a column_allow restricts those that it is assigned to.
SET SESSION AUTHORIZATION modes_alice;
SELECT * FROM customers;
SELECT debt FROM customers;  -- fail
SELECT * FROM salaries;
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM customers;

-- Mode policy_required. Viewpoint of alice: one table with three columns.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_access_mode('policy_required');
SET SESSION AUTHORIZATION modes_alice;
SELECT * FROM customers;
SELECT c, to_json(c) FROM customers c;
SELECT debt FROM customers;  -- fail
SELECT * FROM salaries;  -- fail
SELECT * FROM parts;  -- fail
SELECT * FROM parts_north;  -- fail
INSERT INTO salaries VALUES (2, 2);  -- fail
UPDATE customers SET debt = 0;  -- fail
UPDATE customers SET agent = agent RETURNING *;
INSERT INTO customers (id, debt) VALUES (3, 3);  -- fail
SELECT count(*) FROM pg_class WHERE relname = 'pg_class';
SELECT 1 AS one, 'x'::text FROM (VALUES (1)) v, generate_series(1, 1);
-- Her own tables as well, but not temporary ones, which are nobody else's.
CREATE TABLE of_alice (id int);
SELECT * FROM of_alice;  -- fail
CREATE TEMP TABLE temp_of_alice AS SELECT * FROM customers;
TABLE temp_of_alice;
-- Viewpoint of bob: nothing.
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM customers;  -- fail
SELECT * FROM salaries;  -- fail

-- Views and functions of bob read with his rights: what he may not name, alice does not get through him, and his
-- through hers no more. What she has of her own allow stays.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.create_user('modes_bob') IS NOT NULL AS created;
CREATE VIEW of_bob AS SELECT * FROM salaries;
ALTER VIEW of_bob OWNER TO modes_bob;
CREATE VIEW of_exempt AS SELECT s.*, c.ssn, c.debt FROM salaries s, customers c;
ALTER VIEW of_exempt OWNER TO modes_exempt;
CREATE VIEW not_allowed AS SELECT 1 AS one;
CREATE VIEW invoker_of_exempt WITH (security_invoker) AS SELECT * FROM salaries;
ALTER VIEW invoker_of_exempt OWNER TO modes_exempt;
CREATE VIEW of_alice_view AS SELECT id, debt FROM customers;
ALTER VIEW of_alice_view OWNER TO modes_alice;
CREATE VIEW over AS SELECT * FROM of_exempt;
ALTER VIEW over OWNER TO modes_bob;
GRANT SELECT ON of_bob, of_exempt, not_allowed, invoker_of_exempt, of_alice_view, over TO modes_alice, modes_bob, modes_exempt;
SELECT betweenrows.allow_columns('of_bob', '{*}', 'modes of_bob');
SELECT betweenrows.allow_columns('of_exempt', '{*}', 'modes of_exempt');
SELECT betweenrows.allow_columns('invoker_of_exempt', '{*}', 'modes invoker');
SELECT betweenrows.allow_columns('of_alice_view', '{*}', 'modes of_alice');
SELECT betweenrows.allow_columns('over', '{*}', 'modes over');
SET SESSION AUTHORIZATION modes_alice;
SELECT * FROM of_bob;  -- fail
SELECT * FROM of_exempt;
SELECT * FROM over;
SELECT * FROM not_allowed;  -- fail
SELECT * FROM invoker_of_exempt;  -- fail
SELECT * FROM of_alice_view;
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM of_bob;  -- fail
SELECT * FROM of_exempt;
SELECT * FROM over;
SELECT * FROM of_alice_view;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.allow_columns('salaries', '{id,amount}', 'modes salaries', to_user => 'modes_bob');
SET SESSION AUTHORIZATION modes_alice;
SELECT * FROM salaries;  -- fail
SELECT * FROM of_bob;
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM salaries;
SELECT * FROM of_bob;

-- What is kept from her in her table, bob does not get through her: no policy is his but the default, which hides the table. Where
-- the same is kept from him, it is hers to pass on.
RESET SESSION AUTHORIZATION;
CREATE TABLE accounts (id int, agent text, pin text, hint text);
INSERT INTO accounts VALUES (1, 'modes_alice', 'raw-1', 'h1'), (2, 'modes_bob', 'raw-2', 'h2');
GRANT ALL ON accounts TO modes_alice;
CREATE VIEW accounts_of_alice AS SELECT * FROM accounts;
ALTER VIEW accounts_of_alice OWNER TO modes_alice;
CREATE FUNCTION accounts_by_alice() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT string_agg(a::text, '' '') FROM modes.accounts a';
ALTER FUNCTION accounts_by_alice OWNER TO modes_alice;
GRANT SELECT ON accounts_of_alice TO modes_bob;
SELECT betweenrows.allow_columns('accounts_of_alice', '{*}', 'modes accounts_of_alice');
SELECT betweenrows.allow_columns('accounts', '{*}', 'modes accounts', to_user => 'modes_alice');
SELECT betweenrows.filter_rows('accounts', 'agent = {user.username}', 'modes accounts own', to_user => 'modes_alice');
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM accounts_of_alice;  -- fail
SELECT accounts_by_alice();  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.unassign_policy('modes accounts own', to_user => 'modes_alice');
SELECT betweenrows.mask_column('accounts', 'pin', $$'***'$$, 'modes accounts pin', to_user => 'modes_alice');
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM accounts_of_alice;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.unassign_policy('modes accounts pin', to_user => 'modes_alice');
SELECT betweenrows.deny_columns('accounts', '{hint}', 'modes accounts hint', to_user => 'modes_alice');
SET SESSION AUTHORIZATION modes_bob;
SELECT accounts_by_alice();  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.assign_policy('modes accounts own') IS NOT NULL, betweenrows.assign_policy('modes accounts pin') IS NOT NULL,
    betweenrows.assign_policy('modes accounts hint') IS NOT NULL;
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM accounts_of_alice;
SELECT accounts_by_alice();

-- SECURITY DEFINER functions the same way; a plan of one is not used by the other, and not by the caller directly.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION read_salaries() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT json_agg(s) FROM modes.salaries s); END $$;
CREATE FUNCTION read_customers() RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RETURN (SELECT string_agg(concat_ws('/', id, ssn, debt), ',') FROM modes.customers); END $$;
CREATE FUNCTION by_exempt() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN RETURN concat(modes.read_salaries(), ' ', modes.read_customers()); END $$;
ALTER FUNCTION by_exempt OWNER TO modes_exempt;
CREATE FUNCTION by_bob() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN modes.read_salaries(); END $$;
ALTER FUNCTION by_bob OWNER TO modes_bob;
CREATE FUNCTION sql_by_exempt() RETURNS TABLE (id int, amount int) LANGUAGE sql STABLE SECURITY DEFINER
    AS 'SELECT id, amount FROM modes.salaries';
ALTER FUNCTION sql_by_exempt OWNER TO modes_exempt;
SET SESSION AUTHORIZATION modes_alice;
SELECT by_exempt();
SELECT read_salaries();  -- fail
SELECT read_customers();
SELECT by_exempt(), read_customers();
SELECT by_bob();
SELECT read_salaries();  -- fail
SELECT * FROM sql_by_exempt();
SELECT by_exempt(), read_salaries();  -- fail
SET SESSION AUTHORIZATION modes_bob;
SELECT by_exempt();
SELECT read_customers();  -- fail
SELECT read_salaries();

-- SET ROLE is not such a way: neither to somebody who may read the table nor to an exempt role. Who could make views and
-- functions as that role gets nothing by those either.
RESET SESSION AUTHORIZATION;
GRANT modes_bob, modes_exempt TO modes_alice;
SET SESSION AUTHORIZATION modes_alice;
SET ROLE modes_bob;
SELECT * FROM salaries;  -- fail
SELECT read_salaries();  -- fail
SET ROLE modes_exempt;
SELECT * FROM salaries;  -- fail
SELECT read_salaries();  -- fail
SELECT debt FROM customers;  -- fail
SELECT by_exempt();  -- fail
RESET ROLE;
SELECT * FROM of_bob;  -- fail
SELECT * FROM of_exempt;  -- fail
RESET SESSION AUTHORIZATION;
REVOKE modes_bob, modes_exempt FROM modes_alice;
SET SESSION AUTHORIZATION modes_alice;
SELECT * FROM of_bob;
SELECT by_exempt();
-- A superuser who acts as bob, and an exempt role that does.
RESET SESSION AUTHORIZATION;
SET ROLE modes_bob;
SELECT * FROM salaries;
SELECT * FROM customers;  -- fail
SELECT * FROM parts;  -- fail
RESET ROLE;
GRANT modes_bob TO modes_exempt;
SET SESSION AUTHORIZATION modes_exempt;
SELECT * FROM salaries, customers;
SET ROLE modes_bob;
SELECT * FROM customers;  -- fail
RESET ROLE;

-- Partitions: an allow of the parent allows reading through the parent, and its partitions directly.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.allow_columns('parts', '{id}', 'modes parts');
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM parts ORDER BY id;
SELECT * FROM parts_north;
SELECT region FROM parts_north;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('modes parts');
SELECT betweenrows.allow_columns('parts_north', '{id,region}', 'modes north');
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM parts;  -- fail
SELECT * FROM parts_north;
SELECT * FROM parts_south;  -- fail

-- Denies beat allows, for views of exempt owners too: they stick to the data.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.deny_table('salaries', 'modes no salaries');
SELECT betweenrows.deny_columns('customers', '{debt}', 'modes debt');
SET SESSION AUTHORIZATION modes_alice;
SELECT * FROM of_exempt;  -- fail
SELECT by_exempt();  -- fail
SELECT * FROM sql_by_exempt();  -- fail
SET SESSION AUTHORIZATION modes_bob;
SELECT * FROM salaries;  -- fail
SELECT * FROM of_bob;  -- fail

-- Foreign keys work although what they look at is hidden.
RESET SESSION AUTHORIZATION;
CREATE TABLE orders (id int, customer int REFERENCES customers);
GRANT ALL ON orders TO modes_bob;
SELECT betweenrows.allow_columns('orders', '{id,customer}', 'modes orders');
SET SESSION AUTHORIZATION modes_bob;
INSERT INTO orders (id, customer) VALUES (1, 1) RETURNING *;

-- Back to open: plans and cached plans of functions follow.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('modes no salaries');
SET SESSION AUTHORIZATION modes_alice;
PREPARE p AS SELECT * FROM modes.orders;
EXECUTE p;
SELECT read_salaries();  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_access_mode('open');
SET SESSION AUTHORIZATION modes_alice;
SELECT read_salaries();
SELECT * FROM salaries;
SELECT * FROM parts ORDER BY id;
RESET SESSION AUTHORIZATION;
BEGIN;
SELECT betweenrows.set_access_mode('policy_required');
SET LOCAL SESSION AUTHORIZATION modes_alice;
SELECT read_salaries();  -- fail
ROLLBACK;
SET SESSION AUTHORIZATION modes_alice;
SELECT read_salaries();
DEALLOCATE p;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'modes %' ORDER BY name;
SELECT betweenrows.exempt_role('modes_exempt', false);
SELECT betweenrows.drop_user('modes_alice'), betweenrows.drop_user('modes_bob');
SET client_min_messages = warning;
DROP SCHEMA modes CASCADE;
DROP OWNED BY modes_alice, modes_bob, modes_exempt;
DROP ROLE modes_alice, modes_bob, modes_exempt;
