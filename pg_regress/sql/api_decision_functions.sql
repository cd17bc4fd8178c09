-- Decision functions: create, alter, drop, test, and as part of a document.
CREATE ROLE regress_df_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_df_user LOGIN;
CREATE SCHEMA regress_df;
CREATE TABLE regress_df.notes (id int, note text);
GRANT USAGE ON SCHEMA regress_df TO betweenrows_admin;
SET SESSION AUTHORIZATION regress_df_admin;
SELECT betweenrows.create_decision_function('regress-hours',
    'function evaluate(ctx, config) { return {fire: ctx.session.time.hour < config.open}; }', '{"open": 8}') IS NOT NULL AS created;
SELECT betweenrows.create_decision_function('regress-hours', 'function evaluate() {}');  -- fail
-- What could not be evaluated is refused, with the place.
SELECT betweenrows.create_decision_function('regress-bad', E'function evaluate(ctx) {\n  return {fire: tru e};\n}');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', E'function decide() {\n  return {fire: true};\n}\n');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', E'function evaluate() {\n  return {fire: true}\n');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'const evaluate = 1');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'function evaluate() {} missing.thing');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'while (true); function evaluate() {}');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'import * as os from "os"; function evaluate() {}');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', ' ');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', repeat(' ', 65536) || 'function evaluate() {}');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'function evaluate() {}', '[]');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'function evaluate() {}', jsonb_build_object('a', repeat('x', 20000)));  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'function evaluate() {}', evaluate_context => 'row');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'function evaluate() {}', on_error => 'allow');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', 'function evaluate() {}', log_level => 'debug');  -- fail
SELECT betweenrows.create_decision_function(NULL, 'function evaluate() {}');  -- fail
SELECT betweenrows.create_decision_function('regress-bad', NULL);  -- fail
RESET SESSION AUTHORIZATION;
SELECT name, config, evaluate_context, on_error, log_level, is_enabled, version, length(engine), octet_length(bytecode) > 50 AS compiled, created_by
FROM betweenrows.decision_functions WHERE name LIKE 'regress-%';
SET SESSION AUTHORIZATION regress_df_admin;

-- Altering makes versions; what changes nothing makes none.
SELECT betweenrows.alter_decision_function('regress-hours', config => '{"open": 9}', log_level => 'info', description => 'by day');
SELECT betweenrows.alter_decision_function('regress-hours', config => '{"open": 9}', log_level => 'info', description => 'by day');
SELECT betweenrows.alter_decision_function('regress-hours', 2, is_enabled => false, on_error => 'skip', evaluate_context => 'query');
SELECT betweenrows.alter_decision_function('regress-hours', 2, is_enabled => true);  -- fail
SELECT betweenrows.alter_decision_function('regress-hours', source => 'nothing');  -- fail
SELECT betweenrows.alter_decision_function('regress-hours', source => 'function evaluate() { return {fire: true}; }', description => '');
SELECT betweenrows.alter_decision_function('regress-nothing', is_enabled => true);  -- fail
RESET SESSION AUTHORIZATION;
SELECT name, source, config, description, evaluate_context, on_error, log_level, is_enabled, version
FROM betweenrows.decision_functions WHERE name LIKE 'regress-%';
SET SESSION AUTHORIZATION regress_df_admin;

-- Policies refer to functions, which stay as long as they do.
SELECT betweenrows.create_policy('regress-df-deny', 'table_deny', '[{"schemas": ["regress_df"], "tables": ["notes"]}]',
    decision_function => 'regress-hours') IS NOT NULL AS created;
SELECT betweenrows.create_policy('regress-df-bad', 'table_deny', '[{"schemas": ["regress_df"], "tables": ["notes"]}]',
    decision_function => 'regress-nothing');  -- fail
