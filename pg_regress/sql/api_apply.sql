-- Policy documents: apply with prune and dry_run, and export. A database of its own, since export shows all there is.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_api_other LOGIN IN ROLE betweenrows_admin;
CREATE DATABASE regress_betweenrows_apply;
\c regress_betweenrows_apply
CREATE EXTENSION betweenrows;
CREATE TABLE orders (id int, org text);
CREATE FUNCTION catalog_hash() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    relation regclass;
    content text;
    hash text := '';
BEGIN
    FOR relation IN
        SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'betweenrows'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT string_agg(t::text, E''\n'' ORDER BY t::text) FROM %s t', relation) INTO content;
        hash := md5(concat(hash, relation, content));
    END LOOP;
    RETURN hash;
END $$;
SELECT betweenrows.export();
SELECT * FROM betweenrows.apply(betweenrows.export());

SET SESSION AUTHORIZATION regress_api_admin;
SELECT $$ {
  "version": 1,
  "access_mode": "open",
  "attributes": [{"key": "tenant", "value_type": "string", "allowed_values": ["acme", "globex"]}],
  "roles": [{"name": "support", "parents": ["staff"]}, {"name": "staff", "description": "all of us"}],
  "users": [{"username": "regress_api_alice", "attributes": {"tenant": "acme"}, "roles": ["support"]},
            {"username": "regress_api_bob", "is_active": false}],
  "policies": [
    {"name": "tenants", "policy_type": "row_filter", "description": "rows of the user's own tenant",
     "targets": [{"schemas": ["public"], "tables": ["orders"]}],
     "definition": {"filter_expression": "org = {user.tenant}"},
     "assignments": [{"priority": 100}, {"role": "support"}, {"user": "regress_api_alice", "priority": 10}]},
    {"name": "no-id", "policy_type": "column_deny", "targets": [{"schemas": ["*"], "tables": ["orders"], "columns": ["id"]}]}
  ]
} $$ AS document \gset
-- A dry run answers what would happen, and nothing does.
SELECT catalog_hash() AS before \gset
SELECT * FROM betweenrows.apply(:'document', dry_run => true);
SELECT catalog_hash() = :'before' AS unchanged;
SELECT * FROM betweenrows.apply(:'document');
SELECT catalog_hash() = :'before' AS unchanged;
SELECT * FROM betweenrows.apply(:'document');
SELECT jsonb_pretty(betweenrows.export());
-- What was exported is what is there.
SELECT catalog_hash() AS before \gset
SELECT * FROM betweenrows.apply(betweenrows.export(), prune => true);
SELECT catalog_hash() = :'before' AS unchanged;

-- Absent sections and keys are left alone; without prune nothing is removed.
SELECT betweenrows.alter_user('regress_api_alice', is_active => false);
SELECT * FROM betweenrows.apply('{"version": 1, "users": [{"username": "regress_api_alice"}, {"username": "regress_api_carol", "roles": []}]}');
SELECT * FROM betweenrows.apply('{"version": 1, "roles": [{"name": "support", "parents": []}],
    "policies": [{"name": "tenants", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["orders"]}],
                  "definition": {"filter_expression": "org <> ''x''"}, "assignments": [{"priority": 50}]}]}');
-- prune removes links and objects of this session's user, in the sections that are there.
SET SESSION AUTHORIZATION regress_api_other;
SELECT betweenrows.create_role('others') IS NOT NULL AS created;
SELECT betweenrows.add_member('others', 'regress_api_alice');
SELECT betweenrows.assign_policy('tenants', to_role => 'others') IS NOT NULL AS assigned;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT * FROM betweenrows.apply('{"version": 1,
    "users": [{"username": "regress_api_alice", "roles": ["staff"]}],
    "policies": [{"name": "tenants", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["orders"]}],
                  "definition": {"filter_expression": "org <> ''x''"}, "assignments": []}]}', prune => true, dry_run => true);
SELECT * FROM betweenrows.apply('{"version": 1,
    "users": [{"username": "regress_api_alice", "roles": ["staff"]}],
    "policies": [{"name": "tenants", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["orders"]}],
                  "definition": {"filter_expression": "org <> ''x''"}, "assignments": []}]}', prune => true);
