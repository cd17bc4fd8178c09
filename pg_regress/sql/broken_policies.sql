-- Policies that cannot be applied: written by a superuser past the functions, or broken by what was dropped or changed under
-- them. The tables they are about close with a clear error, for everyone whom they could concern; everything else works, and
-- superusers can mend it.
CREATE ROLE broken_alice LOGIN;
CREATE ROLE broken_writer LOGIN SUPERUSER;
CREATE SCHEMA broken;
GRANT ALL ON SCHEMA broken TO PUBLIC;
SET search_path = broken;
CREATE TABLE t (id int, owner text, secret text);
INSERT INTO t VALUES (1, 'broken_alice', 'raw-1'), (2, 'other', 'raw-2');
CREATE TABLE other (id int);
INSERT INTO other VALUES (1);
GRANT ALL ON t, other TO PUBLIC;
CREATE VIEW over AS SELECT * FROM t;
GRANT ALL ON over TO PUBLIC;
SELECT betweenrows.filter_rows('t', 'owner = {user.username}', 'broken filter');
SELECT betweenrows.mask_column('t', 'secret', '''masked''', 'broken mask');
-- What alice gets of the table, read and written in several ways, and of another one; what a superuser gets.
CREATE FUNCTION results(commands text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    command text;
    seen text;
    results text[] := '{}';
BEGIN
    FOREACH command IN ARRAY commands LOOP
        BEGIN
            EXECUTE command INTO seen;
        EXCEPTION WHEN OTHERS THEN
            seen := SQLSTATE || ' ' || SQLERRM;
        END;
        results := results || coalesce(seen, 'nothing');
    END LOOP;
    RETURN (SELECT string_agg(DISTINCT result, ' | ') FROM unnest(results) result);
END $$;
CREATE PROCEDURE look() LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    SET LOCAL SESSION AUTHORIZATION broken_alice;
    RAISE NOTICE 'table: %', broken.results(ARRAY[$q$ SELECT string_agg(id || secret, ' ' ORDER BY id) FROM broken.t $q$,
        $q$ SELECT string_agg(id || secret, ' ' ORDER BY id) FROM broken.over $q$, $q$ SELECT 'count ' || count(*) FROM broken.t WHERE false $q$,
        $q$ UPDATE broken.t SET id = id WHERE id = 1 RETURNING 'updated ' || id $q$,
        $q$ DELETE FROM broken.t WHERE id = 2 RETURNING 'deleted ' || id $q$, $q$ INSERT INTO broken.t (id) VALUES (1) RETURNING 'inserted' $q$]);
    RAISE NOTICE 'other: %', broken.results(ARRAY['SELECT count(*) FROM broken.other', $q$ INSERT INTO broken.other VALUES (2) RETURNING 'inserted' $q$]);
    RESET SESSION AUTHORIZATION;
    SELECT count(*) INTO seen FROM broken.t;
    RAISE NOTICE 'superuser: % rows, findings: %', seen,
        (SELECT string_agg(f ->> 'problem', '; ') FROM jsonb_array_elements(betweenrows.status() -> 'findings') f);
END $$;
BEGIN;
CALL look();
ROLLBACK;

-- Rows of the catalog that make no sense. Constraints keep out some; a superuser can drop those.
ALTER TABLE betweenrows.policies DROP CONSTRAINT policies_policy_type_check, DROP CONSTRAINT policies_targets_check,
    DROP CONSTRAINT policies_definition_check;
CREATE PROCEDURE try(title text, change text) LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '--- % ---', title;
    EXECUTE change;
    CALL broken.look();
    RAISE EXCEPTION 'undo';
EXCEPTION WHEN raise_exception THEN
    NULL;
WHEN OTHERS THEN
    RAISE NOTICE 'all: % %', SQLSTATE, SQLERRM;
END $$;
CALL try('no JSON object', $$ UPDATE betweenrows.policies SET definition = '[]' WHERE name = 'broken filter' $$);
CALL try('no expression', $$ UPDATE betweenrows.policies SET definition = '{}' WHERE name = 'broken filter' $$);
CALL try('null definition', $$ UPDATE betweenrows.policies SET definition = NULL WHERE name = 'broken filter' $$);
CALL try('unknown key', $$ UPDATE betweenrows.policies SET definition = definition || '{"evil": 1}' WHERE name = 'broken filter' $$);
CALL try('unknown mode', $$ UPDATE betweenrows.policies SET definition = definition || '{"mode": "sometimes"}' WHERE name = 'broken filter' $$);
CALL try('number for an expression', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": 1}' WHERE name = 'broken filter' $$);
CALL try('empty expression', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": ""}' WHERE name = 'broken filter' $$);
CALL try('syntax error', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": "owner = "}' WHERE name = 'broken filter' $$);
CALL try('two expressions', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": "true); SELECT (true"}' WHERE name = 'broken filter' $$);
CALL try('not boolean', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": "id"}' WHERE name = 'broken filter' $$);
CALL try('aggregate', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": "count(*) > 0"}' WHERE name = 'broken filter' $$);
CALL try('unknown column', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": "nothing = 1"}' WHERE name = 'broken filter' $$);
CALL try('unknown attribute', $$ UPDATE betweenrows.policies SET definition = '{"filter_expression": "owner = {user.broken}"}' WHERE name = 'broken filter' $$);
CALL try('volatile mask', $$ UPDATE betweenrows.policies SET definition = '{"mask_expression": "random()::text"}' WHERE name = 'broken mask' $$);
CALL try('unknown type', $$ UPDATE betweenrows.policies SET policy_type = 'row_fitler' WHERE name = 'broken filter' $$);
CALL try('other type', $$ UPDATE betweenrows.policies SET policy_type = 'column_mask' WHERE name = 'broken filter' $$);
CALL try('a mask without columns', $$ UPDATE betweenrows.policies SET targets = '[{"schemas": ["broken"], "tables": ["t"]}]' WHERE name = 'broken mask' $$);
CALL try('filter with columns', $$ UPDATE betweenrows.policies SET targets = '[{"schemas": ["broken"], "tables": ["t"], "columns": ["id"]}]' WHERE name = 'broken filter' $$);
-- Targets that cannot be read could mean any table: all of them close.
CALL try('targets are no list', $$ UPDATE betweenrows.policies SET targets = '{"schemas": ["broken"], "tables": ["t"]}' WHERE name = 'broken filter' $$);
CALL try('targets are null', $$ UPDATE betweenrows.policies SET targets = 'null' WHERE name = 'broken filter' $$);
CALL try('no targets', $$ UPDATE betweenrows.policies SET targets = '[]' WHERE name = 'broken filter' $$);
CALL try('targets without tables', $$ UPDATE betweenrows.policies SET targets = '[{"schemas": ["broken"]}]' WHERE name = 'broken filter' $$);
CALL try('unknown key in targets', $$ UPDATE betweenrows.policies SET targets = '[{"schemas": ["broken"], "tables": ["t"], "except": ["t"]}]' WHERE name = 'broken filter' $$);
-- A disabled one takes no part, however broken.
CALL try('broken and disabled', $$ UPDATE betweenrows.policies SET targets = '{}', definition = '[]', is_enabled = false WHERE name = 'broken filter' $$);
-- Assigned to somebody else, it is not alice's problem.
CALL try('broken for others', $$ UPDATE betweenrows.policies SET definition = '[]' WHERE name = 'broken mask';
    UPDATE betweenrows.policy_assignments SET role_id = (SELECT id FROM betweenrows.roles LIMIT 1),
        user_id = betweenrows.create_user('broken_writer') WHERE policy_id = (SELECT id FROM betweenrows.policies WHERE name = 'broken mask') $$);
CALL try('access mode', $$ INSERT INTO betweenrows.settings (key, value) VALUES ('access_mode', '"opne"')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value $$);
CALL try('access mode of another type', $$ INSERT INTO betweenrows.settings (key, value) VALUES ('access_mode', 'true')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value $$);
CALL try('access mode null', $$ INSERT INTO betweenrows.settings (key, value) VALUES ('access_mode', 'null')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value $$);
CALL try('another setting', $$ INSERT INTO betweenrows.settings (key, value) VALUES ('acces_mode', '"policy_required"') $$);
CALL try('attributes', $$ ALTER TABLE betweenrows.users DROP CONSTRAINT users_attributes_check;
    INSERT INTO betweenrows.users (username, attributes) VALUES ('broken_alice', '[]') $$);
CALL try('null name', $$ ALTER TABLE betweenrows.policies ALTER name DROP NOT NULL; UPDATE betweenrows.policies SET name = NULL WHERE name = 'broken mask' $$);
CALL try('a column is gone', $$ ALTER EXTENSION betweenrows DROP TABLE betweenrows.policies; ALTER TABLE betweenrows.policies DROP COLUMN owner $$);
CALL try('a table is gone', $$ ALTER EXTENSION betweenrows DROP TABLE betweenrows.role_parents; DROP TABLE betweenrows.role_parents $$);
CALL try('the settings are gone', $$ ALTER EXTENSION betweenrows DROP TABLE betweenrows.settings; DROP TABLE betweenrows.settings $$);
CALL try('the epoch is gone', $$ ALTER EXTENSION betweenrows DROP TABLE betweenrows.epoch; DROP TABLE betweenrows.epoch $$);
CALL try('the epoch is not the extension''s', $$ ALTER EXTENSION betweenrows DROP TABLE betweenrows.epoch $$);
ALTER TABLE betweenrows.policies
    ADD CONSTRAINT policies_policy_type_check CHECK (policy_type IN ('row_filter', 'column_mask', 'column_allow', 'column_deny', 'table_deny')),
    ADD CONSTRAINT policies_targets_check CHECK (jsonb_typeof(targets) = 'array'),
    ADD CONSTRAINT policies_definition_check CHECK (jsonb_typeof(definition) = 'object');

-- What a policy needs is dropped or changed under it, by a superuser.
CALL try('column dropped', $$ ALTER TABLE broken.t DROP COLUMN owner CASCADE $$);
CALL try('column renamed', $$ ALTER TABLE broken.t RENAME owner TO keeper $$);
CALL try('column of another type', $$ DROP VIEW broken.over; ALTER TABLE broken.t ALTER owner TYPE int USING id $$);
CALL try('masked column of another type', $$ DROP VIEW broken.over; ALTER TABLE broken.t ALTER secret TYPE date USING NULL $$);
CREATE FUNCTION allowed(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 = 'broken_alice';
CREATE TABLE lookup (name text);
INSERT INTO lookup VALUES ('broken_alice');
SET SESSION AUTHORIZATION broken_writer;
SELECT betweenrows.alter_policy('broken filter', definition =>
    '{"filter_expression": "allowed(owner) AND owner IN (SELECT name FROM lookup)"}') > 0 AS altered;
RESET SESSION AUTHORIZATION;
CALL try('intact', $$ SELECT 1 $$);
CALL try('function dropped', $$ DROP FUNCTION broken.allowed(text) $$);
CALL try('function of a subject', $$ ALTER FUNCTION broken.allowed(text) OWNER TO broken_alice $$);
CALL try('function replaced', $$ CREATE OR REPLACE FUNCTION broken.allowed(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN $1 = 'other' $$);
CALL try('function of another type', $$ DROP FUNCTION broken.allowed(text); CREATE FUNCTION broken.allowed(text) RETURNS text LANGUAGE sql RETURN $1 $$);
CALL try('function with a text', $$ CREATE OR REPLACE FUNCTION broken.allowed(text) RETURNS boolean LANGUAGE sql AS 'SELECT true' $$);
CALL try('table dropped', $$ DROP TABLE broken.lookup $$);
CALL try('table is a subject''s view', $$ DROP TABLE broken.lookup; CREATE VIEW broken.lookup AS SELECT owner AS name FROM broken.t;
    ALTER VIEW broken.lookup OWNER TO broken_alice $$);
CALL try('table emptied', $$ DELETE FROM broken.lookup $$);
CALL try('schema renamed', $$ ALTER SCHEMA broken RENAME TO renamed; ALTER SCHEMA renamed RENAME TO broken $$);
-- The owner of the policy: without his rights the subqueries cannot be read; without him there are none.
CALL try('owner without rights', $$ ALTER ROLE broken_writer NOSUPERUSER $$);
CALL try('owner with rights', $$ ALTER ROLE broken_writer NOSUPERUSER; GRANT SELECT ON broken.lookup TO broken_writer $$);
CALL try('owner renamed', $$ ALTER ROLE broken_writer RENAME TO broken_renamed $$);
DROP ROLE broken_writer;
CALL look();
SET SESSION AUTHORIZATION broken_alice;
SELECT * FROM t;  -- fail
RESET SESSION AUTHORIZATION;
-- Whoever alters the definition becomes the owner.
SELECT betweenrows.alter_policy('broken filter', definition => '{"filter_expression": "owner = {user.username}"}') > 0 AS altered;
BEGIN;
CALL look();
ROLLBACK;

SET client_min_messages = warning;
SELECT betweenrows.drop_policy('broken filter'), betweenrows.drop_policy('broken mask');
DROP SCHEMA broken CASCADE;
DROP ROLE broken_alice;
