-- The rights of a policy's owner. Its subqueries read with them, so that an administrator who lets another one's expression
-- loose on a relation of their own would read with that one's rights: whoever changes what a policy says or what it is about
-- becomes its owner.
CREATE ROLE regress_owners_dba LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_owners_other LOGIN IN ROLE betweenrows_admin;
CREATE SCHEMA owning;
GRANT USAGE ON SCHEMA owning TO PUBLIC;
CREATE TABLE owning.secrets (code text);
INSERT INTO owning.secrets VALUES ('s3');
GRANT SELECT ON owning.secrets TO regress_owners_dba;
CREATE TABLE owning.guarded (code text);
CREATE TABLE owning.guesses (code text);
INSERT INTO owning.guesses SELECT 's' || n FROM generate_series(1, 5) n;
ALTER TABLE owning.guesses OWNER TO regress_owners_other;
CREATE FUNCTION pg_temp.owner() RETURNS text LANGUAGE sql AS
    $$ SELECT owner || ' version ' || version FROM betweenrows.policies WHERE name = 'owners-rows' $$;

SET SESSION AUTHORIZATION regress_owners_dba;
SELECT betweenrows.filter_rows('owning.guarded', 'code IN (SELECT s.code FROM owning.secrets s)', 'owners-rows');

-- Another administrator points it at guesses.
SET SESSION AUTHORIZATION regress_owners_other;
SELECT * FROM owning.secrets;  -- fail
SELECT betweenrows.alter_policy('owners-rows', targets => '[{"schemas": ["owning"], "tables": ["guesses"]}]');  -- fail
SELECT betweenrows.alter_policy('owners-rows', targets => '[{"schemas": ["owning"], "tables": ["gu*"]}]');  -- fail
SELECT action, kind, name FROM betweenrows.apply('{"version": 1, "policies": [{"name": "owners-rows", "policy_type": "row_filter",
    "targets": [{"schemas": ["owning"], "tables": ["guesses"]}],
    "definition": {"filter_expression": "code IN (SELECT s.code FROM owning.secrets s)"}, "assignments": [{}]}]}');  -- fail
SELECT count(*) FROM owning.guesses;
-- Where no relation matches yet, nothing can be checked: the rights are the new owner's.
SELECT betweenrows.alter_policy('owners-rows', targets => '[{"schemas": ["owning"], "tables": ["probes"]}]');
RESET SESSION AUTHORIZATION;
SELECT pg_temp.owner();
CREATE TABLE owning.probes AS TABLE owning.guesses;
GRANT SELECT ON owning.probes TO regress_owners_other;
SET SESSION AUTHORIZATION regress_owners_other;
SELECT * FROM owning.probes;  -- fail
-- Description, state and assignments do not change the owner.
SET SESSION AUTHORIZATION regress_owners_dba;
SELECT betweenrows.alter_policy('owners-rows', targets => '[{"schemas": ["owning"], "tables": ["guarded"]}]');
SET SESSION AUTHORIZATION regress_owners_other;
SELECT betweenrows.alter_policy('owners-rows', description => 'seen by the other', is_enabled => false);
SELECT betweenrows.alter_policy('owners-rows', is_enabled => true);
SELECT betweenrows.assign_policy('owners-rows', to_user => NULL, priority => 5) IS NOT NULL AS assigned;
-- The same by a document, and targets that are only written in another order of keys.
SELECT action, kind, name FROM betweenrows.apply('{"version": 1, "policies": [{"name": "owners-rows", "policy_type": "row_filter",
    "description": "of the document", "targets": [{"tables": ["guarded"], "schemas": ["owning"]}],
    "definition": {"filter_expression": "code IN (SELECT s.code FROM owning.secrets s)"}, "assignments": [{"priority": 5}]}]}');
RESET SESSION AUTHORIZATION;
SELECT pg_temp.owner();
-- By a document that changes the targets, where the rights suffice.
GRANT SELECT ON owning.secrets TO regress_owners_other;
SET SESSION AUTHORIZATION regress_owners_other;
SELECT action, kind, name FROM betweenrows.apply('{"version": 1, "policies": [{"name": "owners-rows", "policy_type": "row_filter",
    "targets": [{"schemas": ["owning"], "tables": ["guarded", "guesses"]}],
    "definition": {"filter_expression": "code IN (SELECT s.code FROM owning.secrets s)"}, "assignments": [{"priority": 5}]}]}');
RESET SESSION AUTHORIZATION;
SELECT pg_temp.owner();

SELECT betweenrows.drop_policy('owners-rows');
SET client_min_messages = warning;
DROP SCHEMA owning CASCADE;
DROP ROLE regress_owners_dba, regress_owners_other;
