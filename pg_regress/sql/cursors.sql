-- Cursors that are fetched by somebody else than they were opened for: after SET ROLE, SET SESSION AUTHORIZATION or when the user
-- was switched off meanwhile. A cursor WITH HOLD has its rows stored, which pass neither planner nor executor again.
CREATE ROLE cursors_alice LOGIN;
CREATE ROLE cursors_bob LOGIN;
CREATE ROLE cursors_app LOGIN;
GRANT cursors_alice, cursors_bob TO cursors_app;
CREATE SCHEMA cursing;
SET search_path = cursing;
GRANT USAGE ON SCHEMA cursing TO PUBLIC;
CREATE TABLE files (id int, owner text);
INSERT INTO files VALUES (1, 'cursors_alice'), (2, 'cursors_bob'), (3, 'cursors_alice'), (4, 'cursors_bob'),
    (5, 'cursors_alice');
CREATE TABLE free (id int);
INSERT INTO free VALUES (1), (2), (3), (4);
GRANT SELECT, UPDATE ON files, free TO PUBLIC;
SELECT betweenrows.create_user('cursors_alice') IS NOT NULL AS created;
SELECT betweenrows.exempt_role('cursors_app');
SELECT betweenrows.filter_rows('files', 'owner = {user.username}', 'cursors-rows');

-- A pooler's login, exempt, that takes the role of whoever is served: the next one gets nothing of the one before.
SET SESSION AUTHORIZATION cursors_app;
SET ROLE cursors_alice;
BEGIN;
DECLARE plain SCROLL CURSOR FOR SELECT * FROM files ORDER BY id;
DECLARE fresh CURSOR FOR SELECT * FROM files ORDER BY id;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM files ORDER BY id;
DECLARE open CURSOR WITH HOLD FOR SELECT * FROM free ORDER BY id;
FETCH plain;
FETCH held;
SAVEPOINT s;
SET ROLE cursors_bob;
FETCH plain;  -- fail
ROLLBACK TO s;
SET ROLE cursors_bob;
FETCH fresh;  -- fail
ROLLBACK TO s;
SET ROLE cursors_bob;
MOVE LAST IN plain;  -- fail
ROLLBACK TO s;
SET ROLE cursors_bob;
FETCH open;
ROLLBACK TO s;
-- Back in the role the cursors go on.
FETCH plain;
COMMIT;
FETCH held;
-- In a function, where no FETCH statement is executed.
BEGIN;
DECLARE plain CURSOR FOR SELECT * FROM files ORDER BY id;
SET LOCAL ROLE cursors_bob;
DO $$ DECLARE c refcursor := 'plain'; r record; BEGIN FETCH c INTO r; RAISE NOTICE '%', r; END $$;  -- fail
ROLLBACK;
SET ROLE cursors_bob;
FETCH held;  -- fail
FETCH BACKWARD 1 FROM held;  -- fail
MOVE held;  -- fail
FETCH open;
RESET ROLE;
-- The exempt login itself may read on.
FETCH held;
-- What it opened for itself is not for a user.
BEGIN;
DECLARE raw CURSOR WITH HOLD FOR SELECT * FROM files ORDER BY id;
FETCH raw;
SET ROLE cursors_alice;
COMMIT;
FETCH raw;  -- fail
FETCH open;
RESET ROLE;
FETCH raw;
CLOSE ALL;
RESET SESSION AUTHORIZATION;

-- The same by SET SESSION AUTHORIZATION.
SET SESSION AUTHORIZATION cursors_alice;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM files ORDER BY id;
COMMIT;
FETCH held;
SET SESSION AUTHORIZATION cursors_bob;
FETCH held;  -- fail
SET SESSION AUTHORIZATION cursors_alice;
FETCH held;
-- An open cursor reads on when policies change; rows kept from before do not outlive the change.
BEGIN;
DECLARE plain CURSOR FOR SELECT * FROM files ORDER BY id;
FETCH plain;
SET LOCAL SESSION AUTHORIZATION DEFAULT;
SELECT betweenrows.mask_column('files', 'owner', '''***''', 'cursors-mask');
SET LOCAL SESSION AUTHORIZATION cursors_alice;
FETCH plain;
COMMIT;
SET SESSION AUTHORIZATION cursors_alice;
FETCH held;  -- fail
CLOSE held;
-- The user is switched off.
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM files ORDER BY id;
FETCH held;
COMMIT;
BEGIN;
DECLARE plain CURSOR FOR SELECT * FROM files ORDER BY id;
FETCH plain;
SET LOCAL SESSION AUTHORIZATION DEFAULT;
SELECT betweenrows.alter_user('cursors_alice', is_active => false);
SET LOCAL SESSION AUTHORIZATION cursors_alice;
SAVEPOINT s;
FETCH plain;  -- fail
ROLLBACK TO s;
FETCH held;  -- fail
ROLLBACK TO s;
DO $$ DECLARE c refcursor := 'plain'; r record; BEGIN FETCH c INTO r; RAISE NOTICE '%', r; END $$;  -- fail
ROLLBACK;
SET SESSION AUTHORIZATION cursors_alice;
FETCH held;
CLOSE held;
FETCH held;  -- fail
RESET SESSION AUTHORIZATION;

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'cursors-%';
SET client_min_messages = warning;
SELECT betweenrows.exempt_role('cursors_app', false), betweenrows.drop_user('cursors_alice');
DROP SCHEMA cursing CASCADE;
DROP ROLE cursors_app, cursors_alice, cursors_bob;
