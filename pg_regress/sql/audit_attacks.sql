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
CREATE VIEW attacks.news AS SELECT id AS event, statement_kind, status, original_query, rewritten_query, relations, parameters, row_count,
    execution_ms FROM betweenrows.query_audit WHERE username = 'regress_attacks_alice';
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

-- What kind of statement was refused is what it would have been, whatever stands before it. A view's own condition is no policy,
-- and what a rule makes of a statement is recorded for itself.
CREATE TABLE attacks.vault (code text);
CREATE VIEW attacks.checked AS SELECT id, org FROM attacks.people WHERE id < 50 WITH CHECK OPTION;
CREATE TABLE attacks.ruled (id int);
CREATE RULE also AS ON INSERT TO attacks.ruled DO ALSO UPDATE attacks.people SET org = 'acme' WHERE id = new.id;
GRANT ALL ON attacks.vault, attacks.checked, attacks.ruled TO regress_attacks_alice;
SELECT betweenrows.deny_table('attacks.vault', 'attacks-vault');
SELECT event AS before FROM attacks.news ORDER BY event DESC LIMIT 1 \gset
SET SESSION AUTHORIZATION regress_attacks_alice;
/* SELECT */ DELETE FROM attacks.vault;  -- fail
-- SELECT
/* INSERT */ ((SELECT nothing FROM attacks.vault));  -- fail
WITH delete AS (SELECT 1) UPDATE attacks.vault SET nothing = 1;  -- fail
CREATE TABLE attacks.copied AS SELECT code FROM attacks.vault;  -- fail
DECLARE c CURSOR FOR TABLE attacks.vault;  -- fail
INSERT INTO attacks.checked VALUES (60, 'acme');  -- fail
INSERT INTO attacks.checked VALUES (10, 'globex');  -- fail
SELECT 1 AS one \; INSERT INTO attacks.ruled VALUES (1) \; SELECT 2 AS two;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.audit_flush();
-- From 18 on statements begin behind comments.
SELECT statement_kind, status, regexp_replace(original_query, '^/\*.*\*/ ', '') AS query FROM attacks.news WHERE event > :'before' ORDER BY event;

-- Rows that were sent before a statement failed are told of.
SET SESSION AUTHORIZATION regress_attacks_alice;
SELECT p.id, 1 / (3 - i) AS quotient FROM attacks.people p, generate_series(1, 3) i;  -- fail
BEGIN;
DECLARE c CURSOR FOR SELECT p.id, 1 / (3 - i) AS quotient FROM attacks.people p, generate_series(1, 3) i;
FETCH 1 FROM c;
FETCH ALL FROM c;  -- fail
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.audit_flush();
SELECT statement_kind, status, row_count, execution_ms > 0 AS timed FROM attacks.news WHERE original_query LIKE '%generate_series%' ORDER BY event;

-- Parameters without end.
SET betweenrows.audit_parameters = on;
SET betweenrows.audit_text_size = 2000;
SET SESSION AUTHORIZATION regress_attacks_alice;
PREPARE long(text, text, text, text) AS SELECT id FROM attacks.people WHERE org IN ($1, $2, $3, $4);
EXECUTE long(repeat('a', 1500), repeat('b', 1500), repeat('c', 1500), 'd');
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit_parameters;
RESET betweenrows.audit_text_size;
SELECT betweenrows.audit_flush();
SELECT number, left(value, 1) AS value, length(value) FROM attacks.news, jsonb_array_elements_text(parameters) WITH ORDINALITY p(value, number)
    WHERE original_query LIKE 'EXECUTE long%' ORDER BY number;

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
