-- What is hidden is named like what is missing: same SQLSTATE, words and position, in every kind of statement, so that two
-- guesses cannot be told apart. Each pair asks for something hidden and for something that there never was.
CREATE ROLE naming_alice LOGIN;
CREATE SCHEMA naming;
GRANT ALL ON SCHEMA naming TO naming_alice;
SET search_path = naming;
CREATE TABLE staff (secret text, id int PRIMARY KEY, name text, note text, more text);
INSERT INTO staff VALUES ('s1', 1, 'Ann', 'n1', 'm1'), ('s2', 2, 'Ben', 'n2', 'm2');
CREATE TABLE desks (id int PRIMARY KEY, secret text, place text, more text);
INSERT INTO desks VALUES (1, 's1', 'here', 'x1'), (2, 'other', 'there', 'x2');
CREATE TABLE vault (id int, content text);
INSERT INTO vault VALUES (1, 'gold');
GRANT ALL ON ALL TABLES IN SCHEMA naming TO naming_alice;
SELECT betweenrows.deny_columns('staff', '{secret,more}', 'naming staff');
SELECT betweenrows.deny_columns('desks', '{secret}', 'naming desks');
SELECT betweenrows.deny_table('vault', 'naming vault');
-- The raw view of a superuser.
SELECT * FROM staff NATURAL JOIN desks;

-- Viewpoint of alice. Tables: the first is hidden, the second is missing.
SET SESSION AUTHORIZATION naming_alice;
SELECT * FROM vault;
SELECT * FROM vaulx;
SELECT secret FROM staff;
SELECT secrex FROM staff;
SELECT nothing FROM vault;
SELECT nothing FROM vaulx;
SELECT nothing FROM naming.vault WHERE content = 1;
SELECT nothing FROM naming.vaulx WHERE content = 1;
WITH x AS (SELECT nothing FROM staff) SELECT nothing FROM vault;
WITH x AS (SELECT nothing FROM staff) SELECT nothing FROM vaulx;
WITH vault AS (SELECT 'a CTE' AS name) SELECT name FROM vault;
WITH vault AS (SELECT 'a CTE' AS name) SELECT content FROM vault;
WITH x AS (SELECT * FROM vault), vault AS (SELECT 1) SELECT * FROM x;
WITH x AS (SELECT * FROM vaulx), vaulx AS (SELECT 1) SELECT * FROM x;
SELECT content::nothing FROM vault;
SELECT content::nothing FROM vaulx;
SELECT nothing FROM elsewhere.naming.vault;
SELECT nothing FROM elsewhere.naming.vaulx;
SELECT nothing FROM betweenrows.nothing, vault;
SELECT nothing FROM nowhere.vault;
SELECT 1 FROM staff JOIN naming.vault USING (id);
SELECT 1 FROM staff JOIN naming.vaulx USING (id);
SELECT 1 FROM staff WHERE id IN (SELECT id FROM vault);
SELECT 1 FROM staff WHERE id IN (SELECT id FROM vaulx);
WITH v AS (SELECT * FROM vault) SELECT 1;
WITH v AS (SELECT * FROM vaulx) SELECT 1;
SELECT * FROM staff UNION SELECT * FROM vault;
SELECT * FROM vaulx UNION SELECT * FROM staff;
TABLE vault;
TABLE vaulx;
INSERT INTO vault VALUES (1);
INSERT INTO vaulx VALUES (1);
INSERT INTO vault (nothing) SELECT 1;
INSERT INTO vaulx (nothing) SELECT 1;
UPDATE vault SET id = 1;
UPDATE vaulx SET id = 1;
UPDATE staff SET name = content FROM vault;
UPDATE staff SET name = content FROM vaulx;
DELETE FROM vault;
DELETE FROM vaulx;
DELETE FROM staff USING vault v WHERE v.id = staff.id;
DELETE FROM staff USING vaulx v WHERE v.id = staff.id;
MERGE INTO vault v USING staff s ON s.id = v.id WHEN MATCHED THEN DELETE;
MERGE INTO vaulx v USING staff s ON s.id = v.id WHEN MATCHED THEN DELETE;
MERGE INTO staff s USING vault v ON s.id = v.id WHEN MATCHED THEN DELETE;
MERGE INTO staff s USING vaulx v ON s.id = v.id WHEN MATCHED THEN DELETE;
SELECT * FROM naming.vault, naming.vaulx;
SELECT vault.id FROM staff;
SELECT vaulx.id FROM staff;
SELECT * FROM ONLY vault;
SELECT * FROM vault TABLESAMPLE SYSTEM (1);
SELECT * FROM vault v FOR UPDATE;
SELECT 1; SELECT * FROM vault; SELECT 2;
SELECT 1 \; SELECT * FROM vault \; SELECT 2;
SELECT 1 \; SELECT 2 FROM staff \; SELECT nothing FROM vault \; SELECT nothing FROM vaulx;
SELECT nothing FROM staff \; SELECT nothing FROM vault;
PREPARE p AS SELECT nothing FROM vault;
PREPARE p AS SELECT nothing FROM vaulx;
PREPARE p (int) AS SELECT nothing FROM vault WHERE $1 = $2;
PREPARE p (int) AS SELECT $1 + 'x' FROM staff;
EXPLAIN SELECT nothing FROM vault;
EXPLAIN SELECT nothing FROM vaulx;
COPY (SELECT nothing FROM vault) TO STDOUT;
COPY (SELECT nothing FROM vaulx) TO STDOUT;
CREATE VIEW v AS SELECT nothing FROM vault;
CREATE VIEW v AS SELECT nothing FROM vaulx;
CREATE TABLE t AS SELECT nothing FROM vault;
CREATE TABLE t AS SELECT nothing FROM vaulx;
  -- a comment before
  SELECT
    *
  FROM vault;
