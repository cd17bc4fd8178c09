-- Made from docs/decision-functions.md by pg_regress/bin/doc-examples: change that page.
CREATE SCHEMA clinic;
CREATE TABLE clinic.patients (id int, name text, diagnosis text, ward int);
CREATE TABLE clinic.wards (id int, title text);
INSERT INTO clinic.patients VALUES (1, 'Ann', 'flu', 1), (2, 'Bo', 'gout', 2);
INSERT INTO clinic.wards VALUES (1, 'north'), (2, 'south');
CREATE ROLE df_nina LOGIN;
CREATE ROLE df_omar LOGIN;
GRANT USAGE ON SCHEMA clinic TO df_nina, df_omar;
GRANT SELECT ON ALL TABLES IN SCHEMA clinic TO df_nina, df_omar;
SELECT betweenrows.create_decision_function('df office hours', $js$
  function evaluate(ctx, config) {
    const { hour, day_of_week } = ctx.session.time;
    const weekend = ["Saturday", "Sunday"].includes(day_of_week);
    return { fire: weekend || hour < config.open || hour >= config.close };
  }
$js$, '{"open": 8, "close": 18}') IS NOT NULL AS created;
SELECT betweenrows.create_policy('df closed', 'table_deny', '[{"schemas": ["clinic"], "tables": ["patients"]}]',
    decision_function => 'df office hours') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('df closed') IS NOT NULL AS assigned;
SELECT f.name, t.fire FROM betweenrows.decision_functions f,
    betweenrows.test_decision_function(f.source, '{"session": {"time": {"hour": 12, "day_of_week": "Saturday"}}}', f.config) t
WHERE f.name = 'df office hours';
SELECT set_config('betweenrows.decision_clock_offset', extract(epoch FROM '2026-11-23 12:00+00' - now())::int::text, false) IS NOT NULL AS monday;
SET SESSION AUTHORIZATION df_nina;
SELECT name FROM clinic.patients ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT set_config('betweenrows.decision_clock_offset', extract(epoch FROM '2026-11-23 19:00+00' - now())::int::text, false) IS NOT NULL AS evening;
SET SESSION AUTHORIZATION df_nina;
SELECT name FROM clinic.patients ORDER BY id;
RESET SESSION AUTHORIZATION;
RESET betweenrows.decision_clock_offset;
SELECT betweenrows.drop_policy('df closed');
SELECT betweenrows.create_role('df doctors') IS NOT NULL AS created;
SELECT betweenrows.create_user('df_omar') IS NOT NULL AS created;
SELECT betweenrows.add_member('df doctors', 'df_omar');
SELECT betweenrows.create_decision_function('df not for', $js$
  function evaluate(ctx, config) {
    return { fire: !ctx.session.user.roles.some((role) => config.roles.includes(role)) };
  }
$js$, '{"roles": ["df doctors"]}') IS NOT NULL AS created;
SELECT betweenrows.mask_column('clinic.patients', 'diagnosis', '''***''', name => 'df diagnosis');
SELECT betweenrows.alter_policy('df diagnosis', decision_function => 'df not for');
SET SESSION AUTHORIZATION df_nina;
SELECT name, diagnosis FROM clinic.patients ORDER BY id;
SET SESSION AUTHORIZATION df_omar;
SELECT name, diagnosis FROM clinic.patients ORDER BY id;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.create_decision_function('df joins', $js$
  function evaluate(ctx, config) {
    return { fire: ctx.query.join_count > config.most };
  }
$js$, '{"most": 0}', evaluate_context => 'query') IS NOT NULL AS created;
SELECT betweenrows.alter_policy('df diagnosis', decision_function => 'df joins');
SET SESSION AUTHORIZATION df_nina;
SELECT name, diagnosis FROM clinic.patients ORDER BY id;
SELECT p.name, p.diagnosis, w.title FROM clinic.patients p JOIN clinic.wards w ON w.id = p.ward ORDER BY p.id;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.create_decision_function('df purpose', $js$
  function evaluate(ctx, config) {
    const [, purpose] = /^purpose=(\w+)$/.exec(ctx.session.application_name ?? "") ?? [];
    const allowed = ctx.session.user.roles.flatMap((role) => config[role] ?? []);
    return { fire: !allowed.includes(purpose) };
  }
$js$, '{"df doctors": ["treatment"]}') IS NOT NULL AS created;
SELECT betweenrows.alter_policy('df diagnosis', decision_function => 'df purpose');
SET SESSION AUTHORIZATION df_omar;
SET application_name = 'purpose=curiosity';
SELECT name, diagnosis FROM clinic.patients WHERE id = 1;
SET application_name = 'purpose=treatment';
SELECT name, diagnosis FROM clinic.patients WHERE id = 1;
RESET SESSION AUTHORIZATION;
RESET application_name;
SELECT fire, logs, error FROM betweenrows.test_decision_function($js$
  function evaluate(ctx, config) {
    console.log("roles", ctx.session.user.roles);
    return { fire: ctx.session.user.tenant.startsWith("a") };
  }
$js$, betweenrows.decision_context('df_omar'));
SELECT betweenrows.drop_decision_function('df purpose');
SELECT betweenrows.drop_policy('df diagnosis');
SELECT betweenrows.drop_decision_function(name) FROM betweenrows.decision_functions WHERE name LIKE 'df %';
DROP SCHEMA clinic CASCADE;
