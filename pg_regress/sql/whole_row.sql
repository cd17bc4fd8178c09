-- A row is a value: it can be printed, compared, handed to functions and taken apart again without ever naming a column.
-- For alice salary is masked and ssn does not exist; a column was dropped before, which the row still has a place for.
CREATE ROLE whole_alice LOGIN;
CREATE SCHEMA whole_row;
GRANT ALL ON SCHEMA whole_row TO whole_alice;
SET search_path = whole_row;
CREATE TABLE staff (id int PRIMARY KEY, gone text DEFAULT 'gone', ssn text, name text, salary int);
INSERT INTO staff (id, ssn, name, salary) VALUES (1, '111-11-1111', 'Ann', 1000), (2, '222-22-2222', 'Ben', NULL);
ALTER TABLE staff DROP COLUMN gone;
CREATE TABLE others (id int, s staff);
INSERT INTO others SELECT id, s FROM staff s;
CREATE TABLE secrets (id int, secret text);
INSERT INTO secrets VALUES (1, 'classified');
GRANT ALL ON ALL TABLES IN SCHEMA whole_row TO whole_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.mask_column('staff', 'salary', 'salary / 100', 'whole salary');
SELECT betweenrows.deny_columns('staff', '{ssn}', 'whole ssn');
SELECT betweenrows.deny_table('secrets', 'whole secrets');

-- The raw view of a superuser.
SELECT s, s::text, to_json(s) FROM staff s ORDER BY id;

-- Viewpoint of alice: as a value, as text, compared, tested.
SET SESSION AUTHORIZATION whole_alice;
SELECT s FROM staff s ORDER BY id;
SELECT s.*::text, s::text, (s)::varchar(8), format('%s', s), s || '' FROM staff s ORDER BY id;
SELECT staff FROM staff WHERE staff IS NOT NULL;
SELECT count(staff), count(DISTINCT staff), count(staff.*) FROM staff;
SELECT s < ROW(2) FROM staff s;  -- fail
SELECT s = s, s IS DISTINCT FROM NULL, s IS NULL, s IS NOT NULL, NOT s IS NOT NULL FROM staff s ORDER BY id;
SELECT a.id, b.id FROM staff a, staff b WHERE a < b;
SELECT a.id FROM staff a JOIN staff b ON a = b ORDER BY 1;
SELECT id FROM staff s WHERE s::text LIKE '%111%' OR s::text LIKE '%1000%';
SELECT id FROM staff s WHERE s = ROW(1, '111-11-1111', 'Ann', 1000);  -- fail
SELECT id FROM staff s WHERE s = ROW(1, '111-11-1111'::text, 'Ann'::text, 1000) OR s = ROW(1, NULL::text, 'Ann'::text, 1000);
SELECT id FROM staff s WHERE s = '(1,111-11-1111,Ann,1000)'::staff OR s >= '(1,1,,)'::staff ORDER BY id;
SELECT id FROM staff s WHERE s = ANY (SELECT o FROM staff o WHERE o.salary = 1000);
SELECT s FROM staff s ORDER BY s DESC;
SELECT s, count(*) FROM staff s GROUP BY s ORDER BY s;
SELECT DISTINCT s FROM staff s ORDER BY s;
SELECT hash_record(s) = hash_record(o) FROM staff s, staff o WHERE s.id = o.id;

-- Columns of the value.
SELECT (s).salary, (s).name, (s.*).id, s.salary FROM staff s ORDER BY id;
SELECT (s).ssn FROM staff s;  -- fail
SELECT ssn(s) FROM staff s;  -- fail
SELECT s.ssn FROM staff s;  -- fail
SELECT name(s), salary(s) FROM staff s ORDER BY 1;
SELECT ((s)).* FROM staff s ORDER BY id;
SELECT (x.s).* FROM (SELECT s FROM staff s) x ORDER BY id;
SELECT (x.s).ssn FROM (SELECT s FROM staff s) x;  -- fail
SELECT (ARRAY(SELECT s FROM staff s ORDER BY id))[1].salary;
SELECT (ARRAY(SELECT s FROM staff s ORDER BY id))[1].ssn;  -- fail
SELECT ((SELECT s FROM staff s WHERE id = 1)).*;
SELECT ((SELECT s FROM staff s WHERE id = 1)).ssn;  -- fail
SELECT (array_agg(s ORDER BY id))[2].* FROM staff s;
SELECT ROW(s.*), ROW(s), (s, 1), ROW(s.*, salary) FROM staff s ORDER BY id;
SELECT u.* FROM unnest(ARRAY(SELECT s FROM staff s)) u ORDER BY 1;
SELECT l.* FROM staff s, LATERAL (SELECT (s).*) l ORDER BY 1;

