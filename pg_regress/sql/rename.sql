-- Renames. A relation or column could lose its policies because they are kept by name; an expression could break or come to
-- mean something else because it is kept as text. Policies follow, or the rename is refused with the list of policies.
CREATE ROLE regress_rename_alice LOGIN;
CREATE ROLE regress_rename_dba LOGIN CREATEROLE;
CREATE ROLE regress_rename_group;
CREATE SCHEMA naming;
CREATE SCHEMA elsewhere;
SET search_path = naming;
CREATE TABLE people (id int, org text, ssn text, salary int);
CREATE TABLE members (org text, person text);
CREATE TABLE orders (id int, org text);
CREATE TABLE orders_old (id int, org text);
CREATE TABLE parent (id int, secret text);
CREATE TABLE child () INHERITS (parent);
CREATE VIEW staff AS SELECT id, ssn FROM people;
INSERT INTO people VALUES (1, 'acme', '111', 10), (2, 'globex', '222', 20);
INSERT INTO members VALUES ('acme', 'regress_rename_alice');
INSERT INTO orders VALUES (1, 'acme'), (2, 'globex');
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (2, 'c');
GRANT ALL ON SCHEMA naming, elsewhere TO regress_rename_alice, regress_rename_dba;
GRANT ALL ON ALL TABLES IN SCHEMA naming TO regress_rename_alice;
SELECT betweenrows.create_user('regress_rename_alice') IS NOT NULL AS created;
SELECT betweenrows.create_role('regress_rename_group') IS NOT NULL AS created;
SELECT betweenrows.exempt_role('regress_rename_dba');
SELECT betweenrows.filter_rows('people', 'org IN (SELECT m.org FROM naming.members m WHERE m.person = {user.username})', 'rename-rows');
SELECT betweenrows.mask_column('people', 'ssn', $$'***'$$, 'rename-ssn', to_user => 'regress_rename_alice');
SELECT betweenrows.create_policy('rename-deny', 'column_deny', '[{"schemas": ["naming"], "tables": ["people", "parent"], "columns": ["salary", "secret"]},
    {"schemas": ["naming"], "tables": ["par*"], "columns": ["sec*"]}]') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('rename-deny') IS NOT NULL AS assigned;
