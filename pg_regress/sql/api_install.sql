-- The catalog as installed: what is dumped, what tells the backends of changes, and who may do what.
-- Everything but the channels is dumped.
SELECT c.relname
  FROM pg_class c, pg_extension e
 WHERE e.extname = 'betweenrows' AND c.relnamespace = 'betweenrows'::regnamespace AND c.relkind IN ('r', 'S')
   AND NOT c.oid = ANY (e.extconfig) AND NOT c.relispartition
 ORDER BY c.relname COLLATE "C";
-- Every table that decisions depend on tells of changes, also when replication or a restore switches triggers off.
SELECT t.tgrelid::regclass::text COLLATE "C" AS relation, t.tgname, t.tgenabled
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'betweenrows'::regnamespace AND NOT t.tgisinternal
 ORDER BY 1, 2;
-- Functions run as the owner and so must not depend on the caller's search_path; nobody but administrators calls them.
SELECT p.oid::regprocedure::text COLLATE "C" AS function, p.prosecdef, p.proconfig
  FROM pg_proc p
 WHERE p.pronamespace = 'betweenrows'::regnamespace AND p.prosecdef
   AND p.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}'
 ORDER BY 1;
CREATE ROLE regress_api_public LOGIN;
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_api_auditor LOGIN IN ROLE betweenrows_auditor;
SELECT p.oid::regprocedure::text COLLATE "C" AS public_function
  FROM pg_proc p
 WHERE p.pronamespace = 'betweenrows'::regnamespace AND has_function_privilege('regress_api_public', p.oid, 'EXECUTE')
 ORDER BY 1;
SELECT p.oid::regprocedure::text COLLATE "C" AS not_for_administrators
  FROM pg_proc p
 WHERE p.pronamespace = 'betweenrows'::regnamespace AND NOT has_function_privilege('regress_api_admin', p.oid, 'EXECUTE')
 ORDER BY 1;
SELECT c.relname COLLATE "C" AS relation, r.rolname, string_agg(v.privilege, ', ' ORDER BY v.privilege) AS privileges
  FROM pg_class c, (VALUES ('regress_api_public'), ('regress_api_admin'), ('regress_api_auditor')) r (rolname),
       (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) v (privilege)
 WHERE c.relnamespace = 'betweenrows'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
   AND has_table_privilege(r.rolname, c.oid, v.privilege)
 GROUP BY 1, 2 ORDER BY 1, 2;
-- Nothing in the schema lacks a comment.
SELECT p.oid::regprocedure AS undocumented FROM pg_proc p
 WHERE p.pronamespace = 'betweenrows'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.relname AS undocumented FROM pg_class c
 WHERE c.relnamespace = 'betweenrows'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') IS NULL;

-- viewpoint of an ordinary user: everything else is refused
SET SESSION AUTHORIZATION regress_api_public;
SELECT betweenrows.create_user('regress_api_public');  -- fail
SELECT betweenrows.export();  -- fail
SELECT * FROM betweenrows.apply('{"version": 1}');  -- fail
SELECT betweenrows.status();  -- fail
SELECT betweenrows.exempt_role('regress_api_public');  -- fail
SELECT betweenrows.touch();  -- fail
RESET SESSION AUTHORIZATION;

-- History cannot be rewritten, not even by who may write.
INSERT INTO betweenrows.admin_audit (actor_role, action, object_kind, object_name) VALUES ('x', 'test', 'test', 'test');
UPDATE betweenrows.admin_audit SET actor = 'somebody else' WHERE action = 'test';  -- fail
DELETE FROM betweenrows.admin_audit;  -- fail
TRUNCATE betweenrows.policy_versions;  -- fail
DROP ROLE regress_api_public, regress_api_admin, regress_api_auditor;
