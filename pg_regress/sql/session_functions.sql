-- Expressions that ask the session. SET ROLE, an ordinary privilege, would choose what a policy says: saving one is worth a warning.
CREATE ROLE regress_session_alice LOGIN;
CREATE ROLE regress_session_bob LOGIN;
GRANT regress_session_bob TO regress_session_alice;
CREATE SCHEMA asking;
SET search_path = asking;
GRANT USAGE ON SCHEMA asking TO PUBLIC;
CREATE TABLE files (owner text, secret text);
CREATE TABLE others (name text);
INSERT INTO files VALUES ('regress_session_alice', 'of alice'), ('regress_session_bob', 'of bob');
GRANT SELECT ON files TO PUBLIC;
-- Each that follows something else than the user is named once, with the expression.
SELECT betweenrows.filter_rows('files', 'owner = current_user AND owner IN (current_user, user, current_role)', 'session-rows');
SELECT betweenrows.alter_policy('session-rows', definition => '{"filter_expression": "true", "check_expression": "owner = session_user"}');
SELECT betweenrows.alter_policy('session-rows', definition => '{"filter_expression": "EXISTS (SELECT FROM asking.others o WHERE o.name = current_setting(''app.user'', true))"}');
SELECT betweenrows.alter_policy('session-rows', definition => '{"filter_expression": "pg_has_role(owner, ''member'') OR has_table_privilege(''files'', ''insert'')"}');
SELECT betweenrows.mask_column('files', 'secret', $$CASE WHEN current_user = owner THEN secret END$$, 'session-mask');
-- The same before it is saved.
SELECT severity, message, hint FROM betweenrows.validate_expression('files', 'owner = current_user OR has_column_privilege(''files'', ''owner'', ''select'')');
SELECT severity, message FROM betweenrows.validate_expression('files', 'current_user', 'mask', 'secret');
-- Nothing to warn of.
SELECT * FROM betweenrows.validate_expression('files', $$pg_has_role({user.username}, owner, 'member') AND current_date > '2000-01-01'$$);
-- What it is about: alice becomes bob as far as such a policy goes.
SELECT betweenrows.drop_policy('session-mask');
SELECT betweenrows.alter_policy('session-rows', definition => '{"filter_expression": "owner = current_user"}');
SET SESSION AUTHORIZATION regress_session_alice;
SELECT secret FROM asking.files;
SET ROLE regress_session_bob;
SELECT secret FROM asking.files;
RESET ROLE;
RESET SESSION AUTHORIZATION;
SELECT betweenrows.alter_policy('session-rows', definition => '{"filter_expression": "owner = {user.username}"}');
SET SESSION AUTHORIZATION regress_session_alice;
SET ROLE regress_session_bob;
SELECT secret FROM asking.files;
RESET ROLE;
RESET SESSION AUTHORIZATION;

SELECT betweenrows.drop_policy('session-rows');
DROP SCHEMA asking CASCADE;
DROP ROLE regress_session_alice, regress_session_bob;
