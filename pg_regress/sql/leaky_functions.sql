-- A user's function that is called for a row before the filter has seen it, tells of the row: by what it is given, or only
-- by being called at all. PostgreSQL calls cheap ones first, pushes them below joins and uses them in index scans.
CREATE ROLE leaky_alice LOGIN;
CREATE SCHEMA leaky;
GRANT ALL ON SCHEMA leaky TO leaky_alice;
SET search_path = leaky;
CREATE TABLE accounts (id int PRIMARY KEY, agent text, iban text, amount int, tags text[], doc jsonb, secret int);
INSERT INTO accounts SELECT n, CASE WHEN n <= 2 THEN 'leaky_alice' ELSE 'other' END, 'iban' || n, n * 100, ARRAY['t' || n],
    jsonb_build_object('n', n), n FROM generate_series(1, 5) n;
CREATE INDEX accounts_iban ON accounts (iban text_pattern_ops);
CREATE INDEX accounts_amount ON accounts (amount);
CREATE INDEX accounts_tags ON accounts USING gin (tags);
CREATE TABLE mine (id int PRIMARY KEY);
INSERT INTO mine VALUES (1), (4);
ANALYZE accounts, mine;
GRANT ALL ON ALL TABLES IN SCHEMA leaky TO leaky_alice;
SELECT betweenrows.filter_rows('accounts', 'agent = {user.username}', 'leaky own');
SELECT betweenrows.mask_column('accounts', 'iban', '''-''', 'leaky iban');
SELECT betweenrows.deny_columns('accounts', '{secret}', 'leaky secret');
-- The raw view of a superuser.
SELECT * FROM accounts ORDER BY id;

