-- Decision functions as the weapon: endless, greedy, deep, loud, wrong. Each restricts; the session goes on, and its process
-- has the signal handlers and threads that it had before.
CREATE ROLE da_alice LOGIN;
CREATE SCHEMA da;
CREATE TABLE da.t (id int);
INSERT INTO da.t VALUES (1), (2);
GRANT USAGE ON SCHEMA da TO da_alice;
GRANT SELECT ON da.t TO da_alice;
CREATE FUNCTION da.process() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(line, ' ') FROM regexp_split_to_table(pg_read_file('/proc/self/status'), '\n') AS line
    WHERE line ~ '^(Threads|SigBlk|SigIgn|SigCgt|SigPnd):' $$;
SELECT da.process() AS before \gset
SELECT betweenrows.filter_rows('da.t', 'id = 1', name => 'da') AS name;
SELECT betweenrows.create_decision_function('da', 'function evaluate() { return {fire: false}; }', evaluate_context => 'query', log_level => 'info') IS NOT NULL AS created;
SELECT betweenrows.alter_policy('da', decision_function => 'da') > 0 AS altered;
SET SESSION AUTHORIZATION da_alice;
SELECT count(*) FROM da.t;
RESET SESSION AUTHORIZATION;
-- Runs an attack for alice: rows that she sees, one when the policy takes part, and the error that an administrator is told.
CREATE PROCEDURE da.attack(body text) LANGUAGE plpgsql AS $$
DECLARE
    seen int;
    error text;
    source text := 'function evaluate(ctx, config) { ' || body || ' }';
BEGIN
    PERFORM betweenrows.alter_decision_function('da', source => source);
    COMMIT;
    SET SESSION AUTHORIZATION da_alice;
    EXECUTE 'SELECT count(*) FROM da.t' INTO seen;
    RESET SESSION AUTHORIZATION;
    SELECT t.error INTO error FROM betweenrows.test_decision_function(source, '{}') AS t;
    RAISE NOTICE '% row(s): %', seen, split_part(error, E'\n', 1);
END $$;
CALL da.attack('while (true);');
CALL da.attack('for (;;) { try { for (;;); } catch {} }');
CALL da.attack('return {fire: /^(a+)+$/.test("a".repeat(40) + "b")}');
CALL da.attack('const list = []; while (true) list.push(new Uint8Array(1000000));');
CALL da.attack('return {fire: new ArrayBuffer(1e9).byteLength === 0}');
CALL da.attack('const f = () => f() + 1; return f();');
CALL da.attack('const o = {}; o.toJSON = () => JSON.stringify(o); return JSON.stringify(o);');
CALL da.attack('for (let i = 0; i < 50; i++) console.log("x".repeat(1000)); return "loud";');
CALL da.attack('return "x".repeat(100000)');
CALL da.attack('throw new Error("thrown")');
CALL da.attack('throw {toString() { throw 1 }}');
CALL da.attack('return {fire: 0}');
CALL da.attack('return {get fire() { while (true); }}');
CALL da.attack('return new Promise(() => {})');
CALL da.attack('return import("std")');
CALL da.attack('return eval("(() => { while (true); })()")');
CALL da.attack('JSON.parse = () => ({fire: false}); Object.prototype.fire = false; return [];');
-- Nothing is kept from one call to the next, in the same statement or the next one.
CALL da.attack('const before = {}.polluted; Object.prototype.polluted = true; globalThis.count = (globalThis.count ?? 0) + 1; return {fire: before === undefined && count === 1}');
CALL da.attack('const before = {}.polluted; Object.prototype.polluted = true; globalThis.count = (globalThis.count ?? 0) + 1; return {fire: !(before === undefined && count === 1)}');
-- The same, and the clock stands still.
CALL da.attack('const t = Date.now(); for (let i = 0; i < 10000; i++); return {fire: Date.now() === t}');
CALL da.attack('return {fire: typeof Date.now() === "number" && Math.random() === 0.5}');

-- Less fuel and memory are a matter of settings, which a subject cannot change.
SET SESSION AUTHORIZATION da_alice;
SET betweenrows.decision_fuel = 1000000000;  -- fail
RESET SESSION AUTHORIZATION;
SET betweenrows.decision_fuel = 1000000;
CALL da.attack('for (let i = 0; i < 10000; i++); return {fire: false}');
RESET betweenrows.decision_fuel;
CALL da.attack('for (let i = 0; i < 10000; i++); return {fire: false}');
SET betweenrows.decision_memory = '4MB';
CALL da.attack('return {fire: new ArrayBuffer(8e6).byteLength === 0}');
RESET betweenrows.decision_memory;
CALL da.attack('return {fire: new ArrayBuffer(8e6).byteLength === 0}');

-- Deep in the stack: the check of PostgreSQL's own stack depth comes first.
CALL da.attack('const f = (n) => n === 0 ? 0 : 1 + f(n - 1); return {fire: f(200) !== 200}');
SET SESSION AUTHORIZATION da_alice;
CREATE FUNCTION pg_temp.deep(n int) RETURNS bigint LANGUAGE plpgsql AS
$$ BEGIN IF n > 0 THEN RETURN pg_temp.deep(n - 1); END IF; RETURN (SELECT count(*) FROM da.t); END $$;
SELECT pg_temp.deep(50);
DO $$ BEGIN PERFORM pg_temp.deep(1000000); EXCEPTION WHEN statement_too_complex THEN RAISE NOTICE 'too deep'; END $$;
SELECT pg_temp.deep(50);
-- Inside a subtransaction that fails, and many times.
DO $$ BEGIN PERFORM count(*) FROM da.t; RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN PERFORM count(*) FROM da.t; END $$;
DO $$ DECLARE n int; BEGIN FOR i IN 1..500 LOOP EXECUTE format('SELECT count(*) FROM da.t AS t%s', i) INTO n; END LOOP; RAISE NOTICE '%', n; END $$;
RESET SESSION AUTHORIZATION;

-- A hostile document is refused as a whole.
SELECT * FROM betweenrows.apply(jsonb_build_object('version', 1, 'decision_functions',
    jsonb_build_array(jsonb_build_object('name', 'da2', 'source', 'function evaluate() {}' || repeat(' ', 2000000)))));  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": [{"name": "da2", "source": "while (true); function evaluate() {}"}]}');  -- fail

SELECT da.process() = :'before' AS same_process;
SELECT betweenrows.drop_policy('da'), betweenrows.drop_decision_function('da');
DROP SCHEMA da CASCADE;
DROP OWNED BY da_alice;
DROP ROLE da_alice;