-- A policy goes with its assignments, whoever made them.
SELECT * FROM betweenrows.apply('{"version": 1, "policies": [], "roles": [{"name": "fresh"}]}', prune => true);
-- What others rely on stays, and with it everything: it is one transaction.
SET SESSION AUTHORIZATION regress_api_other;
SELECT * FROM betweenrows.apply('{"version": 1, "policies": [{"name": "theirs", "policy_type": "row_filter",
    "targets": [{"schemas": ["public"], "tables": ["orders"]}], "definition": {"filter_expression": "org = {user.tenant}"}}]}');
SET SESSION AUTHORIZATION regress_api_admin;
SELECT catalog_hash() AS before \gset
SELECT * FROM betweenrows.apply('{"version": 1, "access_mode": "policy_required", "attributes": [], "roles": []}', prune => true);  -- fail
SELECT catalog_hash() = :'before' AS unchanged;
-- Edges may be turned round in one document.
SELECT * FROM betweenrows.apply('{"version": 1, "roles": [{"name": "fresh", "parents": ["staff"]}, {"name": "staff", "parents": []}]}');
SELECT * FROM betweenrows.apply('{"version": 1, "roles": [{"name": "fresh", "parents": []}, {"name": "staff", "parents": ["fresh"]}]}', prune => true);
-- A definition may change along with its uses.
SELECT * FROM betweenrows.apply('{"version": 1, "attributes": [{"key": "level", "value_type": "string"}],
    "users": [{"username": "regress_api_alice", "attributes": {"level": "high"}}],
    "policies": [{"name": "levels", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["orders"]}],
                  "definition": {"filter_expression": "{user.level} = ''high''"}}]}');
SELECT * FROM betweenrows.apply('{"version": 1, "attributes": [{"key": "level", "value_type": "integer"}],
    "users": [{"username": "regress_api_alice", "attributes": {"level": 3}}],
    "policies": [{"name": "levels", "policy_type": "row_filter", "targets": [{"schemas": ["public"], "tables": ["orders"]}],
                  "definition": {"filter_expression": "{user.level} > 2"}}]}');
SELECT * FROM betweenrows.apply('{"version": 1, "attributes": [{"key": "level", "value_type": "boolean"}]}');  -- fail
-- A policy keeps its name when its type changes.
SELECT * FROM betweenrows.apply('{"version": 1, "policies": [{"name": "levels", "policy_type": "table_deny",
    "targets": [{"schemas": ["hr"], "tables": ["*"]}]}]}');

-- Errors tell the place.
SELECT * FROM betweenrows.apply('{"version": 2, "role": [], "users": [{"username": ""}], "policies": [{"name": "p"}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "decision_functions": []}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "roles": [{"name": "a", "parents": ["b"]}, {"name": "b", "parents": ["a"]}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "roles": [{"name": "fresh", "parents": ["staff"]}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "users": [{"username": "x"}, {"username": "y", "roles": ["nowhere"]}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "users": [{"username": "x", "attributes": {"nothing": 1}}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "policies": [{"name": "p", "policy_type": "row_filter",
    "targets": [{"schemas": ["public"], "tables": ["orders"]}], "definition": {"filter_expression": "gro = 1"}}]}');  -- fail
SELECT * FROM betweenrows.apply('{"version": 1, "policies": [{"name": "p", "policy_type": "row_filter",
    "targets": [{"schemas": ["public"], "tables": ["orders"]}], "definition": {"filter_expression": "gro = 1"}}]}', dry_run => true);  -- fail
-- A failed dry run inside an exception handler leaves the transaction in order.
DO $$
BEGIN
    CREATE TEMP TABLE kept (i int);
    BEGIN
        PERFORM betweenrows.apply('{"version": 1, "users": [{"username": "x", "attributes": {"nothing": 1}}]}', dry_run => true);
    EXCEPTION WHEN undefined_object THEN
        RAISE NOTICE 'caught: %', sqlerrm;
    END;
    INSERT INTO kept SELECT count(*) FROM betweenrows.apply('{"version": 1, "users": [{"username": "x"}]}', dry_run => true);
END $$;
SELECT * FROM kept;
RESET SESSION AUTHORIZATION;
SELECT action, object_kind, object_name, actor FROM betweenrows.admin_audit ORDER BY id;
\c regression
DROP DATABASE regress_betweenrows_apply;
DROP ROLE regress_api_admin, regress_api_other;
