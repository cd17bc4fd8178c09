-- Policies as the weapon: SQL that breaks out of an expression, names and values that are text in the wrong place, code that
-- runs as somebody else, names that mean something else in another session, and documents that carry all of it. There is
-- no text to break out of: an expression is parsed alone, names are compared, values are constants.
CREATE ROLE inject_alice LOGIN;
CREATE ROLE inject_admin LOGIN IN ROLE betweenrows_admin;
CREATE SCHEMA inject;
GRANT ALL ON SCHEMA inject TO PUBLIC;
SET search_path = inject;
CREATE TABLE t (id int, owner text, tags text[]);
INSERT INTO t VALUES (1, 'inject_alice', '{a}'), (2, 'other', '{b}');
CREATE TABLE members (name text);
INSERT INTO members VALUES ('inject_alice');
CREATE TABLE private (name text);
INSERT INTO private VALUES ('inject_alice');
GRANT ALL ON t, members TO PUBLIC;
-- An expression as a filter, then what alice gets by it.
CREATE PROCEDURE try(expression text) LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    BEGIN
        PERFORM betweenrows.filter_rows('inject.t', expression, 'inject filter');
        SET LOCAL SESSION AUTHORIZATION inject_alice;
        SELECT string_agg(id::text, ' ' ORDER BY id) INTO seen FROM inject.t;
        RAISE NOTICE 'saved, alice reads %: %', coalesce(seen, 'nothing'), left(expression, 80);
        RAISE EXCEPTION 'undo';
    EXCEPTION WHEN raise_exception THEN
        NULL;
    WHEN OTHERS THEN
        RAISE NOTICE '% %: %', SQLSTATE, SQLERRM, left(expression, 80);
    END;
END $$;

-- More than an expression.
CALL try('true) OR (1 = 1');
CALL try('true; DROP TABLE inject.t');
CALL try('true; SELECT true');
CALL try('owner = ''x'' OR true --');
CALL try('owner = ''x'' /* ');
CALL try('owner = ''x'' */ OR true /* ');
CALL try('owner = $$x$$ OR $y$');
CALL try('true FROM inject.private');
CALL try('true WHERE true');
CALL try('true UNION SELECT true');
CALL try('true ORDER BY 1');
CALL try('true LIMIT 1');
CALL try('true AS x');
CALL try('true, true');
CALL try('ALL true');
CALL try('DISTINCT true');
CALL try('*');
CALL try('t.*');
CALL try('SELECT true');
CALL try('(SELECT true INTO TEMP stolen)');
CALL try('(WITH w AS (DELETE FROM inject.t RETURNING true) SELECT true FROM w)');
CALL try('EXISTS (DELETE FROM inject.t)');
CALL try('(SELECT true FROM inject.t FOR UPDATE)');
CALL try('VALUES (true)');
CALL try('');
CALL try('   ');
CALL try('NULL');
CALL try('DEFAULT');
CALL try('CURRENT OF c');
CALL try(E'owner\u00a0= ''x''');
CALL try(E'owner = ''x\\'' OR true --''');
CALL try(E'owner = E''x\\'' OR true --''');
CALL try('owner = U&''\0027 OR true --''');
CALL try('owner = U&''!0027'' UESCAPE ''!''');
CALL try(repeat('(', 3000) || 'true' || repeat(')', 3000));
CALL try(repeat('NOT ', 20000) || 'true');
-- Other places of an expression.
CALL try('count(*) > 0');
CALL try('row_number() OVER () = 1');
CALL try('generate_series(1, 2) = 1');
CALL try('GROUPING(id) = 0');
CALL try('id');
CALL try('other.id = 1');
CALL try('x.id = 1');
CALL try('inject.t.id = 1');
CALL try('xmin IS NOT NULL AND tableoid = ''inject.t''::regclass AND ctid = ''(0,1)''');
CALL try('t IS NOT NULL AND t::text LIKE ''(1,%''');
CALL try('(t).id = 1');
CALL try('(SELECT id = 1)');
CALL try('id = ANY (SELECT 1 WHERE {user.username} = ''inject_alice'')');
CALL try('owner = current_setting(''betweenrows.barrier'')');