SELECT betweenrows.create_policy('rename-orders', 'row_filter', '[{"schemas": ["naming"], "tables": ["orders*"]}]', '{"filter_expression": "org = ''acme''"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('rename-orders') IS NOT NULL AS assigned;
CREATE VIEW targets AS SELECT name, version, targets FROM betweenrows.policies WHERE name LIKE 'rename-%' ORDER BY name;
TABLE targets;

-- A table and its columns.
ALTER TABLE people RENAME TO persons;
TABLE targets;
ALTER TABLE persons RENAME COLUMN ssn TO number;
ALTER TABLE persons RENAME salary TO wage;
TABLE targets;
SET SESSION AUTHORIZATION regress_rename_alice;
SELECT * FROM naming.persons;
SELECT wage FROM naming.persons;  -- fail
RESET SESSION AUTHORIZATION;
-- To another schema, and a schema itself.
ALTER TABLE persons SET SCHEMA elsewhere;
SELECT targets FROM targets WHERE name IN ('rename-rows', 'rename-deny');
SET SESSION AUTHORIZATION regress_rename_alice;
SELECT * FROM elsewhere.persons;
RESET SESSION AUTHORIZATION;
ALTER SCHEMA elsewhere RENAME TO "else*where";  -- fail: a star cannot be written in a target
ALTER SCHEMA elsewhere RENAME TO "Else where";
SELECT targets FROM targets WHERE name IN ('rename-rows', 'rename-deny');
SET SESSION AUTHORIZATION regress_rename_alice;
SELECT * FROM "Else where".persons;
RESET SESSION AUTHORIZATION;
ALTER SCHEMA "Else where" RENAME TO elsewhere;
ALTER TABLE elsewhere.persons SET SCHEMA naming;
ALTER TABLE persons RENAME TO people;
SELECT targets FROM targets WHERE name IN ('rename-rows', 'rename-deny');

-- What expressions use.
ALTER TABLE people RENAME COLUMN org TO tenant;  -- fail
ALTER TABLE people DROP COLUMN org;  -- fail
ALTER TABLE members RENAME COLUMN person TO who;  -- fail
ALTER TABLE members DROP COLUMN person CASCADE;  -- fail
ALTER TABLE members RENAME TO others;  -- fail
ALTER TABLE members SET SCHEMA elsewhere;  -- fail
DROP TABLE members;  -- fail
ALTER SCHEMA naming RENAME TO renamed;  -- fail
ALTER TABLE people DROP COLUMN wage;
ALTER TABLE people ADD COLUMN wage int DEFAULT 3;
SET SESSION AUTHORIZATION regress_rename_alice;
SELECT * FROM people;
RESET SESSION AUTHORIZATION;

-- What a pattern is about, and would not be afterwards.
ALTER TABLE orders_old RENAME TO orders_new;
BEGIN;
ALTER TABLE orders_new RENAME TO archive;
ALTER TABLE orders SET SCHEMA elsewhere;
ROLLBACK;
ALTER TABLE parent RENAME COLUMN secret TO plain;
SELECT targets FROM targets WHERE name = 'rename-deny';
ALTER TABLE parent RENAME COLUMN plain TO secret;

-- Inheritance: what is renamed on the parent is renamed on the child.
SET SESSION AUTHORIZATION regress_rename_alice;
SELECT * FROM child;
RESET SESSION AUTHORIZATION;
ALTER TABLE parent RENAME COLUMN secret TO hidden;
SET SESSION AUTHORIZATION regress_rename_alice;
SELECT * FROM child;
SELECT * FROM parent;
RESET SESSION AUTHORIZATION;
-- A saved plan for a child knows of the parent that it got or lost.
CREATE TABLE stray (id int, hidden text);
INSERT INTO stray VALUES (3, 's');
GRANT ALL ON stray TO regress_rename_alice;
SET SESSION AUTHORIZATION regress_rename_alice;
PREPARE p AS SELECT id, coalesce(hidden, 'nothing') FROM naming.stray;
EXECUTE p;
RESET SESSION AUTHORIZATION;
ALTER TABLE stray INHERIT parent;
SET SESSION AUTHORIZATION regress_rename_alice;
EXECUTE p;  -- fail
DEALLOCATE p;
RESET SESSION AUTHORIZATION;

-- What was governed through its parent only.
ALTER TABLE stray NO INHERIT parent;
-- A rename that is rolled back takes the policies back, also when a function swallows the error.
BEGIN;
ALTER TABLE people RENAME TO persons;
ROLLBACK;
DO $$ BEGIN
    BEGIN
        ALTER TABLE naming.people RENAME TO persons;
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'rolled back';
    END;
    ALTER TABLE naming.orders RENAME TO orders_2;
    BEGIN
        ALTER TABLE naming.orders_2 RENAME TO "orders*";
        ALTER TABLE naming.people RENAME TO "people*";
    EXCEPTION WHEN dependent_objects_still_exist THEN
        RAISE NOTICE '%', SQLERRM;
    END;
    ALTER TABLE naming.people RENAME TO persons;
END $$;
SELECT name, targets FROM targets WHERE name IN ('rename-rows', 'rename-orders');
SELECT to_regclass('people'), to_regclass('persons'), to_regclass('orders_2'), to_regclass('archive');
ALTER TABLE persons RENAME TO people;

-- Roles: users, betweenrows roles, exemption and ownership of policies.
ALTER ROLE regress_rename_alice RENAME TO regress_rename_alicia;
ALTER ROLE regress_rename_group RENAME TO regress_rename_team;
ALTER ROLE regress_rename_dba RENAME TO regress_rename_admin;
SELECT username FROM betweenrows.users WHERE username LIKE 'regress_rename%';
SELECT name FROM betweenrows.roles WHERE name LIKE 'regress_rename%';
SELECT rolename FROM betweenrows.exempt_roles WHERE rolename LIKE 'regress_rename%';
SET SESSION AUTHORIZATION regress_rename_alicia;
SELECT ssn FROM naming.people;  -- fail: its name is number now
SELECT number FROM naming.people;
RESET SESSION AUTHORIZATION;
UPDATE members SET person = 'regress_rename_alicia';
SET SESSION AUTHORIZATION regress_rename_alicia;
SELECT number FROM naming.people;
RESET SESSION AUTHORIZATION;
-- A name that another user has already.
SELECT betweenrows.create_user('regress_rename_taken') IS NOT NULL AS created;
ALTER ROLE regress_rename_alicia RENAME TO regress_rename_taken;  -- fail

-- An exempt owner without any right in the catalog; an owner who is a subject does not learn names of policies.
ALTER TABLE people OWNER TO regress_rename_admin;
ALTER TABLE members OWNER TO regress_rename_alicia;
SET SESSION AUTHORIZATION regress_rename_admin;
ALTER TABLE naming.people RENAME TO persons;
ALTER TABLE naming.persons RENAME COLUMN org TO tenant;  -- fail
SET SESSION AUTHORIZATION regress_rename_alicia;
ALTER TABLE naming.members RENAME COLUMN person TO who;  -- fail
RESET SESSION AUTHORIZATION;
-- Nor does an owner who is a subject take a table out of the reach of policies that are for others.
SELECT betweenrows.create_policy('rename-others', 'row_filter', '[{"schemas": ["naming"], "tables": ["hers*", "ours"]}]', '{"filter_expression": "false"}') IS NOT NULL AS created;
SELECT betweenrows.assign_policy('rename-others', to_role => 'regress_rename_team') IS NOT NULL AS assigned;
SET SESSION AUTHORIZATION regress_rename_alicia;
CREATE TABLE naming.hers_1 (id int);
ALTER TABLE naming.hers_1 RENAME TO hers_2;
ALTER TABLE naming.hers_2 RENAME TO mine;  -- fail
ALTER TABLE naming.hers_2 SET SCHEMA elsewhere;  -- fail
CREATE TABLE naming.ours (id int);
CREATE TABLE naming.part () INHERITS (naming.ours);
ALTER TABLE naming.part NO INHERIT naming.ours;  -- fail
ALTER TABLE naming.ours RENAME TO yours;
DROP TABLE naming.hers_2, naming.yours CASCADE;
RESET SESSION AUTHORIZATION;
SELECT name, targets FROM targets WHERE name IN ('rename-rows', 'rename-others');
SELECT name, version, changed_by FROM betweenrows.policy_versions WHERE name = 'rename-rows' ORDER BY version;
SELECT actor, action, object_kind, object_name FROM betweenrows.admin_audit
 WHERE object_name ~ '^(rename-|regress_rename)' AND action IN ('rename', 'alter') ORDER BY id;

-- A statement that fails after it has renamed, where somebody swallows the error: nothing follows.
CREATE FUNCTION fail() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
CREATE EVENT TRIGGER regress_rename_fails ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION fail();
DO $$ BEGIN
    ALTER TABLE naming.persons RENAME TO nobody;
EXCEPTION WHEN raise_exception THEN
    RAISE NOTICE '%', SQLERRM;
END $$;
DROP EVENT TRIGGER regress_rename_fails;
SELECT targets FROM targets WHERE name = 'rename-rows';
-- A transaction whose snapshot is older than a policy: see the isolation test rename_races.
-- The extension is found by the name of its schema.
ALTER SCHEMA betweenrows RENAME TO elsewhere_too;  -- fail
-- The name of an exempt role is no way to be exempt, while there is such a role and afterwards.
CREATE ROLE regress_rename_maker LOGIN CREATEROLE;
CREATE ROLE regress_rename_mine;
GRANT regress_rename_mine TO regress_rename_maker WITH ADMIN OPTION;
INSERT INTO betweenrows.exempt_roles (rolename) VALUES ('regress_rename_gone');  -- as of a role dropped from another database
SET SESSION AUTHORIZATION regress_rename_maker;
CREATE ROLE regress_rename_gone LOGIN;  -- fail
ALTER ROLE regress_rename_mine RENAME TO regress_rename_gone;  -- fail
CREATE ROLE regress_rename_new;
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_rename_mine RENAME TO regress_rename_gone;  -- fail
CREATE ROLE regress_rename_gone;
DROP ROLE regress_rename_gone;
SELECT rolename FROM betweenrows.exempt_roles WHERE rolename LIKE 'regress_rename%';
DROP ROLE regress_rename_new, regress_rename_mine, regress_rename_maker;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'rename-%';
SET client_min_messages = warning;
SELECT betweenrows.drop_user('regress_rename_alicia'), betweenrows.drop_user('regress_rename_taken'), betweenrows.drop_role('regress_rename_team'),
       betweenrows.exempt_role('regress_rename_admin', false);
DROP SCHEMA naming, elsewhere CASCADE;
DROP ROLE regress_rename_alicia, regress_rename_admin, regress_rename_team;
