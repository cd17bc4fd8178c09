-- Every place of a SELECT where a table can stand: each is a range table entry of its own at some level, and one that is
-- not found is read raw. alice and bob see their own customers only, social security numbers are masked and what a
-- customer owes does not exist.
CREATE ROLE paths_alice LOGIN;
CREATE ROLE paths_bob LOGIN;
CREATE SCHEMA read_paths;
GRANT ALL ON SCHEMA read_paths TO paths_alice, paths_bob;
SET search_path = read_paths;
CREATE TABLE customers (id int PRIMARY KEY, agent text, name text, ssn text, debt int);
INSERT INTO customers VALUES
    (1, 'paths_alice', 'Ann', '111-11-1111', 100), (2, 'paths_alice', 'Abe', '222-22-2222', 200),
    (3, 'paths_bob', 'Ben', '333-33-3333', 300), (4, 'paths_bob', 'Bea', '444-44-4444', 400),
    (5, NULL, 'Nil', '555-55-5555', 500);
CREATE TABLE visits (customer int, day int);
INSERT INTO visits SELECT c, d FROM generate_series(1, 6) c, generate_series(1, 2) d;
ANALYZE customers, visits;
GRANT ALL ON ALL TABLES IN SCHEMA read_paths TO paths_alice, paths_bob;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'paths own');
SELECT betweenrows.mask_column('customers', 'ssn', '''***-'' || right(ssn, 2)', 'paths ssn');
SELECT betweenrows.deny_columns('customers', '{debt}', 'paths debt');

-- The raw view of a superuser.
SELECT * FROM customers ORDER BY id;

-- Viewpoint of alice.
SET SESSION AUTHORIZATION paths_alice;
SELECT * FROM customers WHERE f_leak(name) AND f_leak(ssn) ORDER BY id;
TABLE customers;

-- An alias hides the name that policies know the table by.
SELECT x.* FROM customers AS x ORDER BY 1;
SELECT * FROM customers AS x (a, b, c, d) ORDER BY a;
SELECT * FROM customers x JOIN customers y ON x.id <> y.id AND f_leak(y.ssn) ORDER BY x.id;
SELECT * FROM (customers x JOIN visits v ON v.customer = x.id) AS j ORDER BY id, day;
SELECT j.* FROM customers JOIN visits v (id, day) USING (id) AS j ORDER BY id, v.day;

-- CTEs are queries of their own: plain, materialized, recursive, modifying, nested, with SEARCH and CYCLE.
WITH c AS (SELECT * FROM customers) SELECT * FROM c ORDER BY id;
WITH c AS MATERIALIZED (SELECT * FROM customers) SELECT * FROM c WHERE f_leak(ssn) ORDER BY id;
WITH c AS NOT MATERIALIZED (SELECT * FROM customers) SELECT * FROM c a JOIN c b USING (id) ORDER BY id;
WITH RECURSIVE c AS (
    SELECT id, ssn, 1 AS depth FROM customers WHERE id < 3
    UNION ALL SELECT n.id, n.ssn, depth + 1 FROM c JOIN customers n ON n.id = c.id + 1)
SELECT * FROM c ORDER BY id, depth;
WITH RECURSIVE c (id, ssn) AS (
    SELECT id, ssn FROM customers WHERE id = 1
    UNION ALL SELECT n.id, n.ssn FROM c JOIN customers n ON n.id = c.id + 1)
    SEARCH DEPTH FIRST BY ssn SET place CYCLE ssn SET again USING way
SELECT * FROM c;
WITH c AS (UPDATE customers SET name = name RETURNING *) SELECT * FROM c ORDER BY id;
WITH a AS (WITH b AS (WITH c AS (SELECT * FROM customers) SELECT * FROM c) SELECT * FROM b) SELECT * FROM a ORDER BY id;

-- Subqueries: in FROM, scalar, IN, EXISTS, ANY, ALL, ARRAY, row comparison, and wherever an expression can stand.
SELECT * FROM (SELECT * FROM (SELECT * FROM customers OFFSET 0) a LIMIT 10) b ORDER BY id;
SELECT (SELECT string_agg(ssn, ',' ORDER BY id) FROM customers) AS scalar,
       ARRAY(SELECT ssn FROM customers ORDER BY id) AS list,
       3 IN (SELECT id FROM customers) AS "in", 3 NOT IN (SELECT id FROM customers) AS not_in,
       EXISTS (SELECT FROM customers WHERE id = 3) AS "exists",
       5 > ANY (SELECT id FROM customers) AS "any", 3 > ALL (SELECT id FROM customers) AS "all",
       (SELECT (id, ssn) FROM customers WHERE id = 2) = (2, text '222-22-2222') AS "row";
SELECT day, (SELECT c.ssn FROM customers c WHERE c.id = v.customer) FROM visits v ORDER BY customer, day;
SELECT count(*) FROM visits v WHERE (SELECT ssn FROM customers c WHERE c.id = v.customer) LIKE '%-%-%';
SELECT count(*) FROM visits v WHERE EXISTS (SELECT FROM customers c WHERE c.id = v.customer AND c.ssn LIKE '%-%-%');
SELECT customer FROM visits v GROUP BY customer HAVING customer IN (SELECT id FROM customers) ORDER BY 1;
SELECT day FROM visits v ORDER BY (SELECT ssn FROM customers c WHERE c.id = v.customer) NULLS FIRST, customer, day
 LIMIT (SELECT count(*) FROM customers) OFFSET (SELECT min(id) - 1 FROM customers WHERE f_leak(ssn));
SELECT sum(day) FILTER (WHERE customer IN (SELECT id FROM customers)) FROM visits;
SELECT CASE WHEN EXISTS (SELECT FROM customers WHERE id = 4) THEN 'there' ELSE 'not there' END;
SELECT count(*) OVER (ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND (SELECT count(*) - 1 FROM customers) FOLLOWING)
  FROM visits WHERE customer = 1 ORDER BY day;
SELECT x FROM generate_series(1, (SELECT max(id) FROM customers)) x;
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY(SELECT ssn FROM customers ORDER BY id))) AS r;
VALUES ((SELECT max(ssn) FROM customers)), ((SELECT count(*)::text FROM customers));
SELECT * FROM (VALUES (3), (2)) v (id) LEFT JOIN customers USING (id) ORDER BY id;

-- LATERAL, also through a sample: its argument is evaluated one level up.
SELECT v.day, c.* FROM visits v, LATERAL (SELECT * FROM customers c WHERE c.id = v.customer) c ORDER BY id, day;
SELECT p, count(ssn), max(ssn) FROM (VALUES (0), (100)) v (p),
       LATERAL (SELECT * FROM customers TABLESAMPLE BERNOULLI (p) WHERE f_leak(ssn)) s GROUP BY p ORDER BY p;
SELECT id, ssn FROM customers TABLESAMPLE SYSTEM (100) REPEATABLE (1) ORDER BY id;
SELECT c.id, s.* FROM customers c, LATERAL (SELECT c.ssn, count(*) FROM customers o WHERE o.ssn >= c.ssn) s ORDER BY 1;

-- Joins of every kind, with the table on the side that is made up where nothing matches.
SELECT v.customer, c.id, c.ssn, c IS NULL AS nobody FROM visits v LEFT JOIN customers c ON c.id = v.customer
 WHERE day = 1 ORDER BY 1;
SELECT v.customer, c.ssn FROM customers c RIGHT JOIN visits v ON c.id = v.customer AND f_leak(c.ssn) WHERE day = 1 ORDER BY 1;
SELECT v.customer, c.id, c.ssn, c FROM (SELECT * FROM visits WHERE customer > 1 AND day = 1) v
  FULL JOIN customers c ON c.id = v.customer ORDER BY 1, 2;
SELECT count(*) FROM customers CROSS JOIN customers x;
SELECT * FROM customers NATURAL JOIN (SELECT id, '***-11' AS ssn FROM customers) n ORDER BY id;
SELECT id FROM customers c WHERE NOT EXISTS (SELECT FROM visits v WHERE v.customer = c.id + 1) ORDER BY id;
SELECT DISTINCT v.customer FROM visits v WHERE v.customer NOT IN (SELECT id FROM customers) ORDER BY 1;

-- Set operations, each arm a query.
SELECT * FROM customers UNION ALL SELECT * FROM customers ORDER BY 1, 4;
SELECT ssn FROM customers INTERSECT SELECT '***-11';
SELECT id FROM visits, LATERAL (SELECT customer) x (id) EXCEPT SELECT id FROM customers ORDER BY 1;
(SELECT id, ssn FROM customers ORDER BY ssn DESC LIMIT 1) UNION (SELECT customer, 'x' FROM visits WHERE customer = 6) ORDER BY 1;

-- Aggregates, windows and grouping collect what they are given.
SELECT count(*), count(DISTINCT ssn), min(ssn), max(ssn), string_agg(ssn, ',' ORDER BY ssn), array_agg(ssn ORDER BY id) FROM customers;
SELECT json_agg(c ORDER BY id), jsonb_object_agg(id, ssn), json_agg(ssn ORDER BY id DESC) FROM customers c;
SELECT mode() WITHIN GROUP (ORDER BY ssn), percentile_disc(1) WITHIN GROUP (ORDER BY ssn),
       rank('***-12') WITHIN GROUP (ORDER BY ssn) FROM customers;
SELECT agent, ssn, count(*), grouping(agent, ssn) FROM customers GROUP BY GROUPING SETS ((agent), (ssn), ()) ORDER BY 4, 1, 2;
SELECT ssn, max(debt_free) FROM (SELECT ssn, id AS debt_free FROM customers) c GROUP BY CUBE (ssn) ORDER BY 1;
SELECT id, first_value(ssn) OVER w, lag(ssn) OVER w, array_agg(ssn) OVER (ORDER BY ssn RANGE UNBOUNDED PRECEDING)
  FROM customers WINDOW w AS (PARTITION BY agent ORDER BY ssn) ORDER BY id;
SELECT DISTINCT ON (right(ssn, 1)) id, ssn FROM customers ORDER BY right(ssn, 1), id;
SELECT DISTINCT length(ssn) FROM customers;
SELECT max(id) FILTER (WHERE f_leak(ssn)) FROM customers;

-- Positions and aliases of the output are counted without what is hidden.
SELECT * FROM customers ORDER BY 4 DESC;
SELECT * FROM customers ORDER BY 5;  -- fail

-- Row locks: only rows that are seen are locked, and one is locked for LIMIT 1.
SELECT id, ssn FROM customers ORDER BY id FOR UPDATE;
SELECT id, ssn FROM customers ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
SELECT v.day, c.ssn FROM visits v JOIN customers c ON c.id = v.customer WHERE v.day = 1 ORDER BY c.id FOR SHARE OF c;
SELECT * FROM (SELECT * FROM customers FOR NO KEY UPDATE) c ORDER BY id;
RESET SESSION AUTHORIZATION;
BEGIN;
SET LOCAL SESSION AUTHORIZATION paths_alice;
SELECT id FROM customers WHERE f_leak(ssn) ORDER BY id LIMIT 1 FOR UPDATE;
SET LOCAL SESSION AUTHORIZATION DEFAULT;
SELECT id, xmax <> 0 AND xmax = pg_current_xact_id()::xid AS locked FROM customers ORDER BY id;
COMMIT;

-- Cursors read on after the statement that declared them: scrolling, held over a commit, as a function's result.
SET SESSION AUTHORIZATION paths_alice;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT * FROM customers ORDER BY id;
FETCH LAST FROM c;
FETCH ALL FROM c;
FETCH BACKWARD 1 FROM c;
DECLARE h CURSOR WITH HOLD FOR SELECT * FROM customers WHERE f_leak(ssn) ORDER BY id;
COMMIT;
FETCH ALL FROM h;
CLOSE h;
BEGIN;
CREATE FUNCTION open_customers() RETURNS refcursor LANGUAGE plpgsql
    AS $$ DECLARE c refcursor := 'of_function'; BEGIN OPEN c FOR SELECT id, ssn FROM customers ORDER BY id; RETURN c; END $$;
SELECT open_customers();
FETCH ALL FROM of_function;
ROLLBACK;

-- What is made from a query, and what is prepared.
PREPARE p (int) AS SELECT * FROM customers WHERE id >= $1 ORDER BY id;
EXECUTE p (1);
EXECUTE p (2);
DEALLOCATE p;
CREATE TEMP TABLE copy AS SELECT * FROM customers;
TABLE copy ORDER BY id;
CREATE TEMP TABLE copy_of_prepared AS SELECT * FROM customers WHERE id > 1;
SELECT * INTO TEMP into_copy FROM customers;
TABLE into_copy ORDER BY id;
COPY (SELECT * FROM customers ORDER BY id) TO STDOUT;
COPY (TABLE customers ORDER BY id) TO STDOUT (FORMAT csv, HEADER);

-- Viewpoint of bob, in the same session: nothing of alice's plans is left.
SET SESSION AUTHORIZATION paths_bob;
SELECT * FROM customers WHERE f_leak(ssn) ORDER BY id;
WITH c AS MATERIALIZED (TABLE customers) SELECT json_agg(c) FROM c;

-- A subject without rows.
RESET SESSION AUTHORIZATION;
CREATE ROLE paths_carol LOGIN;
GRANT ALL ON SCHEMA read_paths TO paths_carol;
GRANT SELECT ON ALL TABLES IN SCHEMA read_paths TO paths_carol;
SET SESSION AUTHORIZATION paths_carol;
SELECT *, f_leak(ssn) FROM customers WHERE f_leak(name) OR true;
SELECT count(*), max(ssn) FROM customers;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'paths %' ORDER BY name;
DROP SCHEMA read_paths CASCADE;
DROP OWNED BY paths_alice, paths_bob, paths_carol;
DROP ROLE paths_alice, paths_bob, paths_carol;