-- Placeholders where they are none, and where they look like more.
CALL try('owner = {user.username}');
CALL try('owner = ''{user.username}''');
CALL try('owner = "{user.username}"');
CALL try('owner = {user.username} OR {user.username} = {user.username}');
CALL try('owner = {user.username"}');
CALL try('owner = {user.a; DROP TABLE inject.t}');
CALL try('owner = {user.username}::text::name');
CALL try('owner = {user.id}');
CALL try('{user.username}');
CALL try('{user.username}.id = 1');
CALL try('owner = {{user.username}');
CALL try('owner = {{{user.username}}}');
CALL try('owner = {user.{user.username}}');
CALL try('owner = $1');
CALL try('$1 = {user.username}');
CALL try('owner = :user');

-- Whose code: functions, operators, casts and domains of subjects are not taken, wherever they would be found first.
SET SESSION AUTHORIZATION inject_alice;
CREATE FUNCTION always(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'got %', $1; RETURN true; END $$;
CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'inject_alice' $$;
CREATE FUNCTION same(text, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT true $$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = int, FUNCTION = same);
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
CREATE DOMAIN evil AS text CHECK (inject.always(value));
CREATE TYPE pair AS (a evil);
CREATE TYPE own AS (a text);
CREATE FUNCTION own_to_text(own) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'inject_alice' $$;
CREATE CAST (own AS text) WITH FUNCTION own_to_text(own);
CREATE AGGREGATE collect(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE VIEW her_members AS SELECT name FROM members WHERE always(name);
RESET SESSION AUTHORIZATION;
CALL try('always(owner)');
CALL try('inject.always(owner)');
CALL try('lower(owner::varchar) = ''inject_alice''');
CALL try('lower(owner) = ''inject_alice''');
CALL try('owner = 1');
CALL try('owner === ''inject_alice''');
CALL try('owner OPERATOR(inject.===) ''inject_alice''');
CALL try('owner::evil = ''inject_alice''');
CALL try('evil(owner) = ''inject_alice''');
CALL try('owner = ANY (''{x}''::evil[])');
CALL try('(''(x)''::pair) IS NOT NULL');
CALL try('ROW(owner)::own::text = ''inject_alice''');
CALL try('(SELECT collect(name) FROM inject.members) = owner');
CALL try('owner IN (SELECT name FROM inject.her_members)');
CALL try('owner IN (SELECT name FROM inject.members WHERE always(name))');
CALL try('owner IN (SELECT name FROM inject.members ORDER BY always(name))');
CALL try('owner IN (SELECT name FROM inject.members GROUP BY name HAVING always(max(name)))');
CALL try('owner IN (SELECT name FROM inject.members, always(name) x (x))');
CALL try('owner IN (WITH w AS (SELECT name FROM inject.members WHERE always(name)) SELECT name FROM w)');
CALL try('EXISTS (SELECT FROM inject.members m JOIN inject.t u ON always(u.owner))');
-- A mask is checked like a filter, and must not be volatile.
SELECT betweenrows.mask_column('t', 'owner', 'lower(owner::varchar)');  -- fail
SELECT betweenrows.mask_column('t', 'owner', 'random()::text');  -- fail
SELECT betweenrows.mask_column('t', 'owner', 'nextval(''x'')::text');  -- fail
SELECT betweenrows.mask_column('t', 'owner', '(SELECT clock_timestamp()::text)');  -- fail
SELECT betweenrows.mask_column('t', 'owner', 'always(owner)::text');  -- fail
SELECT betweenrows.mask_column('t', 'id', 'owner');  -- fail
SELECT betweenrows.mask_column('t', 'owner', 'owner FROM private');  -- fail
SELECT betweenrows.mask_column('t', 'nothing', 'NULL');  -- fail
SELECT betweenrows.mask_column('t', 'ctid', 'NULL');  -- fail
-- A check expression, too.
SELECT betweenrows.create_policy('inject check', 'row_filter', '[{"schemas": ["inject"], "tables": ["t"]}]',
    '{"filter_expression": "true", "check_expression": "inject.always(owner)"}');  -- fail

-- The search_path of whoever asks or saves means nothing; pg_catalog comes first, then the table's own schema.
CREATE SCHEMA inject_shadow;
GRANT ALL ON SCHEMA inject_shadow TO PUBLIC;
SET SESSION AUTHORIZATION inject_alice;
CREATE TABLE inject_shadow.members (name text);
INSERT INTO inject_shadow.members VALUES ('other');
CREATE FUNCTION inject_shadow.upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'OTHER' $$;
CREATE TEMP TABLE members (name text);
INSERT INTO pg_temp.members VALUES ('other');
RESET SESSION AUTHORIZATION;
SET search_path = inject_shadow, inject, pg_catalog;
SELECT betweenrows.filter_rows('t', 'owner IN (SELECT name FROM members) AND upper(owner) = ''INJECT_ALICE''', 'inject path');
SET SESSION AUTHORIZATION inject_alice;
SELECT id FROM inject.t;
SET search_path = pg_temp, inject_shadow, inject, pg_catalog;
SELECT id FROM inject.t;
SET search_path = '';
SELECT id FROM inject.t;
RESET SESSION AUTHORIZATION;
SET search_path = inject;
-- The table cannot be dropped, so that the session's own one cannot take its place.
DROP VIEW her_members;
DROP TABLE inject.members;  -- fail
SELECT betweenrows.drop_policy('inject path');

-- The rights: a policy's subqueries read with its writer's, not with those of the extension or of who asks.
SET SESSION AUTHORIZATION inject_admin;
SELECT betweenrows.filter_rows('inject.t', 'owner IN (SELECT name FROM inject.private)', 'inject private');  -- fail
SELECT betweenrows.filter_rows('inject.t', 'owner IN (SELECT rolname FROM pg_authid)', 'inject private');  -- fail
SELECT betweenrows.filter_rows('inject.t', 'owner = pg_read_file(''/etc/passwd'')', 'inject file') IS NOT NULL AS saved;
SET SESSION AUTHORIZATION inject_alice;
SELECT * FROM inject.t;  -- fail
SET SESSION AUTHORIZATION inject_admin;
SELECT betweenrows.drop_policy('inject file');
-- Whoever rewrites a policy owns it; changing something else does not lend the old owner's rights to a new expression.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('inject.t', 'owner IN (SELECT name FROM inject.private)', 'inject private');
SET SESSION AUTHORIZATION inject_admin;
SELECT betweenrows.alter_policy('inject private', description => 'mine');
SELECT betweenrows.alter_policy('inject private', definition => '{"filter_expression": "owner IN (SELECT name FROM inject.private WHERE true)"}');  -- fail
SET SESSION AUTHORIZATION inject_alice;
SELECT id FROM inject.t;
SELECT * FROM inject.private;  -- fail
SET SESSION AUTHORIZATION inject_admin;
SELECT betweenrows.drop_policy('inject private');
-- What is shown for somebody else runs nothing of the caller's, neither with that one's rights nor ungoverned.
SELECT betweenrows.rewritten_query('SELECT ''{x}''::inject.evil[]', 'postgres');  -- fail
SELECT betweenrows.rewritten_query('SELECT ''(x)''::inject.pair', 'inject_alice');  -- fail
SELECT betweenrows.rewritten_query('SELECT 1; DROP TABLE inject.t', 'postgres');  -- fail
SELECT betweenrows.rewritten_query('DROP TABLE inject.t', 'postgres');  -- fail
SELECT message FROM betweenrows.validate_expression('inject.t', 'owner = ANY (''{x}''::inject.evil[])');
RESET SESSION AUTHORIZATION;

-- Names: hostile columns, tables, policies, users and attributes are names and nothing else.
CREATE TABLE """; DROP TABLE t; --" ("id"" OR true --" int, "'; SELECT" text, "{user.username}" text, "a\b" text, "ü" text);
INSERT INTO """; DROP TABLE t; --" VALUES (1, 'x', 'inject_alice', 'raw', 'raw'), (2, 'x', 'other', 'raw', 'raw');
GRANT ALL ON """; DROP TABLE t; --" TO PUBLIC;
SELECT betweenrows.filter_rows('"""; DROP TABLE t; --"', '"{user.username}" = {user.username}', 'inject ''; DROP TABLE t; --');
SELECT betweenrows.mask_column('"""; DROP TABLE t; --"', 'a\b', '"''; SELECT" || "id"" OR true --"', 'inject " names');
SELECT betweenrows.deny_columns('"""; DROP TABLE t; --"', '{ü}', 'inject {user.username}');
SET SESSION AUTHORIZATION inject_alice;
SELECT * FROM """; DROP TABLE t; --";
SELECT "a\b", "id"" OR true --" FROM """; DROP TABLE t; --" WHERE "'; SELECT" = 'x';
SELECT ü FROM """; DROP TABLE t; --";  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.rewritten_query('SELECT * FROM inject."""; DROP TABLE t; --"', 'inject_alice');
SELECT betweenrows.create_user('inject_alice', attributes => '{"a''b": 1}');  -- fail
SELECT betweenrows.define_attribute('a''b', 'string');  -- fail
SELECT betweenrows.define_attribute('a}', 'string');  -- fail
SELECT betweenrows.define_attribute('', 'string');  -- fail
SELECT betweenrows.create_policy('', 'table_deny', '[{"schemas": ["inject"], "tables": ["t"]}]');  -- fail
SELECT betweenrows.create_policy('inject', 'table_deny''', '[{"schemas": ["inject"], "tables": ["t"]}]');  -- fail

-- Documents: what create_policy refuses, apply() refuses, and leaves nothing behind.
CREATE PROCEDURE apply(document text) LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM betweenrows.apply(document::jsonb);
    RAISE NOTICE 'applied: %', left(document, 60);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '% %: %', SQLSTATE, SQLERRM, left(detail, 120);
END $$;
CALL apply('[]');
CALL apply('{}');
CALL apply('{"version": 2}');
CALL apply('{"version": 1, "evil": []}');
CALL apply('{"version": 1, "access_mode": "open; DROP TABLE t"}');
CALL apply('{"version": 1, "policies": {"name": "x"}}');
CALL apply('{"version": 1, "users": [{"username": "inject_x", "attributes": {"missing": 1}}]}');
CALL apply('{"version": 1, "users": [{"username": "inject_x", "is_superuser": true}]}');
CALL apply('{"version": 1, "users": [{"username": "inject_x", "roles": ["nothing"]}]}');
CALL apply('{"version": 1, "roles": [{"name": "inject a", "parents": ["inject b"]}, {"name": "inject b", "parents": ["inject a"]}]}');
CALL apply('{"version": 1, "users": [{"username": "inject_x"}], "policies": [{"name": "inject doc", "policy_type": "row_filter",
    "targets": [{"schemas": ["inject"], "tables": ["t"]}], "definition": {"filter_expression": "true) OR (true"}, "assignments": [{}]}]}');
CALL apply('{"version": 1, "users": [{"username": "inject_x"}], "policies": [{"name": "inject doc", "policy_type": "row_filter",
    "targets": [{"schemas": ["inject"], "tables": ["t"]}], "definition": {"filter_expression": "inject.always(owner)"}, "assignments": [{}]}]}');
CALL apply('{"version": 1, "policies": [{"name": "inject doc", "policy_type": "row_filter", "owner": "postgres",
    "targets": [{"schemas": ["inject"], "tables": ["t"]}], "definition": {"filter_expression": "true"}}]}');
CALL apply('{"version": 1, "exempt_roles": ["inject_alice"]}');
SELECT count(*) FROM betweenrows.users WHERE username = 'inject_x';

SET client_min_messages = warning;
SELECT count(betweenrows.drop_policy(name)::text) FROM betweenrows.policies WHERE name LIKE 'inject%';
DROP SCHEMA inject, inject_shadow CASCADE;
DROP OWNED BY inject_alice;
DROP ROLE inject_alice, inject_admin;
