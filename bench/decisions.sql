-- What bench/decisions measures with.
CREATE EXTENSION betweenrows;
CREATE ROLE bench LOGIN;
DO $$
DECLARE
    kind text;
BEGIN
    FOR kind IN SELECT unnest(ARRAY['plain', 'session', 'query']) LOOP
        EXECUTE format('CREATE TABLE bench_%s (id int PRIMARY KEY, name text, org text)', kind);
        EXECUTE format('INSERT INTO bench_%s SELECT n, ''name '' || n, ''acme'' FROM generate_series(1, 10000) AS n', kind);
        EXECUTE format('GRANT SELECT ON bench_%s TO bench', kind);
        PERFORM betweenrows.filter_rows(format('bench_%s', kind)::regclass, 'org = ''acme''', name => kind);
    END LOOP;
END $$;
VACUUM ANALYZE;

CREATE FUNCTION simple() RETURNS text LANGUAGE sql AS
$$ SELECT 'function evaluate(ctx, config) { return {fire: ctx.session.time.hour < 99}; }' $$;
CREATE FUNCTION typical() RETURNS text LANGUAGE sql AS $f$ SELECT $$
function evaluate(ctx, config) {
  const { user, time } = ctx.session;
  const reasons = [];
  if (time.hour < config.open || time.hour >= config.close) reasons.push(`outside hours: ${time.hour}`);
  for (const role of user.roles) if (config.denied.includes(role)) reasons.push(`role ${role}`);
  if (ctx.query.join_count > config.joins && !ctx.query.has_where) reasons.push("joins");
  if (ctx.query.tables.some((table) => /^hr_/.test(table.table))) reasons.push("hr");
  return { fire: reasons.length >= 0, reasons };
} $$ $f$;
CREATE FUNCTION config() RETURNS jsonb LANGUAGE sql AS
$$ SELECT '{"open": 8, "close": 18, "denied": ["intern"], "joins": 3}'::jsonb $$;
CREATE FUNCTION context() RETURNS jsonb LANGUAGE sql AS $$
    SELECT betweenrows.decision_context('bench', 'SELECT * FROM bench_plain WHERE id = 1')
        || jsonb_build_object('padding', repeat('x', 400)) $$;
SELECT betweenrows.create_decision_function('session', simple());
SELECT betweenrows.create_decision_function('query', typical(), config(), evaluate_context => 'query');
SELECT betweenrows.alter_policy('session', decision_function => 'session');
SELECT betweenrows.alter_policy('query', decision_function => 'query');

CREATE FUNCTION first_evaluation() RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    told jsonb := context();
    began timestamptz := clock_timestamp();
BEGIN
    PERFORM FROM betweenrows.test_decision_function(simple(), told, config());
    RETURN extract(epoch FROM clock_timestamp() - began) * 1e6;
END $$;

CREATE FUNCTION calls(number int) RETURNS TABLE (name text, median float8, p99 float8) LANGUAGE sql AS $$
    SELECT source.name, percentile_disc(0.5) WITHIN GROUP (ORDER BY t.microseconds), percentile_disc(0.99) WITHIN GROUP (ORDER BY t.microseconds)
    FROM (VALUES ('simple', simple()), ('typical', typical())) AS source (name, source), context() AS told,
        generate_series(1, number) AS n, LATERAL betweenrows.test_decision_function(source.source || ' // ' || n, told, config()) AS t
    GROUP BY source.name ORDER BY source.name $$;

CREATE FUNCTION private() RETURNS int LANGUAGE sql AS $$
    SELECT sum(substring(line FROM '\d+')::int) FROM regexp_split_to_table(pg_read_file('/proc/self/smaps_rollup'), '\n') AS line
    WHERE line ~ '^Private_' $$;
CREATE FUNCTION memory() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    told jsonb := context();
    before int;
BEGIN
    -- What the functions themselves need is there before it counts.
    PERFORM private(), config();
    before := private();
    PERFORM FROM generate_series(1, 20) AS n, LATERAL betweenrows.test_decision_function(typical() || ' // ' || n, told, config());
    RETURN private() - before;
END $$;