SELECT 'ä', content FROM vault;
SELECT 'ä', content FROM vaulx;

-- Columns, in every clause.
SELECT id, secret FROM staff;
SELECT id, secrex FROM staff;
SELECT s.secret FROM staff s;
SELECT s.secrex FROM staff s;
SELECT staff.secret, naming.staff.secret FROM staff;
SELECT naming.staff.secret FROM staff;
SELECT id FROM staff WHERE secret = 's1';
SELECT id FROM staff WHERE secrex = 's1';
SELECT id FROM staff WHERE lower(secret) IS NOT NULL;
SELECT id FROM staff WHERE lower(secrex) IS NOT NULL;
SELECT id FROM staff ORDER BY secret;
SELECT id FROM staff ORDER BY secrex;
SELECT count(*) FROM staff GROUP BY secret;
SELECT count(*) FROM staff GROUP BY secrex;
SELECT count(*) FROM staff HAVING max(secret) > '';
SELECT count(*) FROM staff HAVING max(secrex) > '';
SELECT count(*) FILTER (WHERE secret = '') FROM staff;
SELECT sum(id) OVER (PARTITION BY secret) FROM staff;
SELECT sum(id) OVER w FROM staff WINDOW w AS (ORDER BY secret);
SELECT DISTINCT ON (secret) id FROM staff;
SELECT id FROM staff LIMIT (SELECT length(secret) FROM desks LIMIT 1);
SELECT id FROM staff s JOIN desks d ON s.secret = d.secret;
SELECT id FROM staff s JOIN desks d ON s.secrex = d.secrex;
SELECT id FROM staff JOIN desks USING (secret);
SELECT id FROM staff JOIN desks USING (secrex);
SELECT id FROM staff JOIN desks USING (id, secret);
SELECT (SELECT secret FROM staff s WHERE s.id = desks.id) FROM desks;
SELECT (SELECT d.secret) FROM desks d;
SELECT (SELECT d.secrex) FROM desks d;
SELECT x.secret FROM (SELECT * FROM staff) x;
SELECT x.secrex FROM (SELECT * FROM staff) x;
WITH x AS (SELECT * FROM staff) SELECT secret FROM x;
WITH x AS (SELECT * FROM staff) SELECT secrex FROM x;
SELECT id FROM staff, LATERAL (SELECT secret) l;
SELECT * FROM staff, generate_series(1, length(secret));
SELECT * FROM staff TABLESAMPLE SYSTEM (length('x')) WHERE secret = '';
INSERT INTO staff (id, secret) VALUES (3, 's3');
INSERT INTO staff (id, secrex) VALUES (3, 's3');
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (secret) DO NOTHING;
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (secrex) DO NOTHING;
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET secret = 'x';
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET secrex = 'x';
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.secret;
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.secrex;
INSERT INTO staff (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE staff.secret = '';
INSERT INTO staff (id) VALUES (3) RETURNING secret;
INSERT INTO staff (id) VALUES (3) RETURNING secrex;
UPDATE staff SET secret = 'x';
UPDATE staff SET secrex = 'x';
UPDATE staff SET (name, secret) = ('a', 'b');
UPDATE staff SET (name, secret) = (SELECT 'a', 'b');
UPDATE staff SET name = secret;
UPDATE staff SET name = secrex;
UPDATE staff SET name = 'x' WHERE secret = 's1';
UPDATE staff SET name = 'x' RETURNING secret;
UPDATE staff SET name = 'x' RETURNING secrex;
DELETE FROM staff WHERE secret = 's1';
DELETE FROM staff WHERE secrex = 's1';
DELETE FROM staff RETURNING staff.secret;
MERGE INTO staff s USING desks d ON s.secret = d.secret WHEN MATCHED THEN DELETE;
MERGE INTO staff s USING desks d ON s.secrex = d.secrex WHEN MATCHED THEN DELETE;
MERGE INTO staff s USING desks d ON s.id = d.id WHEN MATCHED AND s.secret = '' THEN DELETE;
MERGE INTO staff s USING desks d ON s.id = d.id WHEN MATCHED THEN UPDATE SET secret = 'x';
MERGE INTO staff s USING desks d ON s.id = d.id WHEN MATCHED THEN UPDATE SET secrex = 'x';
MERGE INTO staff s USING desks d ON s.id = d.id WHEN NOT MATCHED THEN INSERT (id, secret) VALUES (1, '');
SELECT * FROM staff ORDER BY id;

-- Stars, at every level, in every place; also of joins, aliases, NATURAL and merged columns.
SELECT staff.*, desks.* FROM staff JOIN desks USING (id) ORDER BY 1;
SELECT * FROM staff JOIN desks USING (id) ORDER BY id;
SELECT * FROM staff NATURAL JOIN desks ORDER BY id;
SELECT * FROM staff NATURAL LEFT JOIN desks ORDER BY id;
SELECT * FROM (staff s NATURAL JOIN desks d) AS j ORDER BY id;
SELECT j.* FROM (staff s JOIN desks d USING (id)) AS j ORDER BY id;
SELECT j.* FROM staff s JOIN desks d USING (id) AS j ORDER BY id;
SELECT * FROM staff AS s (a, b) ORDER BY 1;
SELECT * FROM staff AS s (a, b, c) ORDER BY 1;
SELECT * FROM (SELECT * FROM (SELECT *, 1 AS one FROM staff) a) b ORDER BY 1;
SELECT (SELECT row_to_json(x) FROM (SELECT * FROM staff s WHERE s.id = d.id) x) FROM desks d ORDER BY id;
WITH a AS (SELECT * FROM staff), b (x) AS (SELECT * FROM a) SELECT * FROM b ORDER BY 1;
WITH RECURSIVE r AS (SELECT * FROM staff WHERE id = 1 UNION ALL SELECT s.* FROM r JOIN staff s ON s.id = r.id + 1) TABLE r;
SELECT * FROM staff UNION ALL (SELECT * FROM staff ORDER BY name DESC LIMIT 1) ORDER BY 1, 2;
SELECT * FROM staff EXCEPT TABLE staff;
SELECT ARRAY(SELECT ROW(s.*) FROM staff s ORDER BY id);
SELECT count(*), count(s.*), count((s.*)) FROM staff s;
SELECT s.*::text FROM staff s ORDER BY id;
SELECT ROW(s.*, d.*) FROM staff s JOIN desks d USING (id) ORDER BY id;
SELECT * FROM staff WHERE (staff.*) IS NOT NULL ORDER BY 1;
VALUES ((SELECT ROW(s.*) FROM staff s WHERE id = 1));
TABLE staff ORDER BY id;
INSERT INTO staff (id, name) VALUES (3, 'Cid') RETURNING *;
UPDATE staff SET note = 'n3' WHERE id = 3 RETURNING *, staff.*;
UPDATE staff s SET note = d.place FROM desks d WHERE d.id = s.id RETURNING *;
INSERT INTO staff (id, name) VALUES (3, 'Cyd') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING *;
DELETE FROM staff WHERE id = 3 RETURNING *;
WITH d AS (DELETE FROM staff WHERE id = 7 RETURNING *) SELECT * FROM d;
CREATE TABLE copy AS SELECT * FROM staff;
TABLE copy ORDER BY id;
CREATE VIEW shown AS SELECT * FROM staff;
TABLE shown ORDER BY id;
SELECT * INTO into_copy FROM staff NATURAL JOIN desks;
TABLE into_copy ORDER BY id;
INSERT INTO copy SELECT id, name, note FROM staff;
-- A function that takes the place of a column, and a column of the user's own making with the name of a hidden one.
CREATE FUNCTION secret(staff) RETURNS text LANGUAGE sql AS $$ SELECT 'function of ' || $1.name $$;
SELECT s.secret, secret(s) FROM staff s ORDER BY id;
SELECT id AS secret, name AS more FROM staff ORDER BY secret;
SELECT * FROM staff s JOIN (VALUES (1, 'mine')) v (id, secret) USING (id);
SELECT * FROM staff NATURAL JOIN (VALUES ('s1', 1), ('s2', 9)) v (secret, id);
DROP FUNCTION secret(staff);

-- INSERT without a list of columns would count the hidden ones, or not: refused, and taken where none is hidden.
INSERT INTO staff VALUES (4);
INSERT INTO staff SELECT 4;
INSERT INTO staff VALUES ('x', 4, 'Dan');
INSERT INTO staff TABLE copy;
WITH i AS (INSERT INTO staff VALUES (4) RETURNING *) TABLE i;
INSERT INTO copy VALUES (4);
MERGE INTO staff s USING (VALUES (4)) v (id) ON s.id = v.id WHEN NOT MATCHED THEN INSERT VALUES (v.id);
MERGE INTO staff s USING (VALUES (4)) v (id) ON s.id = v.id WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id);
DELETE FROM staff WHERE id = 4 RETURNING *;

