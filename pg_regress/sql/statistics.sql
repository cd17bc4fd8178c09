-- Statistics hold values: the most common ones, bounds of histograms, frequencies. PostgreSQL shows them to everyone who may
-- read the column, and its estimators hand them to the operators of a statement, which a user can define.
CREATE DATABASE regress_statistics;
\c regress_statistics
SET client_min_messages = warning;
CREATE EXTENSION betweenrows;
\set VERBOSITY terse
CREATE ROLE regress_alice LOGIN;
CREATE ROLE regress_bob LOGIN;
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE TABLE pay (region text, salary int, person text);
INSERT INTO pay SELECT CASE WHEN i % 3 = 0 THEN 'eu' ELSE 'us' END, 1000 + i % 10, 'person ' || i % 7 FROM generate_series(1, 3000) i;
CREATE INDEX pay_expression ON pay ((salary + 1));
CREATE STATISTICS pay_mcv (mcv) ON region, salary FROM pay;
CREATE STATISTICS pay_raw (mcv) ON region, person FROM pay;
CREATE STATISTICS pay_expr ON (salary * 2), (salary * 3) FROM pay;
CREATE STATISTICS pay_expr_raw ON (person || 'x'), (region || 'y') FROM pay;
CREATE TABLE shop (region text, item text);
INSERT INTO shop SELECT CASE WHEN i % 3 = 0 THEN 'eu' ELSE 'us' END, 'item ' || i % 7 FROM generate_series(1, 3000) i;
CREATE STATISTICS shop_mcv (mcv) ON region, item FROM shop;
CREATE INDEX shop_expression ON shop (lower(item));
-- Of a partitioned table the parent has statistics of all partitions, and each partition has its own.
CREATE TABLE parts (region text, amount int) PARTITION BY LIST (region);
CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
CREATE TABLE parts_us PARTITION OF parts FOR VALUES IN ('us');
INSERT INTO parts SELECT CASE WHEN i % 3 = 0 THEN 'eu' ELSE 'us' END, i % 10 FROM generate_series(1, 3000) i;
CREATE TABLE open (id int, note text);
INSERT INTO open SELECT i, 'note ' || i % 3 FROM generate_series(1, 3000) i;
CREATE STATISTICS open_mcv (mcv) ON id, note FROM open;
CREATE MATERIALIZED VIEW pay_copy AS SELECT * FROM pay;
ANALYZE;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO regress_alice, regress_bob;
-- Extended statistics are shown to owners only, and owners are governed like everyone.
ALTER TABLE pay OWNER TO regress_alice;
ALTER TABLE shop OWNER TO regress_alice;
ALTER TABLE open OWNER TO regress_alice;
-- alice: two masked columns of pay (one only on the copy), some rows of shop, and one partition without its rows.
SELECT betweenrows.create_user('regress_alice') IS NOT NULL AS created;
SELECT betweenrows.mask_column('pay', 'salary', '0', to_user => 'regress_alice');
SELECT betweenrows.mask_column('pay_copy', 'person', $$'x'$$, to_user => 'regress_alice');
SELECT betweenrows.filter_rows('shop', $$region = 'eu'$$, to_user => 'regress_alice');
SELECT betweenrows.filter_rows('parts_us', 'amount < 5', to_user => 'regress_alice');

CREATE VIEW seen AS SELECT tablename, attname, most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL AS has_values
  FROM pg_stats WHERE schemaname = 'public';
-- The superuser's view.
TABLE seen ORDER BY 1, 2;
SELECT statistics_name, attnames, most_common_vals IS NOT NULL AS mcv FROM pg_stats_ext ORDER BY 1;
SELECT statistics_name, expr, n_distinct FROM pg_stats_ext_exprs ORDER BY 1, 2;

-- bob, who is not restricted, sees the same, but for expressions, which PostgreSQL shows to owners.
SET SESSION AUTHORIZATION regress_bob;
SELECT count(*) FROM pg_stats WHERE schemaname = 'public';