SELECT betweenrows.drop_decision_function('regress-hours');  -- fail
SELECT betweenrows.alter_policy('regress-df-deny', decision_function => 'regress-nothing');  -- fail
SELECT betweenrows.alter_policy('regress-df-deny', decision_function => '');
SELECT betweenrows.alter_policy('regress-df-deny', decision_function => '');
SELECT betweenrows.alter_policy('regress-df-deny', decision_function => 'regress-hours');
SELECT version, decision_function, operation FROM betweenrows.policy_versions WHERE name = 'regress-df-deny' ORDER BY version;

-- Trying one stores nothing.
SELECT fire, logs, error, fuel > 0 AS fuel, microseconds >= 0 AS microseconds
FROM betweenrows.test_decision_function('function evaluate(ctx, config) { console.log(ctx, config); console.error("e"); return {fire: ctx.a < config.b}; }',
    '{"a": 1}', '{"b": 2}');
SELECT fire, logs, error FROM betweenrows.test_decision_function('function evaluate(ctx) { return {fire: new Date().toISOString() === "2026-11-21T13:30:00.000Z"}; }',
    '{"session": {"time": {"now": "2026-11-21T13:30:00Z"}}}');
SELECT fire, error FROM betweenrows.test_decision_function('function evaluate() { return {fire: 1}; }', '{}');
SELECT fire, error FROM betweenrows.test_decision_function(E'function evaluate(ctx) {\n  return {fire: ctx.session.user.level > 1};\n}', '{}');
SELECT fire, error FROM betweenrows.test_decision_function('function evaluate() { while (true); }', '{}');
SELECT fire, error FROM betweenrows.test_decision_function('function evaluate(', '{}');
SELECT * FROM betweenrows.test_decision_function('', '{}');  -- fail
SELECT * FROM betweenrows.test_decision_function('function evaluate() {}', NULL);  -- fail

-- In a document.
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": [
    {"name": "regress-hours", "source": "function evaluate() { return {fire: true}; }", "config": {"a": null}},
    {"name": "regress-doc", "source": "function evaluate() { return {fire: false}; }", "evaluate_context": "query"}],
  "policies": [{"name": "regress-df-deny", "policy_type": "table_deny", "decision_function": "regress-doc",
    "targets": [{"schemas": ["regress_df"], "tables": ["notes"]}]}]}', dry_run => true);
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": [
    {"name": "regress-doc", "source": "function evaluate() { return {fire: false}; }", "config": {"a": null}}],
  "policies": [{"name": "regress-df-deny", "policy_type": "table_deny", "decision_function": "regress-doc",
    "targets": [{"schemas": ["regress_df"], "tables": ["notes"]}]}]}', prune => true);
SELECT jsonb_pretty(betweenrows.export() -> 'decision_functions'), betweenrows.export() #> '{policies,0,decision_function}' AS of_policy;
SELECT action, kind, name, detail FROM betweenrows.apply(betweenrows.export()) WHERE action <> 'none';
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": [{"name": "regress-doc", "source": "function evaluate("}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": [{"name": "regress-doc"}]}');  -- fail
-- Without a function in the document, the policy has none.
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": [], "policies": [{"name": "regress-df-deny", "policy_type": "table_deny",
    "targets": [{"schemas": ["regress_df"], "tables": ["notes"]}]}]}', prune => true);
SELECT action, object_name, before ->> 'version' AS before, after ->> 'version' AS after, after ? 'bytecode' AS bytecode
FROM betweenrows.admin_audit WHERE object_kind = 'decision function' AND object_name LIKE 'regress-%' ORDER BY id;

-- Only for administrators.
SET SESSION AUTHORIZATION regress_df_user;
SELECT betweenrows.create_decision_function('regress-x', 'function evaluate() {}');  -- fail
SELECT * FROM betweenrows.test_decision_function('function evaluate() {}', '{}');  -- fail
SELECT betweenrows.decision_context();  -- fail
SELECT source FROM betweenrows.decision_functions;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('regress-df-deny');
DROP SCHEMA regress_df CASCADE;
DROP ROLE regress_df_admin, regress_df_user;
