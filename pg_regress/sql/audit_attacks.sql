-- What a subject could do to the audit: keep rows from being moved, make them without end, have what it tries not recorded.
CREATE ROLE regress_attacks_alice LOGIN;
CREATE SCHEMA attacks;
CREATE TABLE attacks.people (id int PRIMARY KEY, org text, ssn text);
INSERT INTO attacks.people VALUES (1, 'acme', '111-11'), (2, 'globex', '222-22');
GRANT USAGE, CREATE ON SCHEMA attacks TO regress_attacks_alice;
GRANT ALL ON ALL TABLES IN SCHEMA attacks TO regress_attacks_alice;
SELECT betweenrows.filter_rows('attacks.people', $$org = 'acme'$$, 'attacks-rows');
SELECT betweenrows.create_policy('attacks-own', 'row_filter', '[{"schemas": ["attacks"], "tables": ["own*"]}]',
    '{"filter_expression": "true"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('attacks-own') IS NOT NULL AS assigned;
CREATE VIEW attacks.news AS SELECT id AS event, statement_kind, status, original_query, rewritten_query, relations, parameters
    FROM betweenrows.query_audit WHERE username = 'regress_attacks_alice';
\pset format unaligned
\pset fieldsep ' | '

-- Values and names that JSON writes with escapes: jsonb refuses the NUL character, which these only look like. A row that
-- cannot be stored would be tried again for ever, and all that come after it would wait.
SET betweenrows.audit_parameters = on;
SET SESSION AUTHORIZATION regress_attacks_alice;
PREPARE looking(text) AS SELECT id FROM attacks.people WHERE org = $1;
EXECUTE looking('\u0000');
EXECUTE looking('\\u0000"{');
CREATE TABLE attacks."own\u0000""{" (id int, "\u0000" int);
SELECT "\u0000" FROM attacks."own\u0000""{";
DROP TABLE attacks."own\u0000""{";
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit_parameters;
SELECT betweenrows.audit_flush();
SELECT statement_kind, status, parameters, relations FROM attacks.news ORDER BY event;

-- One statement that comes to any number of others: its row has an end.
SET SESSION AUTHORIZATION regress_attacks_alice;
DO $$BEGIN
    FOR i IN 1..5000 LOOP
        EXECUTE format('SELECT %s FROM attacks.people WHERE id = %s', CASE WHEN i % 2 = 0 THEN 'id' ELSE 'ssn' END, i);
    END LOOP;
END$$;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.audit_flush();
SELECT length(rewritten_query) < 300000 AS bounded, right(rewritten_query, 30) AS ending, relations
    FROM attacks.news WHERE statement_kind = 'DO';

-- What is refused before a plan is made, and what needs none.
SET SESSION AUTHORIZATION regress_attacks_alice;
EXPLAIN ANALYZE SELECT id FROM attacks.people;  -- fail
BEGIN;
LOCK attacks.people IN ACCESS SHARE MODE;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.audit_flush();
SELECT statement_kind, status, relations FROM attacks.news WHERE statement_kind IN ('EXPLAIN', 'LOCK TABLE') ORDER BY event;

-- No setting, function or table of the audit is within reach.
SET SESSION AUTHORIZATION regress_attacks_alice;
SET betweenrows.audit = off;  -- fail
SELECT set_config('betweenrows.audit_overflow', 'drop', false);  -- fail
ALTER ROLE regress_attacks_alice SET betweenrows.audit = off;  -- fail
SELECT betweenrows.audit_status();  -- fail
SELECT betweenrows.spooled_audit();  -- fail
SELECT count(*) FROM betweenrows.recent_denials;  -- fail
RESET SESSION AUTHORIZATION;

DROP SCHEMA attacks CASCADE;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'attacks-%' ORDER BY name;
DROP ROLE regress_attacks_alice;