-- alice sees statistics of raw columns of tables that she sees all rows of.
SET SESSION AUTHORIZATION regress_alice;
SELECT tablename, attname FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2;
SELECT statistics_name, attnames FROM pg_stats_ext ORDER BY 1;
SELECT statistics_name, expr, n_distinct FROM pg_stats_ext_exprs ORDER BY 1, 2;
-- The tables behind the views are not hers to read, whatever her privileges.
SELECT * FROM pg_statistic;
SELECT * FROM pg_statistic_ext_data;
RESET SESSION AUTHORIZATION;
GRANT pg_read_all_data TO regress_alice;
SET SESSION AUTHORIZATION regress_alice;
SELECT count(*) FROM pg_statistic;
SELECT count(*) FROM pg_statistic_ext_data;
SELECT count(*) FROM pg_stats WHERE tablename IN ('shop', 'shop_expression', 'pay_expression');
SELECT count(*) FROM pg_stats WHERE schemaname = 'betweenrows';
CREATE VIEW stolen AS SELECT starelid FROM pg_statistic;
TABLE stolen;
CREATE FUNCTION stolen_definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM pg_statistic';
SELECT stolen_definer();
-- A view of an exempt owner over the statistics is filtered like PostgreSQL's own.
RESET SESSION AUTHORIZATION;
CREATE VIEW all_statistics AS SELECT starelid::regclass AS relation, staattnum FROM pg_statistic WHERE starelid >= 16384;
GRANT SELECT ON all_statistics TO regress_alice;
SET SESSION AUTHORIZATION regress_alice;
SELECT * FROM all_statistics WHERE relation::text !~ '^betweenrows' ORDER BY relation::text, 2;

-- The statistics of a system catalog hold names: when some are hidden, so are the catalog's statistics.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.deny_columns('open', array['note'], to_user => 'regress_alice');
SELECT count(*) > 0 AS found FROM pg_stats WHERE schemaname = 'pg_catalog' AND attname IN ('relname', 'attname');
SELECT count(*) > 0 AS found FROM pg_stats WHERE schemaname = 'pg_catalog' AND attname = 'proname';
SET SESSION AUTHORIZATION regress_alice;
SELECT count(*) > 0 AS found FROM pg_stats WHERE schemaname = 'pg_catalog' AND attname IN ('relname', 'attname');
SELECT tablename, attname FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2;

-- Estimators call an operator's function with most common values while they plan. A user's function must not get those of
-- rows that a filter excludes, from the same query level or from one above.
RESET SESSION AUTHORIZATION;
REVOKE pg_read_all_data FROM regress_alice;
SET SESSION AUTHORIZATION regress_alice;
SET client_min_messages = notice;
CREATE FUNCTION tattle(text, text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN IF $1 = 'us' THEN RAISE NOTICE 'saw %', $1; END IF; RETURN $1 = $2; END $$;
CREATE OPERATOR === (FUNCTION = tattle, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel, JOIN = eqjoinsel);
SELECT count(*) FROM shop WHERE region === 'nowhere';
SELECT count(*) FROM (SELECT region FROM shop) s WHERE region === 'nowhere';
SELECT count(*) FROM (SELECT DISTINCT region FROM shop) s WHERE region === 'nowhere';
SELECT count(*) FROM shop a JOIN shop b ON a.region === b.region WHERE a.item === 'none';
WITH s AS MATERIALIZED (SELECT region FROM shop) SELECT count(*) FROM s WHERE region === 'nowhere';
-- It does tattle where nothing is filtered: planning alone is enough.
SET SESSION AUTHORIZATION regress_bob;
EXPLAIN (COSTS OFF) SELECT * FROM shop WHERE region === 'nowhere';

\c regression
DROP DATABASE regress_statistics;
DROP ROLE regress_alice, regress_bob;
