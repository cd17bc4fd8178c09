-- A filter that is an ordinary condition lets PostgreSQL use indexes for the statement's own conditions, but also evaluate
-- these first, on rows that the filter excludes. Whatever reveals the values it is called with, by an error, a message, an
-- effect or by way of the estimators, then reveals hidden rows; so only reviewed functions may go without the barrier.
CREATE DATABASE regress_safe_functions;
\c regress_safe_functions
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION betweenrows;
CREATE ROLE regress_alice LOGIN;
GRANT CREATE ON SCHEMA public TO PUBLIC;

-- The list itself: PostgreSQL's own functions only, written in C, without effects and without a body in SQL.
SELECT count(*) > 400 AS many, bool_and(f.function < 16384) AS own, bool_and(l.lanname = 'internal') AS internal,
       bool_and(p.provolatile <> 'v') AS not_volatile, bool_and(p.prokind = 'f') AS plain, count(DISTINCT f.function) = count(*) AS once
  FROM betweenrows.safe_functions() f JOIN pg_proc p ON p.oid = f.function JOIN pg_language l ON l.oid = p.prolang;
SELECT f.condition, count(*) FROM betweenrows.safe_functions() f GROUP BY 1 ORDER BY 1;
-- Functions with a set as result, stable ones and polymorphic ones are few, each with its reason in the source.
SELECT f.function, f.condition FROM betweenrows.safe_functions() f JOIN pg_proc p ON p.oid = f.function
 WHERE p.proretset ORDER BY 1::text;
SELECT f.function, f.condition FROM betweenrows.safe_functions() f JOIN pg_proc p ON p.oid = f.function
 WHERE p.provolatile = 's' ORDER BY 1::text;
