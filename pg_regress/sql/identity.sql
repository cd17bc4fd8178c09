-- Who asks is the login role, whatever the session calls itself later: every way to change the current role, to run code as
-- somebody else, or to carry a similar name.
CREATE ROLE identity_alice LOGIN;
CREATE ROLE identity_bob LOGIN;
CREATE ROLE identity_group NOLOGIN;
CREATE ROLE identity_exempt LOGIN;
CREATE ROLE identity_pooler LOGIN;
CREATE ROLE identity_bypass LOGIN BYPASSRLS;
CREATE ROLE identity_reader LOGIN;
CREATE ROLE identity_owner LOGIN;
GRANT identity_bob, identity_group, identity_exempt TO identity_alice;
GRANT pg_read_all_data, pg_write_all_data TO identity_reader;
GRANT identity_alice TO identity_pooler;
CREATE SCHEMA identity;
GRANT ALL ON SCHEMA identity TO PUBLIC;
CREATE TABLE identity.files (id int, owner text, secret text);
INSERT INTO identity.files VALUES
    (1, 'identity_alice', 'raw-1'), (2, 'identity_bob', 'raw-2'), (3, 'identity_group', 'raw-3'), (4, 'identity_owner', 'raw-4'),
    (5, 'postgres', 'raw-5');