-- Statements of one string, prepared, repeated, in other contexts; parameters keep their numbers and types.
PREPARE q (int, text) AS SELECT *, $2 || name FROM staff WHERE id = $1;
EXECUTE q (1, 'x');
PREPARE r AS SELECT * FROM staff WHERE id = $1 AND name = $2 ORDER BY $2;
EXECUTE r (1, 'Ann');
PREPARE s AS INSERT INTO staff (id, name) VALUES ($1, $2) RETURNING *;
BEGIN;
EXECUTE s (5, 'Eve');
ROLLBACK;
SELECT name FROM pg_prepared_statements WHERE name IN ('q', 'r', 's') AND parameter_types::text LIKE '%integer%' ORDER BY 1;
DEALLOCATE q; DEALLOCATE r; DEALLOCATE s;
SELECT * FROM staff WHERE id = 1 \; SELECT * FROM desks WHERE id = 1 \; SELECT 'end';
BEGIN \; SELECT * FROM staff WHERE id = 2 \; SELECT secret FROM staff \; COMMIT;
ROLLBACK;

-- Row types. A value of one needs no table in FROM, and its columns are those of the table.
SELECT (NULL::vault).*;
SELECT (NULL::vaulx).*;
SELECT (NULL::naming.vault).content;
SELECT (NULL::vault[])[1].content;
SELECT * FROM jsonb_populate_record(NULL::vault, '{}');
SELECT * FROM jsonb_to_record('{}') AS r (v vault);
SELECT * FROM jsonb_to_record('{}') AS r (v vaulx);
SELECT (NULL::vault).nothing;
SELECT (NULL::staff).*;
SELECT (NULL::staff).secret;
SELECT (NULL::staff[])[1].secret;
SELECT * FROM jsonb_populate_record(NULL::staff, '{"id": 1, "secret": 2}');
SELECT secret FROM jsonb_populate_record(NULL::staff, '{"id": 1, "secret": 2}');
SELECT (r).* FROM (SELECT NULL::staff AS r) x;
CREATE FUNCTION some_staff() RETURNS SETOF staff LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT * FROM staff; END $$;
SELECT * FROM some_staff() ORDER BY id;
SELECT secret FROM some_staff();
SELECT (some_staff()).*;
CREATE DOMAIN staff_domain AS staff;
SELECT (NULL::staff_domain).*;
CREATE TABLE of_vault (v vault, s staff);
SELECT (v).* FROM of_vault;
SELECT (v).content FROM of_vault;
SELECT (s).* FROM of_vault;
DROP TABLE of_vault;
DROP DOMAIN staff_domain;
DROP FUNCTION some_staff();
-- What a superuser's function or a trusted one returns is shown as it is returned.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION trusted_staff() RETURNS SETOF naming.staff LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ BEGIN RETURN QUERY SELECT * FROM naming.staff; END $$;
SELECT betweenrows.trust('naming.trusted_staff()');
SET SESSION AUTHORIZATION naming_alice;
SELECT id, secret FROM trusted_staff() ORDER BY id;
SELECT (t).secret FROM trusted_staff() t ORDER BY 1;
SELECT (NULL::staff).secret FROM trusted_staff();
RESET SESSION AUTHORIZATION;
SELECT betweenrows.trust('naming.trusted_staff()', false);
DROP FUNCTION trusted_staff();
SET SESSION AUTHORIZATION naming_alice;
-- A rule is analysed without naming: what is wrong with it must not name a column.
CREATE VIEW ruled AS SELECT id, name FROM staff;
CREATE RULE "_RETURN" AS ON SELECT TO ruled DO INSTEAD SELECT * FROM staff;  -- fail
DROP VIEW ruled;