SELECT f.function, f.condition FROM betweenrows.safe_functions() f JOIN pg_proc p ON p.oid = f.function
 WHERE EXISTS (SELECT FROM unnest(p.proargtypes) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p' AND t.typname <> 'cstring')
   AND p.pronargs > 1 ORDER BY 1::text;

-- docs has a filter, and so has rls, by PostgreSQL's own row security. The filter costs more than the statements' conditions,
-- which are evaluated first where nothing stands in the way.
CREATE TABLE docs (id int, tenant text, title text, note text COLLATE "C", other text COLLATE "POSIX", amount numeric, n int, at timestamptz, day date, body jsonb,
                   raw json, words tsvector, tags text[], span int4range, address inet);
INSERT INTO docs SELECT i, CASE WHEN i % 2 = 0 THEN 'acme' ELSE 'globex' END, 'title ' || i, 'note', 'note', i, i, '2024-01-01'::timestamptz + i * interval '1 h',
       '2024-01-01', jsonb_build_object('k', i), '{}', to_tsvector('simple', 'word' || i), array['t' || i], int4range(i, i + 2), '10.0.0.0'
  FROM generate_series(1, 3000) i;
-- A row of another tenant that everything goes wrong with.
INSERT INTO docs VALUES (4001, 'globex', 'xy', 'y', 'y', 1e131000, 0, '2024-01-01', '2024-01-01', '{"k": "x"}', '{"k": "\u0000"}', 'w', '{x}', '[1,2)', '10.0.0.0');
CREATE INDEX docs_id ON docs (id);
CREATE INDEX docs_title ON docs (title text_pattern_ops);
CREATE INDEX docs_amount ON docs (amount);
CREATE INDEX docs_at ON docs (at);
CREATE INDEX docs_body ON docs USING gin (body);
CREATE INDEX docs_words ON docs USING gin (words);
CREATE INDEX docs_tags ON docs USING gin (tags);
CREATE INDEX docs_span ON docs USING gist (span);
CREATE INDEX docs_lower ON docs (lower(title) text_pattern_ops);
CREATE TABLE rls (LIKE docs INCLUDING ALL);
INSERT INTO rls TABLE docs;
ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rls USING ((((tenant || '') || '') || '') = 'acme');
CREATE TABLE open (id int, tenant text);
INSERT INTO open VALUES (1, 'acme'), (4001, 'globex');
CREATE TABLE keyed (id bigint, tenant varchar, PRIMARY KEY (id, tenant));
CREATE TABLE masked_key (id int UNIQUE);
INSERT INTO masked_key VALUES (1), (2);
GRANT SELECT ON keyed, masked_key TO regress_alice;
ANALYZE docs, rls, open;
GRANT SELECT, UPDATE ON docs, rls, open TO regress_alice;
SELECT betweenrows.create_user('regress_alice') IS NOT NULL AS created;
SELECT betweenrows.filter_rows('docs', $$(((tenant || '') || '') || '') = 'acme'$$, to_user => 'regress_alice');
SET client_min_messages = error;
SELECT betweenrows.mask_column('masked_key', 'id', '7', to_user => 'regress_alice');
SET client_min_messages = warning;

-- Whether a query scans an index of a table.
CREATE FUNCTION uses_index(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    relation text := CASE WHEN query ~ '\mrls\M' THEN 'rls' ELSE 'docs' END;
    scans text := format('SELECT sum(pg_stat_get_xact_numscans(indexrelid)) FROM pg_index WHERE indrelid = %L::regclass', relation);
    before bigint;
    after bigint;
BEGIN
    EXECUTE scans INTO before;
    EXECUTE query;
    EXECUTE scans INTO after;
    RETURN after > before;
END $$;
CREATE TABLE queries (number int GENERATED ALWAYS AS IDENTITY, condition text);
INSERT INTO queries (condition) VALUES
    ('id = 7'), ('title LIKE ''title 12%'''), ('starts_with(title, ''title 12'')'), ('title ~ ''^title 12'''), ('amount = 12'),
    ('amount BETWEEN 12 AND 13.5'), ('body @> ''{"k": 12}'''), ('body ? ''z'''), ('words @@ ''word12'''),
    ('words @@ to_tsquery(''simple'', ''word12'')'), ('tags @> array[''t12'']'), ('tags && array[''t12'', ''t13'']'),
    ('span @> 12'), ('lower(title) = ''title 12'''), ('at > now() - interval ''7 days'''), ('at >= date_trunc(''month'', now())'),
    ('at < ''2024-01-02'' AND extract(hour FROM at) < 5'), ('amount IN (12, 13)'), ('amount = ANY (array[12, 13]::numeric[])'),
    ('amount = 10 + 2'), ('title LIKE ''title'' || '' 12%''');
GRANT SELECT ON queries TO regress_alice;
SET SESSION AUTHORIZATION regress_alice;
SET enable_seqscan = off;
SET enable_bitmapscan = on;
SELECT condition, uses_index('SELECT * FROM rls WHERE ' || condition) AS native, uses_index('SELECT * FROM docs WHERE ' || condition) AS ours
  FROM queries ORDER BY number;
-- The results are the same.
CREATE FUNCTION results(relation regclass) RETURNS TABLE (number int, ids int[]) LANGUAGE plpgsql AS $$
DECLARE
    condition text;
BEGIN
    FOR number, condition IN SELECT q.number, q.condition FROM queries q LOOP
        EXECUTE format('SELECT array_agg(id ORDER BY id) FROM %s WHERE %s', relation, condition) INTO ids;
        RETURN NEXT;
    END LOOP;
END $$;
SELECT count(*) AS different FROM results('rls') a FULL JOIN results('docs') b USING (number) WHERE a.ids IS DISTINCT FROM b.ids;
-- A superuser may ask for barriers always.
RESET SESSION AUTHORIZATION;
SET betweenrows.barrier = 'always';
SET SESSION AUTHORIZATION regress_alice;
SELECT bool_or(uses_index('SELECT * FROM docs WHERE ' || condition)) AS any FROM queries WHERE condition ~ '^(title|amount|body|words|tags|span)';
RESET SESSION AUTHORIZATION;
RESET betweenrows.barrier;
SET SESSION AUTHORIZATION regress_alice;
-- Where rows have passed already, any built-in function leaves the filter a condition: results, arguments of aggregates.
SELECT uses_index('SELECT 100 / n, to_char(at, ''YYYY''), title || note, id::text::int FROM docs WHERE amount = 12') AS target,
       uses_index('SELECT sum(amount * n), string_agg(to_char(at, ''YYYY''), '','') FROM docs WHERE amount = 12') AS aggregate,
       uses_index('SELECT row_number() OVER (ORDER BY id), sum(100 / n) OVER () FROM docs WHERE amount = 12') AS window,
       uses_index('SELECT id FROM docs WHERE amount = 12 ORDER BY title, amount') AS sorted,
       uses_index('SELECT n, count(*) FILTER (WHERE 100 / n > 1) FROM docs WHERE amount = 12 GROUP BY n HAVING sum(100 / n) > 0') AS grouped;
-- Not where the planner can evaluate them before a condition.
SELECT uses_index('SELECT id FROM docs WHERE amount = 12 ORDER BY 100 / n') AS sorted,
       uses_index('SELECT DISTINCT 100 / n FROM docs WHERE amount = 12') AS distinct,
       uses_index('SELECT 100 / n, count(*) FROM docs WHERE amount = 12 GROUP BY 1') AS grouped,
       uses_index('SELECT max(100 / n) FROM docs WHERE amount = 12') AS max,
       uses_index('SELECT array_agg(n ORDER BY 100 / n) FROM docs WHERE amount = 12') AS sorted_aggregate,
       uses_index('SELECT count(DISTINCT 100 / n) FROM docs WHERE amount = 12') AS distinct_aggregate,
       uses_index('SELECT sum(n) OVER (ORDER BY 100 / n) FROM docs WHERE amount = 12') AS window,
       uses_index('SELECT * FROM (SELECT 100 / n AS q FROM docs WHERE amount = 12) s') AS subquery;
-- A subquery in a condition runs for hidden rows too, or only if there is one: it must not fail, nor have a second row.
SELECT uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT count(*) FROM open) > 0') AS count,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT max(o.id) FROM open o WHERE o.tenant = title) IS NULL') AS max,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT o.id FROM open o WHERE o.tenant <> title LIMIT 1) > 0') AS limited,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT k.id FROM keyed k WHERE k.tenant = title AND 1 = k.id) IS NULL') AS key,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND EXISTS (SELECT FROM open LIMIT 1)') AS exists,
       uses_index('SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS r FROM docs WHERE amount = 12) s WHERE r = 1') AS numbered,
       uses_index('SELECT id, (SELECT sum(o.id / n) FROM open o WHERE o.id = n LIMIT n) FROM docs WHERE amount = 12') AS target;