ALTER TABLE identity.files OWNER TO identity_owner;
GRANT ALL ON identity.files TO PUBLIC;
ALTER ROLE identity_alice SET search_path = identity;
ALTER ROLE identity_exempt SET search_path = identity;
ALTER ROLE identity_pooler SET search_path = identity;
SET search_path = identity;
SELECT betweenrows.filter_rows('files', 'owner = {user.username}', 'identity own');
SELECT betweenrows.mask_column('files', 'secret', '''mask-'' || right(secret, 1)', 'identity secret');
SELECT betweenrows.exempt_role('identity_exempt');
SELECT betweenrows.exempt_role('identity_pooler');
-- What a function shows that runs as its owner, or as the caller.
CREATE FUNCTION by_superuser() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = identity, pg_temp
    AS $$ SELECT session_user || ' as ' || current_user || ' sees ' || coalesce(string_agg(secret, ','), 'nothing') FROM files $$;
CREATE FUNCTION by_caller() RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RETURN (SELECT session_user || ' as ' || current_user || ' sees ' || coalesce(string_agg(secret, ','), 'nothing')
        FROM identity.files); END $$;
CREATE FUNCTION by_alice() RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT identity.by_caller() $$;
ALTER FUNCTION by_alice() OWNER TO identity_alice;
CREATE FUNCTION by_exempt() RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT identity.by_caller() $$;
ALTER FUNCTION by_exempt() OWNER TO identity_exempt;

-- Viewpoint of alice, logged in as herself.
\c - identity_alice
SELECT by_caller();
SELECT betweenrows.whoami() - 'user_id' AS whoami;
SET ROLE identity_bob;
SELECT by_caller();
SET ROLE identity_exempt;
SELECT by_caller();
SELECT * FROM files;
SET LOCAL ROLE identity_group;
SELECT set_config('role', 'identity_group', false), by_caller();
SELECT by_caller();
RESET ROLE;
SELECT by_superuser(), by_exempt();
CREATE FUNCTION as_bob() RETURNS text LANGUAGE plpgsql SET role = identity_bob AS $$ BEGIN RETURN identity.by_caller(); END $$;
SELECT as_bob();
-- A body that switches in the middle; the plan of the first statement is used again by the second.
DO $$ BEGIN
    FOR i IN 1..2 LOOP
        RAISE NOTICE '%', identity.by_caller();
        SET ROLE identity_bob;
    END LOOP;
    RESET ROLE;
    RAISE NOTICE '%', identity.by_caller();
END $$;
SET SESSION AUTHORIZATION identity_bob;  -- fail
SELECT set_config('session_authorization', 'identity_bob', false);  -- fail
CREATE FUNCTION as_other() RETURNS int LANGUAGE sql SET session_authorization = 'identity_bob' AS 'SELECT 1';  -- fail
SET "betweenrows.user" = 'identity_bob';  -- fail
SET betweenrows.username = 'identity_bob';  -- fail
SET betweenrows.barrier = 'adaptive';  -- fail
SET application_name = 'identity_bob';
SELECT by_caller();
\c "options=-crole=identity_bob dbname=regression user=identity_alice"
SELECT current_user, identity.by_caller();
\c -reuse-previous=off "dbname=regression user=identity_alice"

-- Ownership and attributes of roles do not exempt.
\c - identity_owner
SELECT identity.by_caller();
\c - identity_bypass
SELECT identity.by_caller();
SET row_security = off;
SELECT identity.by_caller();
\c - identity_reader
SELECT identity.by_caller();
-- What policies are enforced with is not for reading, by whatever privilege.
SELECT * FROM betweenrows.policies;  -- fail
SELECT count(*) FROM betweenrows.users;  -- fail
UPDATE betweenrows.users SET is_active = true;  -- fail
INSERT INTO betweenrows.exempt_roles (rolename) VALUES ('identity_reader');  -- fail
DELETE FROM betweenrows.policies;  -- fail
TRUNCATE betweenrows.policies CASCADE;  -- fail
SELECT count(*) FROM pg_statistic;  -- fail
SELECT count(*) FROM pg_statistic_ext_data;  -- fail
SELECT count(*) FROM betweenrows.admin_audit;  -- fail
-- An exempt role is what it is; inside alice's function, or in her role, it is alice.
\c - identity_pooler
SELECT by_caller();
SELECT by_alice();
SET ROLE identity_alice;
SELECT by_caller();
SELECT by_exempt();
RESET ROLE;
SELECT by_caller();

-- Viewpoint of a superuser, who can be anybody.
\c - postgres
SET search_path = identity;
SELECT by_caller();
SELECT by_alice();
SET ROLE identity_alice;
SELECT by_caller();
SELECT betweenrows.whoami() ->> 'username' AS whoami;
SET ROLE identity_exempt;
SELECT by_caller();
SET ROLE identity_bypass;
SELECT by_caller();
RESET ROLE;
SET SESSION AUTHORIZATION identity_alice;
SELECT by_caller();
SET ROLE identity_bob;
SELECT by_caller();
SET SESSION AUTHORIZATION DEFAULT;
SELECT by_caller();
BEGIN;
SET LOCAL ROLE identity_bob;
SELECT by_caller();
SAVEPOINT s;
SET LOCAL ROLE identity_alice;
SELECT by_caller();
ROLLBACK TO s;
SELECT by_caller();
COMMIT;
SELECT by_caller();
-- An error ends a switch too.
DO $$ BEGIN
    BEGIN
        SET LOCAL ROLE identity_alice;
        RAISE NOTICE '%', identity.by_caller();
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE '%', identity.by_caller();
    END;
END $$;

-- Code that belongs to alice runs as alice when a superuser maintains what it is in: index expressions, materialized views,
-- check constraints of tables that are rebuilt. Autovacuum does the same.
SET SESSION AUTHORIZATION identity_alice;
CREATE TABLE hers (id int);
INSERT INTO hers VALUES (1);
CREATE FUNCTION spy(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE '%', identity.by_caller(); RETURN ''; END $$;
CREATE INDEX hers_spy ON hers (spy(id));
CREATE MATERIALIZED VIEW hers_seen AS SELECT * FROM files;
CREATE MATERIALIZED VIEW hers_seen_inside AS SELECT by_caller();
RESET SESSION AUTHORIZATION;
ANALYZE hers;
REINDEX INDEX hers_spy;
REFRESH MATERIALIZED VIEW hers_seen;
REFRESH MATERIALIZED VIEW hers_seen_inside;
TABLE hers_seen;
TABLE hers_seen_inside;
VACUUM FULL hers;
CLUSTER hers USING hers_spy;
-- Her function in her view, read by the superuser, is the superuser's.
SET SESSION AUTHORIZATION identity_alice;
CREATE VIEW hers_view AS SELECT by_caller() FROM hers;
RESET SESSION AUTHORIZATION;
TABLE hers_view;

-- Names. What looks the same, or is the same to a careless comparison, is another role.
CREATE ROLE "Identity_Alice" LOGIN;
CREATE ROLE "identity_alice " LOGIN;
CREATE ROLE "identity_al'ice" LOGIN;
CREATE ROLE "identity_al""ice" LOGIN;
CREATE ROLE "identity_{user.username}" LOGIN;
CREATE ROLE "identity_' OR true --" LOGIN;
CREATE ROLE "identity_\\' OR 1=1" LOGIN;
CREATE ROLE U&"identity_\0430lice" LOGIN;  -- a Cyrillic a
CREATE ROLE U&"identity_alice\200B" LOGIN;  -- a space without width
CREATE ROLE U&"identity_e\0301" LOGIN;
CREATE ROLE U&"identity_\00E9" LOGIN;
CREATE ROLE identity_63_456789_123456789_123456789_123456789_123456789_123456789_x LOGIN;
SELECT rolname, length(rolname), octet_length(rolname) FROM pg_roles WHERE rolname LIKE 'identity_63%';
INSERT INTO files SELECT 100 + row_number() OVER (ORDER BY rolname), rolname, 'of ' || rolname FROM pg_roles
    WHERE rolname ILIKE 'identity%' AND rolname NOT IN
        ('identity_alice', 'identity_bob', 'identity_group', 'identity_exempt', 'identity_pooler', 'identity_bypass', 'identity_reader', 'identity_owner');
CREATE PROCEDURE see_all() LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT rolname FROM pg_roles WHERE rolname ILIKE 'identity%' AND rolcanlogin ORDER BY rolname COLLATE "C" LOOP
        EXECUTE format('SET SESSION AUTHORIZATION %I', name);
        RAISE NOTICE '% sees %', session_user, (SELECT json_agg(owner) FROM identity.files);
        RESET SESSION AUTHORIZATION;
    END LOOP;
END $$;
CALL see_all();
-- Users with such names have attributes of their own.
SELECT betweenrows.define_attribute('identity_word', 'string') IS NOT NULL AS defined;
SELECT count(betweenrows.create_user(rolname, attributes => jsonb_build_object('identity_word', 'word of ' || rolname)))
    FROM pg_roles WHERE rolname ILIKE 'identity%' AND rolcanlogin;
SELECT betweenrows.create_user('identity_63_456789_123456789_123456789_123456789_123456789_123456789_xy');  -- fail
SELECT betweenrows.alter_policy('identity own', definition =>
    '{"filter_expression": "owner = {user.username} AND ''word of '' || owner = {user.identity_word}"}');
CALL see_all();

-- A role that is renamed stays the user that it is, also when another one takes its name.
ALTER ROLE identity_alice RENAME TO identity_renamed;
SET SESSION AUTHORIZATION identity_renamed;
SELECT by_caller(), betweenrows.whoami() ->> 'user_id' IS NOT NULL AS is_user;
RESET SESSION AUTHORIZATION;
ALTER ROLE identity_bob RENAME TO identity_alice;
SET SESSION AUTHORIZATION identity_alice;
SELECT by_caller(), betweenrows.whoami() -> 'attributes' AS attributes;
RESET SESSION AUTHORIZATION;
ALTER ROLE identity_alice RENAME TO identity_bob;
ALTER ROLE identity_renamed RENAME TO identity_alice;
-- In an open session of that role too.
SET SESSION AUTHORIZATION identity_alice;
PREPARE p AS SELECT betweenrows.whoami() ->> 'username', string_agg(secret, ',') FROM identity.files;
EXECUTE p;
RESET SESSION AUTHORIZATION;
BEGIN;
ALTER ROLE identity_alice RENAME TO identity_renamed;
SET SESSION AUTHORIZATION identity_renamed;
EXECUTE p;
ROLLBACK;
SET SESSION AUTHORIZATION identity_alice;
EXECUTE p;
RESET SESSION AUTHORIZATION;
DEALLOCATE p;
-- Dropped and created again: the same user, as far as the name goes. It is not exempt until somebody says so again.
CREATE ROLE identity_again LOGIN;
SELECT betweenrows.create_user('identity_again', attributes => '{"identity_word": "word of identity_alice"}') IS NOT NULL AS created;
SELECT betweenrows.exempt_role('identity_again');
DROP ROLE identity_again;
CREATE ROLE identity_again LOGIN;
SET SESSION AUTHORIZATION identity_again;
SELECT betweenrows.whoami() - 'user_id' AS whoami, (SELECT count(*) FROM identity.files);
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
SELECT betweenrows.exempt_role('identity_exempt', exempt => false);
SELECT betweenrows.exempt_role('identity_pooler', exempt => false);
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'identity %' ORDER BY name;
SELECT count(betweenrows.drop_user(username)::text) FROM betweenrows.users WHERE username ILIKE 'identity%';
SELECT betweenrows.drop_attribute('identity_word');
DROP SCHEMA identity CASCADE;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT rolname FROM pg_roles WHERE rolname ILIKE 'identity%' LOOP EXECUTE format('DROP ROLE %I', name); END LOOP;
END $$;