-- What depends on the transaction is said before names are looked up.
LOCK vault;
LOCK vaulx;
BEGIN;
VACUUM vault;
ROLLBACK;
BEGIN;
VACUUM vaulx;
ROLLBACK;

-- What is missing is said before what else is wrong with it.
SELECT secret + 1 FROM staff;
SELECT secrex + 1 FROM staff;
SELECT nothing(secret) FROM staff;
SELECT nothing(secrex) FROM staff;
SELECT id FROM staff s JOIN desks d USING (secret) WHERE name = 5;
SELECT id FROM staff s JOIN desks d USING (secrex) WHERE name = 5;
SELECT name FROM staff, desks WHERE secret = '';
SELECT name FROM staff, desks WHERE secrex = '';
SELECT max(secret) FROM staff GROUP BY id HAVING name = 5;
SELECT max(secrex) FROM staff GROUP BY id HAVING name = 5;

-- Known limits: a statement that would be right without what is hidden, and that PostgreSQL refuses before anything of ours
-- runs. The error can involve the name or type of a hidden column, never a value.
SELECT *, id AS secret FROM staff ORDER BY secret;
SELECT secret FROM (SELECT *, 'own' AS secret FROM staff) x;
SELECT * FROM staff UNION SELECT 1, 'x', 'y';
INSERT INTO copy SELECT * FROM staff;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'naming %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA naming CASCADE;
DROP OWNED BY naming_alice;
DROP ROLE naming_alice;