SELECT uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT sum(o.id / 2) FROM open o) > 0') AS sum,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT o.id FROM open o WHERE o.tenant = ''acme'') > 0') AS single,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT k.id FROM keyed k WHERE k.tenant = title) IS NULL') AS half_a_key,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT k.id FROM keyed k WHERE k.id >= 1 AND k.tenant = title) IS NULL') AS no_key,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT k.id FROM keyed k WHERE k.id = 1 OR k.tenant = title) IS NULL') AS or_key,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT m.id FROM masked_key m WHERE m.id = 7 AND title < ''a'') IS NULL') AS masked_key,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND EXISTS (SELECT FROM open LIMIT n)') AS limited,
       uses_index('SELECT id FROM docs WHERE amount = 12 AND (SELECT string_agg(tenant, '','') FROM open) > ''a''') AS grown;
-- A pattern in a parameter is known while a plan is made for its value, and unknown in a generic plan.
PREPARE by_title(text) AS SELECT count(*) FROM docs WHERE title LIKE $1;
SET plan_cache_mode = force_custom_plan;
SELECT uses_index('EXECUTE by_title(''title 12%'')');
EXECUTE by_title('x\');
SET plan_cache_mode = force_generic_plan;
SELECT uses_index('EXECUTE by_title(''title 12%'')');
EXECUTE by_title('x\');
RESET plan_cache_mode;
RESET enable_seqscan;

-- Attacks on row 4001, which is hidden: each tells something as soon as it is evaluated for that row. First, that they do,
-- for the superuser; then alice, for whom all of them are as quiet as if there were no such row.
RESET SESSION AUTHORIZATION;
CREATE SEQUENCE counter;
GRANT USAGE ON counter TO regress_alice;
CREATE TABLE attacks (number int GENERATED ALWAYS AS IDENTITY, query text);
INSERT INTO attacks (query)
SELECT 'SELECT FROM docs WHERE id = 4001 AND ' || condition FROM unnest(array[
    $$title LIKE 'x\'$$, $$title NOT LIKE 'x\'$$, $$title ILIKE 'x\'$$, $$title LIKE 'x!' ESCAPE '!'$$, $$title ~ '('$$,
    $$title ~ '***:x('$$, $$title LIKE repeat('x\', n + 1)$$, $$title LIKE replace(note, 'y', 'x\')$$,
    $$1 / n > 0$$, $$10 % n > 0$$, $$title::int > 0$$, $$-(n - 2147483647 - 1) > 0$$, $$n - 2147483647 - 2 < 0$$, $$amount * amount > 0$$,
    $$amount::float8 > 0$$, $$amount::int > 0$$, $$sqrt((n - 1)::float8) > 0$$, $$ln(n) > 0$$, $$chr(n) = 'a'$$, $$substr(title, 1, n - 1) = ''$$,
    $$substring(title FROM 1 FOR -1) = ''$$, $$split_part(title, 'y', n) = ''$$, $$split_part(title, 'y', 0) = ''$$,
    $$date_trunc('nonsense', at) < now()$$, $$date_trunc(title, at) < now()$$, $$extract(hour FROM day) > 0$$, $$extract(nonsense FROM at) > 0$$,
    $$at - interval '290000 years' < now()$$, $$at < now() - interval '280000 years'$$, $$day < current_date - 2147483647$$,
    $$at AT TIME ZONE title < now()$$, $$to_date(title, 'YYYY') < now()$$, $$title::json IS NOT NULL$$, $$raw ->> 'k' = 'x'$$,
    $$(body ->> 'k')::int > 0$$, $$jsonb_array_length(body) > 0$$, $$jsonb_each_text(body) IS NULL$$, $$body @@ '$.k > "a"' OR 1 / n > 0$$,
    $$lower(coalesce(note, other)) = 'x'$$, $$upper(CASE WHEN n = 0 THEN note ELSE other END) = 'X'$$,
    $$nextval('counter') < 0$$, $$pg_sleep(0) IS NOT NULL AND 1 / n > 0$$, $$set_config('a.b', title, false) = ''$$, $$current_setting('no.setting') = title$$,
    $$to_tsvector('simple', repeat(title, 2100)) IS NULL AND 1 / n > 0$$, $$words @@ to_tsquery('simple', title || ' &')$$,
    $$array_position(array[[1]], n) > 0$$, $$title::uuid IS NULL$$, $$'2024-13-01'::text::date > day$$,
    $$('x' || title)::inet = address$$, $$set_masklen(address, n - 1) = address$$, $$lower(span) / n > 0$$, $$lo_get(n::oid) IS NULL$$,
    $$query_to_xml('SELECT 1/' || n, false, false, '') IS NULL$$, $$CASE WHEN title = 'xy' THEN 1 / n > 0 END$$,
    $$(SELECT 1 / n) > 0$$, $$EXISTS (SELECT FROM open WHERE open.id / n > 0)$$, $$n IN (SELECT 1 / n FROM open)$$, $$id = ANY (array[1 / n])$$,
    $$n < (SELECT o.id FROM open o)$$, $$(SELECT o.id FROM open o WHERE o.tenant <> title) > 0$$, $$(n, n) < (SELECT o.id, o.id FROM open o)$$,
    $$(SELECT count(o.id + 1 / n) FROM open o) > 0$$, $$(SELECT count(*) FILTER (WHERE o.id / n > 0) FROM open o) >= 0$$,
    $$n < (SELECT sum(1 / (o.id - 1)) FROM open o)$$, $$n < ALL (SELECT 1 / (id - 1) FROM open)$$,
    $$EXISTS (SELECT FROM open o GROUP BY o.tenant HAVING sum(1 / n + o.id) > 0)$$, $$id > ALL (SELECT sum(1 / n) OVER () FROM open)$$,
    $$EXISTS (SELECT FROM open o WHERE o.id > n LIMIT -1)$$, $$EXISTS (SELECT FROM open o WHERE o.id > n OFFSET -1)$$,
    $$id > ALL (SELECT sum(o.id) OVER (ROWS -1 PRECEDING) FROM open o)$$, $$tags <> (SELECT array_agg(a) FROM (VALUES (array['x']), (array['x', 'y'])) v (a))$$,
    $$(n, 1 / n) = (SELECT 0, 2)$$, $$(id, 1 / n) < (5000, 2)$$, $$(1 / n) IS DISTINCT FROM 5$$, $$nullif(1 / n, 1) IS NULL$$
]) condition;
INSERT INTO attacks (query) VALUES
    ('SELECT FROM docs WHERE id = 4001 ORDER BY 1 / n'), ('SELECT max(1 / n) FROM docs WHERE id = 4001'),
    ('SELECT DISTINCT 1 / n FROM docs WHERE id = 4001'), ('SELECT 1 FROM docs WHERE id = 4001 GROUP BY 1 / n'),
    ('SELECT sum(n) OVER (ORDER BY 1 / n) FROM docs WHERE id = 4001'), ('SELECT array_agg(n ORDER BY 1 / n) FROM docs WHERE id = 4001'),
    ('SELECT count(*) FROM docs WHERE id = 4001 GROUP BY n HAVING 1 / n > 0'), ('SELECT 1 / n FROM docs WHERE id = 4001'),
    ('SELECT q FROM (SELECT 1 / n AS q FROM docs WHERE id = 4001 OFFSET 0) s'), ('SELECT sum(1 / n) FROM docs WHERE id = 4001'),
    ('SELECT FROM docs JOIN open ON open.id = docs.id AND 1 / docs.n > 0 WHERE docs.id = 4001'),
    ('SELECT FROM open LEFT JOIN docs ON docs.id = 4001 AND 1 / docs.n > 0 WHERE open.id = 1'),
    ('SELECT FROM docs, LATERAL (SELECT 1 / n AS q) l WHERE id = 4001 AND q > 0'), ('SELECT FROM docs, LATERAL (VALUES (1 / n)) v (q) WHERE id = 4001 AND q > 0'),
    ('SELECT FROM docs, generate_series(1, 1 / n) WHERE id = 4001'), ('SELECT FROM docs, generate_series(1, 2, n) WHERE id = 4001'),
    ('SELECT FROM docs, jsonb_array_elements(body) WHERE id = 4001'),
    ('SELECT FROM docs, LATERAL (SELECT count(o.id + 1 / n) AS q FROM open o) l WHERE id = 4001 AND q > 0'),
    ('SELECT FROM docs, LATERAL (SELECT FROM open LIMIT 1 / n) l WHERE id = 4001'),
    ('SELECT FROM docs LEFT JOIN (SELECT sum(1 / (id - 1)) AS q FROM open) s ON q > 0 WHERE docs.id = 4001'),
    ('WITH s AS (SELECT sum(1 / (id - 1)) AS q FROM open) SELECT FROM docs WHERE id = 4001 AND n < (SELECT q FROM s LIMIT 1)'),
    ('WITH d AS (SELECT 1 / n AS q FROM docs WHERE id = 4001) SELECT FROM d WHERE q > 0'),
    ('SELECT n FROM docs WHERE id = 4001 UNION SELECT 1 / n FROM docs WHERE id = 4001'),
    ('SELECT FROM docs TABLESAMPLE bernoulli (100) WHERE id = 4001 AND 1 / n > 0');
GRANT SELECT ON attacks TO regress_alice;
-- Whether a query tells that row 4001 exists: its outcome is another than when it looks for a row that nobody has.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    rows bigint;
BEGIN
    EXECUTE query;
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN rows;
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE FUNCTION tells(query text) RETURNS boolean LANGUAGE sql AS $$
    SELECT outcome(query) <> outcome(replace(query, '4001', '4002'));
$$;
SELECT count(*) AS attacks, count(*) FILTER (WHERE tells(query)) AS telling FROM attacks;
SELECT last_value, is_called FROM counter;
SELECT setval('counter', 1, false);
SET SESSION AUTHORIZATION regress_alice;
SELECT number, query FROM attacks WHERE tells(query) ORDER BY number;
RESET SESSION AUTHORIZATION;
SELECT last_value, is_called FROM counter;
-- The same when plans are generic, and when indexes are the only way.
SET SESSION AUTHORIZATION regress_alice;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SELECT number, query FROM attacks WHERE tells(query) ORDER BY number;
RESET enable_seqscan;
RESET plan_cache_mode;

-- What a user makes is on no list: functions, operators, casts, aggregates, domains, types, collations, however cheap.
SET client_min_messages = notice;
CREATE FUNCTION tattle(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN IF $1::text IN ('xy', '4001', 'globex') THEN RAISE NOTICE 'saw %', $1; END IF; RETURN true; END $$;
CREATE FUNCTION tattle_text(text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 0.0000001 AS
    $$ BEGIN IF $1 = 'xy' THEN RAISE NOTICE 'saw %', $1; END IF; RETURN $1; END $$;
CREATE FUNCTION tattle_sql(text) RETURNS text LANGUAGE sql AS 'SELECT CASE WHEN tattle($1) THEN $1 END';
CREATE FUNCTION tattle_eq(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN PERFORM tattle($1); PERFORM tattle($2); RETURN $1 = $2; END $$;
CREATE OPERATOR === (FUNCTION = tattle_eq, LEFTARG = text, RIGHTARG = text, RESTRICT = eqsel, JOIN = eqjoinsel, MERGES, HASHES);
CREATE FUNCTION tattle_step(state int, value text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM tattle(value); RETURN state; END $$;
CREATE AGGREGATE tattle_agg(text) (SFUNC = tattle_step, STYPE = int, INITCOND = '0');
CREATE DOMAIN tattle_domain AS text CHECK (tattle(value));
CREATE TYPE pair AS (a text, b text);
CREATE FUNCTION tattle_cast(pair) RETURNS text LANGUAGE sql AS 'SELECT tattle_text($1.a)';
CREATE CAST (pair AS text) WITH FUNCTION tattle_cast(pair);
SELECT count(*) FROM docs WHERE id = 4001 AND tattle(title);
SELECT count(*) FROM docs WHERE id = 4001 AND tattle_text(title) = 'x';
SELECT count(*) FROM docs WHERE id = 4001 AND tattle_sql(title) = 'x';
SELECT count(*) FROM docs WHERE id = 4001 AND title === 'x';
SELECT count(*) FROM docs WHERE id = 4001 AND title === ANY (array['x', 'y']);
SELECT count(*) FROM docs WHERE id = 4001 AND title OPERATOR(public.===) (SELECT 'x');
SELECT count(*) FROM docs WHERE id = 4001 AND title::tattle_domain = 'x';
SELECT count(*) FROM docs WHERE id = 4001 AND row(title, title)::pair::text = 'x';
SELECT tattle_agg(title) FROM docs WHERE id = 4001;
SELECT tattle(title) FROM docs WHERE id = 4001;
SELECT id FROM docs WHERE id = 4001 ORDER BY tattle_text(title);
SELECT count(*) FROM docs a JOIN docs b ON a.title === b.title WHERE a.id = 4001;
SELECT count(*) FROM open LEFT JOIN docs ON docs.id = open.id AND tattle(docs.title);
SELECT count(*) FROM docs WHERE id = 4001 AND EXISTS (SELECT FROM open WHERE tattle(docs.title));
SELECT (SELECT count(*) FROM docs WHERE id = 4001 AND tattle(title) AND docs.id >= open.id) FROM open;
SELECT count(*) FROM docs, LATERAL tattle(title) t WHERE id = 4001 AND t;
UPDATE docs SET title = title WHERE id = 4001 AND tattle(title) RETURNING tattle(title);
-- Behind a view as well.
CREATE VIEW mine AS SELECT * FROM docs WHERE tattle(title);
SELECT count(*) FROM mine WHERE id = 4001;

-- A filter with a subquery becomes a join for reviewed functions, and hidden rows reach the join: expressions in the select
-- list of a subquery can be evaluated below it.
RESET SESSION AUTHORIZATION;
CREATE TABLE members (tenant text);
INSERT INTO members VALUES ('acme');
SELECT betweenrows.filter_rows('open', 'tenant IN (SELECT m.tenant FROM members m)', to_user => 'regress_alice');
SET SESSION AUTHORIZATION regress_alice;
SELECT o.id, s.q FROM (SELECT 1) one (n) LEFT JOIN (SELECT id, 1 / (id - 4001) AS q FROM open) s ON true JOIN open o ON o.id = s.id;
SELECT id, 1 / (id - 4001) AS q FROM open;
SELECT sum(1 / (id - 4001)) FROM open;
SELECT max(1 / (id - 4001)) FROM open;

\c regression
DROP DATABASE regress_safe_functions;
DROP ROLE regress_alice;
