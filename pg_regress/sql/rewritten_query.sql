-- What rewritten_query shows is what administrators judge a policy by: it has to parse back into the query that ran, and a
-- superuser who runs it has to get what the user gets. PostgreSQL's own printer leaves out parentheses when it prints nicely,
-- and before 17 confuses columns with the names of results.
CREATE ROLE rq_alice LOGIN;
CREATE SCHEMA rq;
GRANT USAGE ON SCHEMA rq TO rq_alice;
SET search_path = rq;
CREATE TABLE t (a int, b int, c text, hidden text);
INSERT INTO t VALUES (1, 2, 'raw-1', 'h'), (2, 1, 'raw-2', 'h'), (3, 0, 'raw-3', 'h'), (4, 9, 'raw-4', 'h');
CREATE TABLE hides (h1 text, a int, h2 text, b int);
INSERT INTO hides SELECT 'h', i, 'h', i + 1 FROM generate_series(1, 4) i;
CREATE TABLE flags (f boolean);
INSERT INTO flags VALUES (true);
GRANT ALL ON t, hides, flags TO rq_alice;
SELECT betweenrows.filter_rows('t', '(a < 4) IN (SELECT f FROM rq.flags)', 'rq filter');
SELECT betweenrows.mask_column('t', 'c', 'CASE WHEN a > b THEN (''m'' || a) ELSE left(c, -2) END', 'rq mask');
SELECT betweenrows.deny_columns('t', '{hidden}', 'rq hidden');
SELECT betweenrows.deny_columns('hides', '{h1,h2}', 'rq hides');
-- Runs a query both ways.
CREATE FUNCTION ran_both(query text) RETURNS TABLE (same boolean, rows bigint) LANGUAGE plpgsql AS $$
DECLARE shown text := betweenrows.rewritten_query(query, 'rq_alice'); governed text[]; rerun text[]; line text;
BEGIN
    FOR line IN EXECUTE format('SELECT q::text FROM (%s) q', shown) LOOP rerun := rerun || line; END LOOP;
    SET LOCAL ROLE rq_alice;
    FOR line IN EXECUTE format('SELECT q::text FROM (%s) q', query) LOOP governed := governed || line; END LOOP;
    RESET ROLE;
    RETURN QUERY SELECT rerun IS NOT DISTINCT FROM governed, cardinality(governed)::bigint;
END $$;

SELECT betweenrows.rewritten_query('SELECT * FROM rq.t', 'rq_alice');
SELECT query, (ran_both(query)).* FROM (VALUES
    ('SELECT a, b, c FROM rq.t ORDER BY c'),
    ('SELECT a FROM rq.t WHERE (a > b) IN (SELECT f FROM rq.flags) ORDER BY a'),
    ('SELECT a FROM rq.t WHERE (a > b) = (b < 2) AND (a = 1) IS NOT TRUE ORDER BY a'),
    ('SELECT (a - (b - 1)) * 2 AS x, -(-a) AS y, (c || ''x'') COLLATE "C" AS z FROM rq.t ORDER BY a'),
    ('SELECT (ARRAY[a, b])[1:2] AS x, (t).c AS y, (SELECT t.c) AS z FROM rq.t ORDER BY a'),
    ('SELECT b AS a, a AS b FROM rq.t ORDER BY t.a'),
    ('SELECT b AS a, a AS b FROM rq.t ORDER BY a DESC'),
    ('SELECT DISTINCT ON (t.b) a AS b FROM rq.t ORDER BY t.b DESC'),
    ('SELECT b AS a, count(*) AS b FROM rq.t GROUP BY t.b ORDER BY t.b'),
    ('SELECT x.a, y.a AS c FROM rq.t x LEFT JOIN rq.hides y ON x.a = y.b ORDER BY x.a'),
    ('SELECT x.a, z.b FROM (rq.t x FULL JOIN rq.t y USING (a)) LEFT JOIN rq.hides z ON z.a = x.a ORDER BY x.a'),
    ('SELECT a, x.b, x.c, y.b AS yb, z.b AS zb FROM (rq.t x JOIN rq.hides y USING (a)) JOIN rq.hides z USING (a) ORDER BY a'),
    ('WITH w AS (SELECT a AS b, b AS a FROM rq.t ORDER BY t.b) SELECT * FROM w ORDER BY a')) v (query);
-- Statements that write, with parameters.
SELECT betweenrows.rewritten_query('UPDATE rq.t SET b = $1 WHERE (a > b) IN (SELECT f FROM rq.flags) AND c = $2', 'rq_alice');
SELECT betweenrows.rewritten_query('DELETE FROM rq.t WHERE (a = 1) IS NOT NULL RETURNING c', 'rq_alice');
-- For those whom nothing governs it is the statement itself.
SELECT betweenrows.rewritten_query('SELECT a FROM rq.t WHERE (a > b) IN (SELECT f FROM rq.flags) ORDER BY b');

SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'rq %' ORDER BY name;
DROP SCHEMA rq CASCADE;
DROP ROLE rq_alice;