-- As JSON, XML and what else knows the names of columns. The one that is hidden has no name.
SELECT row_to_json(s), to_json(s), to_jsonb(s), jsonb_build_array(s), jsonb_build_object('s', s.*) FROM staff s ORDER BY id;
SELECT json_agg(s ORDER BY id), jsonb_agg(s.* ORDER BY id), json_object_agg(id, s ORDER BY id) FROM staff s;
SELECT json_agg(s ORDER BY id), json_agg(x ORDER BY x.id) FROM staff s JOIN (SELECT * FROM staff) x USING (id);
-- Not so in an array, in another type or in a function's argument of the row's own type: it reads NULL there.
SELECT array_to_json(array_agg(s ORDER BY id)) FROM staff s;
SELECT v.n, row_to_json(s), to_jsonb(s), s IS NULL FROM (VALUES (1), (3)) v (n) LEFT JOIN staff s ON s.id = v.n ORDER BY 1;
SELECT e.* FROM staff s, jsonb_each(to_jsonb(s)) e WHERE s.id = 1 ORDER BY 1;
SELECT r.* FROM staff s, jsonb_populate_record(NULL::staff, to_jsonb(s)) r ORDER BY 1;
SELECT to_json(s) FROM staff s ORDER BY to_jsonb(s) -> 'salary';

-- In functions of the user.
CREATE FUNCTION leak_sql(staff) RETURNS text LANGUAGE sql AS $$ SELECT concat(($1).ssn, ' ', ($1).salary) $$;
CREATE FUNCTION leak_plpgsql(staff) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RETURN format('%s ssn %s salary %s', $1, $1.ssn, $1.salary); END $$;
CREATE FUNCTION same_row(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION columns_of(record) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN to_json($1); END $$;
SELECT leak_sql(s), leak_plpgsql(s), s.leak_plpgsql, columns_of(s) FROM staff s WHERE f_leak(s) ORDER BY id;
SELECT (same_row(s)).* FROM staff s ORDER BY id;
SELECT (same_row(s)).ssn FROM staff s;  -- fail
CREATE FUNCTION second(text, staff) RETURNS text LANGUAGE sql AS 'SELECT concat($1, $2)';
CREATE AGGREGATE all_rows(staff) (sfunc = second, stype = text);
SELECT all_rows(s ORDER BY id), all_rows(s ORDER BY id) FILTER (WHERE f_leak(s)) FROM staff s;

-- Casts of the row type, and other types made from it.
CREATE FUNCTION staff_to_text(staff) RETURNS text LANGUAGE sql AS 'SELECT $1::text';
CREATE TYPE pair AS (id int, s staff);
SELECT ROW(id, s)::pair, (ROW(id, s)::pair).s.salary FROM staff s ORDER BY id;
SELECT (ROW(id, s)::pair).s.ssn FROM staff s ORDER BY id;  -- fail
CREATE DOMAIN staff_checked AS staff CHECK (f_leak(VALUE));
SELECT s::staff_checked FROM staff s ORDER BY id;
DROP DOMAIN staff_checked;
CREATE TEMP TABLE kept AS SELECT s, s.* FROM staff s;
TABLE kept ORDER BY id;
SELECT (s).* FROM kept ORDER BY 1;

-- System columns are the row's own; a hidden table has none.
SELECT tableoid::regclass, ctid, xmax, id FROM staff ORDER BY id;
SELECT s.tableoid::regclass, s.ctid FROM staff s JOIN staff o ON s.ctid = o.ctid ORDER BY 2;
SELECT id, salary FROM staff WHERE ctid = '(0,1)';
SELECT s.oid FROM staff s;  -- fail
SELECT secrets FROM secrets;  -- fail
SELECT ctid FROM secrets;  -- fail
SELECT 1 FROM staff s WHERE EXISTS (SELECT x FROM secrets x WHERE x::text = s::text);  -- fail

-- A table of another's column type: what was stored raw by whoever could see it is that table's data.
SELECT (s).id, (s).name FROM others ORDER BY 1;
INSERT INTO others SELECT id, s FROM staff s RETURNING id, s;

-- Returned by statements that write.
UPDATE staff s SET name = upper(name) RETURNING s, (s).salary, s::text, to_json(s), leak_plpgsql(s);
INSERT INTO staff AS s (id, name) VALUES (3, 'Cid') RETURNING s, s.*, row_to_json(s);
DELETE FROM staff s WHERE s::text LIKE '%1000%' RETURNING s;
DELETE FROM staff s WHERE id = 3 RETURNING s, to_jsonb(s);
MERGE INTO staff s USING (VALUES (2)) v (id) ON s.id = v.id WHEN MATCHED AND f_leak(s) THEN UPDATE SET name = s::text;
SELECT * FROM staff ORDER BY id;

-- The raw view of a superuser.
RESET SESSION AUTHORIZATION;
SELECT s FROM staff s ORDER BY id;

SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'whole %' ORDER BY name;
DROP OWNED BY whole_alice;
DROP SCHEMA whole_row CASCADE;
DROP ROLE whole_alice;
