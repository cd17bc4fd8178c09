-- Statements that come again with other constants: what is told of them is what was told of the first.
CREATE ROLE regress_again_alice LOGIN;
CREATE ROLE regress_again_bob LOGIN;
CREATE SCHEMA again;
SET search_path = again;
CREATE TABLE people (id int PRIMARY KEY, org text, name varchar(20), ssn text, salary numeric, big bigint, ok boolean);
INSERT INTO people SELECT n, 'acme', 'name ' || n, 'ssn-' || n, n, n, n % 2 = 0 FROM generate_series(1, 9) n;
CREATE TABLE teams (id int, title text);
INSERT INTO teams VALUES (1, 'one'), (2, 'two');
CREATE VIEW staff AS SELECT id, ssn FROM people WHERE id > 0;
CREATE FUNCTION plus(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
GRANT USAGE, CREATE ON SCHEMA again TO regress_again_alice, regress_again_bob;
GRANT ALL ON ALL TABLES IN SCHEMA again TO regress_again_alice, regress_again_bob;
SELECT betweenrows.define_attribute('again_org', 'string') IS NOT NULL AS defined;
SELECT betweenrows.create_user('regress_again_alice', attributes => '{"again_org": "acme"}') IS NOT NULL AS created;
SELECT betweenrows.create_user('regress_again_bob', attributes => '{"again_org": "globex"}') IS NOT NULL AS created;
SELECT betweenrows.filter_rows('people', 'org = {user.again_org}', 'again-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'*-' || right(ssn, 1)$$, 'again-ssn');

-- What came in since the last call, in order.
CREATE TABLE shown (id uuid PRIMARY KEY);
CREATE FUNCTION news(OUT original text, OUT rewritten text, OUT status text, OUT policies text, OUT columns text)
    RETURNS SETOF record LANGUAGE plpgsql SET search_path = again AS $$
BEGIN
    IF NOT betweenrows.audit_flush() THEN
        RAISE 'the audit was not moved in time';
    END IF;
    RETURN QUERY
        WITH new AS (SELECT q.* FROM betweenrows.query_audit q WHERE q.username LIKE 'regress_again_%'
                     AND q.database = current_database() AND NOT EXISTS (SELECT FROM again.shown s WHERE s.id = q.id)),
             noted AS (INSERT INTO again.shown SELECT n.id FROM new n)
        SELECT left(n.original_query, 100),
            regexp_replace(regexp_replace(n.rewritten_query, '\s+', ' ', 'g'), '\( SELECT (people|"people).*? FROM ', '(… FROM ', 'g'),
            n.status,
            (SELECT string_agg(format('%s v%s %s%s', e ->> 'policy', e ->> 'version', e ->> 'effect', '(' || (e ->> 'column') || ')'), '; '
                 ORDER BY e ->> 'policy', e ->> 'column')
             FROM jsonb_array_elements(n.policies_applied) e),
            (SELECT string_agg(format('%s %s', e ->> 'relation', e ->> 'columns'), '; ')
             FROM jsonb_array_elements(n.relations) e)
        FROM new n ORDER BY n.id;
END $$;
\pset format unaligned
\pset fieldsep ' | '

-- Viewpoint of alice: each statement three times and more. The first is described, the second kept, the third recognised.
SET SESSION AUTHORIZATION regress_again_alice;
SELECT id FROM people WHERE id = 1;
SELECT id FROM people WHERE id = 22;
SELECT id FROM people WHERE id = 333;
SELECT id FROM people WHERE id = -4;
SELECT id FROM people WHERE id = 5000000000;
SELECT id FROM people WHERE id = NULL;
SELECT id FROM people WHERE id = '6';
SELECT id, ssn FROM people p WHERE ssn = '*-1';
SELECT id, ssn FROM people p WHERE ssn = 'it''s "q\ü"';
SELECT id, ssn FROM people p WHERE ssn = '*-3';
SELECT id, ssn FROM people p WHERE ssn = '$2000000000';
SELECT id, ssn FROM people q WHERE ssn = '*-5';
SELECT id + 1 AS next FROM people WHERE name = 'name 1' AND id IN (1, 2) ORDER BY id + 1 LIMIT 3;
SELECT id + 2 AS next FROM people WHERE name = 'name 2' AND id IN (2, 3) ORDER BY id + 2 LIMIT 3;
SELECT id + 3 AS next FROM people WHERE name = 'name 3' AND id IN (3, 4) ORDER BY id + 3 LIMIT 3;
SELECT id + 4 AS next FROM people WHERE name = 'name 4' AND id IN (4, 5) ORDER BY id + 4 LIMIT 4;
SELECT id + 5 AS next FROM people WHERE name = 'name 5' AND id IN (5, 6, 7) ORDER BY id + 5 LIMIT 3;
SELECT count(*) AS n, org FROM people WHERE salary > 1.5 AND ok = true GROUP BY org HAVING count(*) > 1;
SELECT count(*) AS n, org FROM people WHERE salary > 2.50 AND ok = false GROUP BY org HAVING count(*) > 2;
SELECT count(*) AS n, org FROM people WHERE salary > 3.5 AND ok = NULL GROUP BY org HAVING count(*) > 3;
SELECT staff.ssn, teams.title FROM staff LEFT JOIN teams USING (id) WHERE staff.id = 1 AND EXISTS (SELECT FROM people WHERE id = 1);
SELECT staff.ssn, teams.title FROM staff LEFT JOIN teams USING (id) WHERE staff.id = 2 AND EXISTS (SELECT FROM people WHERE id = 2);
SELECT staff.ssn, teams.title FROM staff LEFT JOIN teams USING (id) WHERE staff.id = 3 AND EXISTS (SELECT FROM people WHERE id = 4);
WITH w AS (SELECT id FROM people WHERE id < 3) SELECT id FROM w UNION SELECT id FROM people WHERE id = 8 ORDER BY 1;
WITH w AS (SELECT id FROM people WHERE id < 2) SELECT id FROM w UNION SELECT id FROM people WHERE id = 7 ORDER BY 1;
WITH w AS (SELECT id FROM people WHERE id < 1) SELECT id FROM w UNION SELECT id FROM people WHERE id = 6 ORDER BY 1;
-- Printed differently, though they mean the same.
SELECT int8(id) AS a FROM people WHERE id = 1;
SELECT int8(id) AS a FROM people WHERE id = 2;
SELECT int8(id) AS a FROM people WHERE id = 3;
SELECT id::int8 AS a FROM people WHERE id = 4;
SELECT CAST(id AS bigint) AS a FROM people WHERE id = 5;
SELECT ROW(id, name) AS a FROM people WHERE id = 1;
SELECT ROW(id, name) AS a FROM people WHERE id = 2;
SELECT (id, name) AS a FROM people WHERE id = 3;
SELECT (id, name) AS a FROM people WHERE id = 4;
-- Fails while it runs.
SELECT 1 / (id - 1) AS x FROM people WHERE id = 2;
SELECT 1 / (id - 2) AS x FROM people WHERE id = 3;
SELECT 1 / (id - 3) AS x FROM people WHERE id = 3;
RESET SESSION AUTHORIZATION;
SELECT used_bytes > 0 AS kept FROM pg_backend_memory_contexts WHERE name = 'betweenrows recurring statements';
SELECT * FROM news();
-- What an administrator is shown for each of them is made anew, and differs in what is qualified at most: no line.
SELECT original_query, rewritten_query, shown.text FROM betweenrows.query_audit,
    LATERAL betweenrows.rewritten_query(original_query, username) AS shown(text)
    WHERE username = 'regress_again_alice' AND database = current_database()
        AND regexp_replace(rewritten_query, '\s+|\mpeople\.', '', 'g') <> regexp_replace(shown.text, '\s+|\mpeople\.', '', 'g');

-- Somebody else, and other rights.
SET SESSION AUTHORIZATION regress_again_bob;
SELECT id FROM people WHERE id = 4;
SELECT id FROM people WHERE id = 5;
SELECT id FROM people WHERE id = 6;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- What a name means, and how it is printed, changes.
SET SESSION AUTHORIZATION regress_again_alice;
SET search_path = pg_catalog;
SELECT id FROM again.people WHERE id = 1;
SELECT id FROM again.people WHERE id = 2;
SET search_path = again;
SELECT id FROM again.people WHERE id = 3;
SELECT id FROM people WHERE id = 4;
SET quote_all_identifiers = on;
SELECT id FROM people WHERE id = 5;
SELECT id FROM people WHERE id = 6;
SELECT id FROM people WHERE id = 7;
RESET quote_all_identifiers;
SELECT id FROM people WHERE id = 8;
SELECT id FROM people WHERE name = 'a' AND org LIKE E'%\\\\%';
SELECT id FROM people WHERE name = 'b' AND org LIKE E'%\\\\%';
SELECT id FROM people WHERE name = 'c' AND org LIKE E'%\\\\%';
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT id FROM people WHERE name = 'd' AND org LIKE E'%\\\\%';
SELECT id FROM people WHERE name = 'e' AND org LIKE E'%\\\\%';
SELECT id FROM people WHERE name = E'\\' AND org LIKE E'%\\\\%';
RESET standard_conforming_strings;
CREATE TEMP TABLE teams (id int);
SELECT title FROM again.teams, people WHERE people.id = 1 AND teams.id = 1;
SELECT title FROM again.teams, people WHERE people.id = 2 AND teams.id = 2;
SELECT title FROM again.teams, people WHERE people.id = 3 AND teams.id = 2;
DROP TABLE pg_temp.teams;
SELECT title FROM again.teams, people WHERE people.id = 4 AND teams.id = 2;
RESET SESSION AUTHORIZATION;
SELECT original, rewritten FROM news();
ALTER TABLE people RENAME COLUMN id TO number;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT number FROM people WHERE number = 1;
SELECT number FROM people WHERE number = 2;
SELECT number FROM people WHERE number = 3;
RESET SESSION AUTHORIZATION;
ALTER TABLE people RENAME COLUMN number TO id;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT id FROM people WHERE id = 1;
SELECT id FROM people WHERE id = 2;
SELECT id FROM people WHERE id = 3;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- What policies say changes, and with it what is recorded.
SELECT betweenrows.alter_policy('again-ssn', definition => '{"mask_expression": "''hidden''"}') > 1 AS altered;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE id = 1;
SELECT ssn FROM people WHERE id = 2;
SELECT ssn FROM people WHERE id = 3;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_attribute('regress_again_alice', 'again_org', '"initech"');
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE id = 4;
SELECT ssn FROM people WHERE id = 5;
SELECT ssn FROM people WHERE id = 6;
RESET SESSION AUTHORIZATION;
SELECT original, policies, columns FROM news();
SET betweenrows.audit_rewritten = off;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE id = 7;
SELECT ssn FROM people WHERE id = 8;
SELECT ssn FROM people WHERE id = 9;
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit_rewritten;
SET betweenrows.audit_redact = on;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE id = 10;
SELECT ssn FROM people WHERE id = 11;
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit_redact;
SET betweenrows.audit = denied;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE id = 12;
SELECT ssn FROM people WHERE id = 13;
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE id = 14;
SELECT ssn FROM people WHERE id = 15;
RESET SESSION AUTHORIZATION;
SET betweenrows.audit_text_size = 1024;
SET SESSION AUTHORIZATION regress_again_alice;
SELECT ssn FROM people WHERE org = 'short' AND id = 16;
SELECT ssn FROM people WHERE org = 'short again' AND id = 16;
\set ECHO none
SELECT format('SELECT ssn FROM people WHERE org = %L AND id = %s', repeat('long', 500), n) FROM generate_series(1, 3) n \gexec
\set ECHO all
RESET SESSION AUTHORIZATION;
RESET betweenrows.audit_text_size;
SELECT original, left(rewritten, 90) AS begins, right(rewritten, 30) AS ends, length(rewritten) AS length FROM news();

DROP SCHEMA again CASCADE;
SELECT betweenrows.drop_policy('again-rows');
SELECT betweenrows.drop_policy('again-ssn');
SELECT betweenrows.drop_user('regress_again_alice');
SELECT betweenrows.drop_user('regress_again_bob');
SELECT betweenrows.drop_attribute('again_org');
DROP OWNED BY regress_again_alice, regress_again_bob;
DROP ROLE regress_again_alice, regress_again_bob;