SET SESSION AUTHORIZATION leaky_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE FUNCTION f_stable(anyelement) RETURNS boolean LANGUAGE plpgsql STABLE COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_stable => %', $1; RETURN true; END $$;
CREATE FUNCTION f_immutable(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_immutable => %', $1; RETURN true; END $$;
CREATE FUNCTION f_sql(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT 1 / ($1 - 300) < 1';
CREATE FUNCTION f_int(int) RETURNS int LANGUAGE plpgsql STABLE COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_int => %', $1; RETURN $1; END $$;
CREATE FUNCTION f_leakproof(int) RETURNS boolean LANGUAGE plpgsql LEAKPROOF AS 'BEGIN RETURN true; END';  -- fail

-- Viewpoint of alice: given the row's values, in every place of a condition.
SELECT id FROM accounts WHERE f_leak(amount) AND f_stable(agent) AND f_immutable(id) ORDER BY id;
SELECT id FROM accounts WHERE f_leak(id) OR f_leak(amount) ORDER BY id;
SELECT id FROM accounts WHERE NOT (NOT f_leak(id) OR agent = 'other') ORDER BY id;
SELECT id FROM accounts WHERE CASE WHEN f_leak(id) THEN true END ORDER BY id;
SELECT id FROM accounts WHERE amount = f_int(amount) ORDER BY id;
SELECT id FROM accounts WHERE amount > 200 AND f_leak(amount);
SELECT id FROM accounts WHERE id IN (3, 4, 5) AND f_leak(tags) AND f_leak(doc);
SELECT id FROM accounts WHERE (doc ->> 'n')::int / (amount - 300) < 10 ORDER BY id;
SELECT id FROM accounts WHERE 1 / (amount - 300) < 1 AND 1 / (id - 4) < 1 ORDER BY id;
SELECT id FROM accounts WHERE f_sql(amount) ORDER BY id;
SELECT id FROM accounts WHERE ('{"other": 1}'::jsonb -> agent) IS NULL AND tags[id] IS NULL AND 10 % (id - 3) = 0 ORDER BY id;
SELECT id FROM accounts WHERE repeat(agent, 1000 * (amount / 300) * 1000000) <> '' ORDER BY id;

-- Called without a row's values, behind a condition that is leakproof: each call would tell of a row with that value.
SELECT id FROM accounts WHERE f_leak('called'::text) ORDER BY id;
SELECT id FROM accounts WHERE id = 3 AND f_leak('a row with this id'::text);
SELECT id FROM accounts WHERE amount BETWEEN 250 AND 350 AND f_leak('a row with this amount'::text);
SELECT id FROM accounts WHERE agent = 'other' AND f_leak('a row of this agent'::text);
SELECT id FROM accounts WHERE id = 4 AND f_leak(iban);
SELECT id FROM accounts WHERE NOT (id <> 4 OR NOT f_leak('negated'::text));
SELECT id FROM accounts WHERE id = 5 AND (f_leak('or'::text) OR false);
SELECT id FROM accounts JOIN (VALUES (1)) v ON id = 3 AND f_leak('joined'::text);
SELECT id FROM (SELECT * FROM accounts WHERE f_leak('inner'::text)) a WHERE id > 3;
SELECT id FROM (SELECT * FROM accounts) a WHERE id > 3 AND f_leak('outer'::text);
SELECT (SELECT id FROM accounts WHERE id = x AND f_leak(x)) FROM generate_series(3, 4) x;
SELECT id FROM accounts WHERE id = 3 AND (SELECT f_leak('subquery'::text));
CREATE SEQUENCE calls;
SELECT count(*) FROM accounts WHERE id > 2 AND nextval('calls') > 0;
SELECT setval('calls', 1, false), setseed(0.5);
SELECT count(*) FROM accounts WHERE id > 2 AND random() >= 0;
SELECT count(*) FROM accounts WHERE id > 2 AND pg_advisory_lock(id) IS NULL;
SELECT count(*) FROM accounts WHERE id > 2 AND pg_try_advisory_lock(42);
SELECT nextval('calls');
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
UPDATE accounts SET agent = agent WHERE id = 3 AND f_leak('updated'::text);
DELETE FROM accounts WHERE id = 3 AND f_leak('deleted'::text);
DELETE FROM accounts USING mine WHERE accounts.id = 3 AND f_leak('using'::text);
MERGE INTO accounts a USING (VALUES (3)) v (x) ON a.id = v.x AND f_leak('merged'::text) WHEN MATCHED THEN DELETE;
MERGE INTO accounts a USING (VALUES (3)) v (x) ON a.id = 3 AND f_leak('merged'::text) WHEN MATCHED THEN DELETE;

-- In joins: below them, in their conditions, on either side, with parameters from the other side.
SELECT a.id FROM accounts a JOIN mine m ON f_leak(a.amount) AND m.id = a.id ORDER BY 1;
SELECT m.id, a.id FROM mine m LEFT JOIN accounts a ON a.id = m.id AND f_leak(a.amount) ORDER BY 1;
SELECT m.id, a.id FROM accounts a RIGHT JOIN mine m ON a.id = m.id AND f_leak(m.id) AND f_leak(a.tags) ORDER BY 1;
SELECT m.id FROM mine m WHERE EXISTS (SELECT FROM accounts a WHERE a.id = m.id AND f_leak(a.amount + m.id)) ORDER BY 1;
SELECT m.id FROM mine m WHERE m.id NOT IN (SELECT a.id FROM accounts a WHERE f_leak(a.id)) ORDER BY 1;
SELECT m.id FROM mine m, LATERAL (SELECT f_leak(a.id) FROM accounts a WHERE a.id = m.id OFFSET 0) l ORDER BY 1;
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off;
SELECT m.id, a.amount FROM mine m JOIN accounts a ON a.id = m.id AND f_leak(a.amount + m.id) AND f_leak(m.id) ORDER BY 1;
SELECT m.id, a.amount FROM mine m JOIN accounts a ON a.amount = f_int(m.id * 100) ORDER BY 1;
RESET enable_hashjoin; RESET enable_mergejoin;

-- With indexes: what an index condition calls, and what is checked again for the row it found.
SELECT id FROM accounts WHERE amount = f_int(400);
SELECT id FROM accounts WHERE amount > f_int(300) AND f_leak(amount);
SELECT id FROM accounts WHERE tags @> ARRAY['t4'] AND f_leak(id);
SELECT id FROM accounts WHERE iban LIKE 'iban4%' OR iban = 'iban4';
SELECT id FROM accounts WHERE id = 4 AND f_leak(doc);
SELECT amount FROM accounts WHERE f_leak(amount) ORDER BY amount DESC LIMIT 1;
SELECT max(amount) FROM accounts WHERE f_leak(amount);
SELECT id FROM accounts WHERE ctid = '(0,4)' AND f_leak(id);
SELECT id FROM accounts WHERE ctid = ANY (ARRAY['(0,1)', '(0,5)']::tid[]) AND f_leak(id);
RESET enable_seqscan;

-- Everywhere else: output, order, groups, windows, limits, samples.
SELECT f_leak(amount), f_leak(secret) FROM accounts ORDER BY id;  -- fail
SELECT f_leak(amount) FROM accounts ORDER BY f_leak(id), id;
SELECT count(*) FROM accounts GROUP BY f_leak(agent);
SELECT agent FROM accounts GROUP BY agent HAVING f_leak(agent) AND f_leak(max(amount));
SELECT id FROM accounts ORDER BY id LIMIT f_int((SELECT count(*) FROM accounts WHERE f_leak(amount))::int) OFFSET 1;
SELECT count(*) FROM accounts TABLESAMPLE BERNOULLI (f_int(100)) WHERE f_leak(id);
SELECT sum(amount) OVER (ORDER BY id), f_leak(amount) FROM accounts ORDER BY id;
SELECT DISTINCT f_leak(agent) FROM accounts;
SELECT count(*) FILTER (WHERE f_leak(amount)) FROM accounts;

-- An operator of the user whose estimators look at the most common values of the column.
CREATE FUNCTION leak_op(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'leak_op => % %', $1, $2; RETURN $1 > $2; END $$;
CREATE OPERATOR >>> (FUNCTION = leak_op, LEFTARG = int, RIGHTARG = int, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR ==== (FUNCTION = leak_op, LEFTARG = int, RIGHTARG = int, RESTRICT = eqsel, JOIN = eqjoinsel);
RESET SESSION AUTHORIZATION;
CREATE TABLE common (agent text, amount int);
INSERT INTO common SELECT CASE WHEN n % 50 = 0 THEN 'leaky_alice' ELSE 'other' END, CASE WHEN n % 50 = 0 THEN 1 ELSE 666 END
  FROM generate_series(1, 100) n;
ANALYZE common;
GRANT ALL ON common TO leaky_alice;
SELECT betweenrows.filter_rows('common', 'agent = {user.username}', 'leaky common');
SET SESSION AUTHORIZATION leaky_alice;
SELECT count(*) FROM common WHERE amount >>> 5 AND agent = 'other';
PREPARE p AS SELECT count(*) FROM common WHERE amount ==== 5;
SELECT count(*) FROM common a JOIN mine m ON a.amount ==== m.id WHERE a.amount > 10000;
SELECT count(*) FROM (SELECT amount FROM common OFFSET 0) c WHERE amount >>> 5 AND amount > 10000;
SELECT count(*) FROM (SELECT amount FROM common GROUP BY amount) c WHERE amount ==== 5 AND amount > 10000;
DEALLOCATE p;

-- As a barrier or not: no setting of the subject changes anything.
SET betweenrows.barrier = 'adaptive';  -- fail
RESET SESSION AUTHORIZATION;
SET betweenrows.barrier = 'always';
SET SESSION AUTHORIZATION leaky_alice;
SELECT id FROM accounts WHERE f_leak(amount) ORDER BY id;
SELECT id FROM accounts WHERE id = 3 AND f_leak('called'::text);
SELECT id FROM accounts WHERE amount > 100;
RESET SESSION AUTHORIZATION;
RESET betweenrows.barrier;

SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'leaky %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA leaky CASCADE;
DROP OWNED BY leaky_alice;
DROP ROLE leaky_alice;
