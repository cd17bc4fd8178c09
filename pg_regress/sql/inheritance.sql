-- Old-style inheritance: a child has more columns than its parent, several parents, its own order of columns and its own
-- policies. Reading the child must obey the parent's policies, reading the parent the child's, and ONLY takes nothing away.
CREATE ROLE inheritance_alice LOGIN;
CREATE SCHEMA inheritance;
GRANT ALL ON SCHEMA inheritance TO inheritance_alice;
SET search_path = inheritance;
CREATE TABLE people (id int, agent text, name text, ssn text);
CREATE TABLE payroll (salary int, ssn text, agent text);
CREATE TABLE staff (desk int) INHERITS (people);
CREATE TABLE bosses (bonus int) INHERITS (staff, payroll);
CREATE TABLE guests (host text) INHERITS (people);
INSERT INTO people VALUES (1, 'inheritance_alice', 'Ann', '111'), (2, 'other', 'Ben', '222');
INSERT INTO staff VALUES (3, 'inheritance_alice', 'Cid', '333', 30), (4, 'other', 'Dan', '444', 40);
INSERT INTO bosses (id, agent, name, ssn, desk, salary, bonus) VALUES
    (5, 'inheritance_alice', 'Eve', '555', 50, 5000, 1), (6, 'other', 'Fay', '666', 60, 6000, 2);
INSERT INTO guests VALUES (7, 'inheritance_alice', 'Gus', '777', 'Ann'), (8, 'other', 'Hal', '888', 'Ben');
INSERT INTO payroll VALUES (9000, '999', 'nobody');
GRANT ALL ON ALL TABLES IN SCHEMA inheritance TO inheritance_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('people', 'agent = {user.username}', 'inheritance own');
SELECT betweenrows.mask_column('people', 'ssn', '''*'' || right(ssn, 1)', 'inheritance ssn');
-- The raw view of a superuser.
SELECT tableoid::regclass, * FROM people ORDER BY id;

-- Viewpoint of alice: the topmost parent's policies everywhere below it. payroll has none and is raw itself, but the
-- rows of bosses below it are theirs.
SET SESSION AUTHORIZATION inheritance_alice;
SELECT tableoid::regclass, * FROM people WHERE f_leak(ssn) ORDER BY id;
SELECT * FROM ONLY people WHERE f_leak(ssn);
SELECT * FROM staff WHERE f_leak(ssn) ORDER BY id;
SELECT * FROM ONLY staff;
SELECT * FROM bosses WHERE f_leak(ssn) AND f_leak(salary);
SELECT * FROM guests;
SELECT tableoid::regclass, * FROM payroll WHERE f_leak(salary) AND f_leak(ssn) ORDER BY salary;
SELECT p, to_json(p) FROM payroll p ORDER BY salary;
SELECT id FROM people WHERE ssn IN ('111', '222', '333') OR id = 4;
SELECT b::staff, b::people, b::payroll FROM bosses b;
SELECT (b::people).ssn, (b::staff::people)::text FROM bosses b;
SELECT p FROM people p, bosses b WHERE p = b::people;
UPDATE people SET name = ssn || name RETURNING tableoid::regclass, id, name;
UPDATE payroll SET salary = salary + 1 RETURNING tableoid::regclass, *;
DELETE FROM people WHERE id IN (4, 6, 8) RETURNING *;
DELETE FROM payroll WHERE salary = 6000 RETURNING *;

-- A child's own policies, also through both parents and across two levels. What a subject may not see of a child is not
-- seen from above; columns that the parent does not have do not matter there.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.mask_column('bosses', 'name', '''boss''', 'inheritance boss name');
SELECT betweenrows.mask_column('bosses', 'salary', '0', 'inheritance boss salary');
SELECT betweenrows.deny_columns('bosses', '{bonus}', 'inheritance boss bonus');
SELECT betweenrows.filter_rows('staff', 'ssn <> ''333''', 'inheritance staff');
SELECT betweenrows.deny_table('guests', 'inheritance guests');
SET SESSION AUTHORIZATION inheritance_alice;
SELECT tableoid::regclass, * FROM people WHERE f_leak(name) ORDER BY id;
SELECT tableoid::regclass, * FROM payroll WHERE f_leak(salary) ORDER BY salary;
SELECT * FROM staff ORDER BY id;
SELECT * FROM bosses;
SELECT * FROM guests;  -- fail
SELECT p, row_to_json(p) FROM people p ORDER BY id;
SELECT p, (p).salary FROM payroll p ORDER BY salary;
SELECT id FROM people WHERE name LIKE '%Eve%';
UPDATE people SET name = 'x' WHERE id = 1;  -- fail
UPDATE people SET agent = agent WHERE id = 1 RETURNING id, name;
UPDATE ONLY people SET agent = agent RETURNING id, name;

-- A policy of the child that cannot be applied to rows read from the parent closes the parent as well, not the rest.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.filter_rows('bosses', 'bonus > 0', 'inheritance bonus');
SET SESSION AUTHORIZATION inheritance_alice;
SELECT * FROM bosses;
SELECT id FROM people ORDER BY id;  -- fail
RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy('inheritance bonus');

-- Joining and leaving a family changes what holds, in the same session.
SET SESSION AUTHORIZATION inheritance_alice;
PREPARE people AS SELECT tableoid::regclass, id, ssn FROM people ORDER BY id;
EXECUTE people;
CREATE FUNCTION ids() RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RETURN (SELECT string_agg(id || ' ' || ssn, ',' ORDER BY id) FROM inheritance.bosses); END $$;
SELECT ids();
RESET SESSION AUTHORIZATION;
ALTER TABLE bosses NO INHERIT staff;
SET SESSION AUTHORIZATION inheritance_alice;
EXECUTE people;
SELECT ids();
RESET SESSION AUTHORIZATION;
ALTER TABLE bosses INHERIT staff;
SET SESSION AUTHORIZATION inheritance_alice;
EXECUTE people;
SELECT ids();

-- Her own child of the parent brings rows in; it does not take policies away.
RESET SESSION AUTHORIZATION;
ALTER TABLE people OWNER TO inheritance_alice;
SET SESSION AUTHORIZATION inheritance_alice;
CREATE TEMP TABLE mine () INHERITS (people);
INSERT INTO mine VALUES (20, 'inheritance_alice', 'Mia', '2020'), (21, 'other', 'Moe', '2121');
SELECT tableoid::regclass, id, ssn FROM people ORDER BY id;
SELECT * FROM mine ORDER BY id;
DROP TABLE mine;

RESET SESSION AUTHORIZATION;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'inheritance %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA inheritance CASCADE;
DROP OWNED BY inheritance_alice;
DROP ROLE inheritance_alice;
