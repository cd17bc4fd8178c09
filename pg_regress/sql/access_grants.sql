-- Where an access grant is required, a subject without one can use no table, be there policies about it or not: a table
-- without policies is easily forgotten, and so are sessions, plans and cursors that were opened before.
\set SHOW_CONTEXT never
CREATE ROLE grants_alice LOGIN;
CREATE ROLE grants_bob LOGIN;
CREATE ROLE grants_carol LOGIN;
CREATE ROLE grants_group;
CREATE ROLE grants_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE grants_exempt LOGIN;
CREATE SCHEMA grants;
GRANT ALL ON SCHEMA grants TO PUBLIC;
SET search_path = grants;
CREATE TABLE t (id int PRIMARY KEY, secret text);
INSERT INTO t VALUES (1, 'one'), (2, 'two');
CREATE TABLE parts (id int) PARTITION BY LIST (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE VIEW v AS SELECT secret FROM t;
CREATE MATERIALIZED VIEW m AS SELECT secret FROM t;
CREATE SEQUENCE s;
GRANT ALL ON ALL TABLES IN SCHEMA grants TO PUBLIC;
GRANT ALL ON s TO PUBLIC;
CREATE FUNCTION definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = grants, pg_temp
    AS 'BEGIN RETURN (SELECT string_agg(secret, '','') FROM t); END';
CREATE FUNCTION trusted() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = grants, pg_temp
    AS 'BEGIN RETURN (SELECT string_agg(secret, '','') FROM t); END';
CREATE FUNCTION inlined() RETURNS SETOF t STABLE BEGIN ATOMIC SELECT * FROM t; END;
CREATE VIEW trusted_view AS SELECT secret FROM t;
GRANT SELECT ON trusted_view TO PUBLIC;
SELECT betweenrows.trust('grants.trusted()');
SELECT betweenrows.trust('grants.trusted_view');
SELECT FROM betweenrows.create_user('grants_alice');
SELECT FROM betweenrows.create_user('grants_bob');
SELECT FROM betweenrows.create_role('grants_group');
SELECT FROM betweenrows.create_role('grants below');
SELECT FROM betweenrows.create_role('grants above');
SELECT betweenrows.exempt_role('grants_exempt');

-- Not required: everybody has access, granted or not.
SELECT betweenrows.grant_access(to_user => 'grants_alice');
SELECT betweenrows.grant_access(to_user => 'grants_alice');
SET SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.require_access_grant();
SELECT betweenrows.status() -> 'require_access_grant' AS required, betweenrows.status() #> '{counts,access_grants}' AS grants;

-- Viewpoint of alice, who has a grant: nothing is different.
SET SESSION AUTHORIZATION grants_alice;
SELECT * FROM t ORDER BY id;
SELECT definer(), trusted();
SELECT betweenrows.whoami() -> 'has_access' AS has_access;

-- Viewpoint of bob, who has none: each kind of statement on tables without any policy.
SET SESSION AUTHORIZATION grants_bob;
SELECT * FROM t;  -- fail
SELECT 1 FROM t WHERE false;  -- fail
TABLE parts;  -- fail
TABLE parts_1;  -- fail
TABLE v;  -- fail
TABLE m;  -- fail
TABLE trusted_view;  -- fail
SELECT (SELECT count(*) FROM t);  -- fail
WITH w AS (DELETE FROM t RETURNING id) SELECT * FROM w;  -- fail
INSERT INTO t VALUES (3, 'three');  -- fail
INSERT INTO t VALUES (1, 'again') ON CONFLICT DO NOTHING;  -- fail
UPDATE t SET secret = secret;  -- fail
DELETE FROM t;  -- fail
MERGE INTO t USING (VALUES (1)) x (id) ON t.id = x.id WHEN MATCHED THEN DELETE;  -- fail
TRUNCATE t;  -- fail
COPY t TO STDOUT;  -- fail
COPY (SELECT secret FROM t) TO STDOUT;  -- fail
-- fail; COPY FROM STDIN, but psql of 16 prints the end of data of a refused one.
\copy t FROM '/dev/null'
BEGIN;
SELECT last_value FROM s;  -- fail
ROLLBACK;
BEGIN;
LOCK TABLE t;  -- fail
ROLLBACK;
EXPLAIN SELECT * FROM t;  -- fail
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t;  -- fail
ROLLBACK;
PREPARE p AS SELECT * FROM grants.t;
EXECUTE p;  -- fail
CREATE TABLE copied AS SELECT * FROM t;  -- fail
CREATE VIEW of_bob AS SELECT * FROM t;  -- fail
CREATE TABLE of_bob (id int);  -- fail
COMMENT ON TABLE t IS 'seen';  -- fail
VACUUM t;  -- fail
SELECT definer();  -- fail
SELECT trusted();  -- fail
SELECT * FROM inlined();  -- fail
DO 'BEGIN PERFORM * FROM t; END';  -- fail
SELECT query_to_xml('SELECT * FROM grants.t', true, false, '');  -- fail
-- What concerns no table still works, as for a user who is not active.
SELECT 1 AS one, current_user AS who, betweenrows.whoami() -> 'has_access' AS has_access,
    betweenrows.whoami() -> 'is_active' AS is_active;
SHOW betweenrows.audit;
BEGIN;
COMMIT;
RESET search_path;

-- Viewpoint of carol, who has no row in users: neither.
\c -
SET search_path = grants;
SET SESSION AUTHORIZATION grants_carol;
SELECT * FROM t;  -- fail
SELECT betweenrows.whoami() -> 'has_access' AS has_access;
-- Nobody gets past it by becoming somebody else, and those who are exempt do not need it.
SET SESSION AUTHORIZATION grants_exempt;
SELECT count(*) FROM t;
RESET SESSION AUTHORIZATION;
SET ROLE grants_bob;
SELECT count(*) FROM t;  -- fail
RESET ROLE;
SELECT count(*) FROM t;

-- A grant to a role reaches its members, through active roles only; membership in a PostgreSQL role counts.
SELECT FROM betweenrows.add_parent('grants below', 'grants above');
SELECT FROM betweenrows.add_member('grants below', 'grants_bob');
SELECT betweenrows.grant_access(to_role => 'grants above');
SET SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;
RESET SESSION AUTHORIZATION;
SELECT FROM betweenrows.alter_role('grants below', is_active => false);
SET SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;  -- fail
RESET SESSION AUTHORIZATION;
SELECT FROM betweenrows.alter_role('grants below', is_active => true);
SELECT FROM betweenrows.alter_role('grants above', is_active => false);
SET SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.grant_access(to_role => 'grants_group');
GRANT grants_group TO grants_carol;
SET SESSION AUTHORIZATION grants_carol;
SELECT count(*) FROM t;
RESET SESSION AUTHORIZATION;
REVOKE grants_group FROM grants_carol;
SET SESSION AUTHORIZATION grants_carol;
SELECT count(*) FROM t;  -- fail
RESET SESSION AUTHORIZATION;
-- A grant to everyone is one to those without a row in users as well, but not to those who are switched off.
SELECT betweenrows.grant_access();
SELECT betweenrows.alter_user('grants_bob', is_active => false);
SET SESSION AUTHORIZATION grants_carol;
SELECT count(*) FROM t;
SET SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;  -- fail
SELECT trusted();  -- fail
SELECT betweenrows.whoami() -> 'has_access' AS has_access, betweenrows.whoami() -> 'is_active' AS is_active;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_user('grants_bob', is_active => true);
SELECT betweenrows.revoke_access();
SELECT betweenrows.revoke_access();  -- fail
SELECT betweenrows.revoke_access(to_user => 'grants_bob');  -- fail
SELECT betweenrows.revoke_access(to_user => 'nobody');  -- fail
SELECT betweenrows.grant_access(to_role => 'nobody');  -- fail
SELECT betweenrows.grant_access('grants_alice', 'grants above');  -- fail
SELECT betweenrows.require_access_grant(NULL);  -- fail
-- A user without a login role, too, is told of.
SELECT betweenrows.effective_policies('grants_bob', 't');
SELECT betweenrows.effective_policies('grants_alice', 't');

-- In the mode policy_required, the owner of a view passes on what is not hidden from it. One without access has nothing to
-- pass on: what is closed to it as a whole is not what it may see.
SELECT betweenrows.set_access_mode('policy_required');
SELECT betweenrows.allow_columns('v', '{secret}', 'grants view');
SELECT betweenrows.allow_columns('t', '{id,secret}', 'grants table', to_role => 'grants below');
ALTER VIEW v OWNER TO grants_bob;
SET SESSION AUTHORIZATION grants_alice;
SELECT * FROM v;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.grant_access(to_user => 'grants_bob');
SET SESSION AUTHORIZATION grants_alice;
SELECT * FROM v;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.revoke_access(to_user => 'grants_bob');
SET SESSION AUTHORIZATION grants_alice;
SELECT * FROM v;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_access_mode('open');
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'grants%' ORDER BY name;

-- A session that is open: plans, functions and cursors of before.
SET SESSION AUTHORIZATION grants_alice;
PREPARE p_alice AS SELECT count(*) FROM t;
EXECUTE p_alice;
SELECT trusted();
DECLARE held CURSOR WITH HOLD FOR SELECT secret FROM t ORDER BY id;
FETCH 1 FROM held;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.revoke_access(to_user => 'grants_alice');
SET SESSION AUTHORIZATION grants_alice;
EXECUTE p_alice;  -- fail
SELECT trusted();  -- fail
FETCH 1 FROM held;  -- fail
-- In a transaction that is rolled back, nothing has changed.
RESET SESSION AUTHORIZATION;
BEGIN;
SELECT betweenrows.grant_access(to_user => 'grants_alice');
SET LOCAL SESSION AUTHORIZATION grants_alice;
EXECUTE p_alice;
ROLLBACK;
SET SESSION AUTHORIZATION grants_alice;
EXECUTE p_alice;  -- fail

-- Administrators who are no subjects' superiors: without a grant they read no table, but can grant one, also to themselves.
SET SESSION AUTHORIZATION grants_admin;
SELECT count(*) FROM grants.t;  -- fail
SELECT count(*) > 0 AS readable FROM betweenrows.admin_audit;
SELECT betweenrows.grant_access(to_user => 'grants_alice');
SET SESSION AUTHORIZATION grants_alice;
EXECUTE p_alice;
SELECT betweenrows.grant_access(to_user => 'grants_bob');  -- fail
SELECT betweenrows.require_access_grant(false);  -- fail
SELECT * FROM betweenrows.access_grants;  -- fail
RESET SESSION AUTHORIZATION;
-- One who is switched off manages and audits nothing by tables.
SELECT FROM betweenrows.create_user('grants_admin', is_active => false);
SET SESSION AUTHORIZATION grants_admin;
SELECT count(*) > 0 AS readable FROM betweenrows.admin_audit;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_user('grants_admin');

-- Documents.
SELECT jsonb_pretty(betweenrows.export() -> 'access');
SELECT action, kind, name, detail FROM betweenrows.apply('{"version": 1, "access": [{"user": "grants_bob"}, {"role": "nobody"}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "access": [{"user": "grants_bob"}, {"role": "grants above"}]}', prune => true, dry_run => true);
SELECT betweenrows.export() -> 'access';
SELECT * FROM betweenrows.apply('{"version": 1, "access": [{"user": "grants_bob"}, {"role": "grants above"}]}', prune => true);
SELECT betweenrows.export() -> 'access';
SELECT * FROM betweenrows.apply('{"version": 1, "access": [{"user": "grants_bob"}, {"role": "grants above"}]}');
SELECT * FROM betweenrows.apply('{"version": 1}', prune => true);
SELECT * FROM betweenrows.apply('{"version": 1, "access": null}');
SELECT betweenrows.export() ? 'access' AS in_force, (SELECT count(*) FROM betweenrows.access_grants) AS kept;
SELECT * FROM betweenrows.apply('{"version": 1, "access": [{}]}', prune => true);
SELECT betweenrows.export() -> 'access';
SELECT * FROM betweenrows.apply('{"version": 1, "access": null}', prune => true);
SELECT * FROM betweenrows.apply('{"version": 1, "access": [{"user": "grants_bob", "priority": 1}, {}, {}]}');  -- fail
SELECT actor, action, object_name, before, after FROM betweenrows.admin_audit WHERE object_kind = 'access_grant' ORDER BY id;
SELECT action, object_name, before, after FROM betweenrows.admin_audit WHERE object_kind = 'require_access_grant' ORDER BY id;

-- What is dropped takes its grants along, which closes and does not open.
SELECT betweenrows.require_access_grant();
SELECT betweenrows.status() -> 'findings' @? '$[*] ? (@.name == "require_access_grant")' AS found;
SELECT betweenrows.grant_access(to_user => 'grants_bob');
SELECT betweenrows.drop_user('grants_bob');
SELECT action, object_kind, object_name FROM betweenrows.admin_audit ORDER BY id DESC LIMIT 2;
SET SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;  -- fail
RESET SESSION AUTHORIZATION;
-- A setting that cannot be understood closes.
BEGIN;
UPDATE betweenrows.settings SET value = '"no"' WHERE key = 'require_access_grant';
SELECT finding FROM jsonb_array_elements(betweenrows.status() -> 'findings') AS finding WHERE finding ->> 'kind' = 'setting';
SET LOCAL SESSION AUTHORIZATION grants_bob;
SELECT count(*) FROM t;  -- fail
ROLLBACK;
-- Each refusal is on record.
SELECT betweenrows.audit_flush();
SELECT username, statement_kind, status, sqlstate, count(*) FROM betweenrows.query_audit WHERE username LIKE 'grants%'
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3;

SELECT betweenrows.require_access_grant(false);
SELECT betweenrows.exempt_role('grants_exempt', false);
SELECT betweenrows.trust('grants.trusted()', false);
SELECT betweenrows.trust('grants.trusted_view', false);
SELECT betweenrows.drop_user('grants_alice');
SELECT betweenrows.drop_role(name) FROM betweenrows.roles WHERE name LIKE 'grants%';
SET client_min_messages = warning;
DROP SCHEMA grants CASCADE;
DROP ROLE grants_alice, grants_bob, grants_carol, grants_group, grants_admin, grants_exempt;
