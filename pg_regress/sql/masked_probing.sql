-- A masked value can be guessed wherever the raw one would still decide something: each statement that tells two guesses
-- apart is a bit, and bisection turns bits into the value. alice may see all rows; salary and ssn are masked for her.
CREATE ROLE probing_alice LOGIN;
CREATE SCHEMA masked_probing;
GRANT ALL ON SCHEMA masked_probing TO probing_alice;
SET search_path = masked_probing;
CREATE TABLE staff (
    id int PRIMARY KEY,
    name text,
    ssn text UNIQUE,
    salary int,
    double_salary int GENERATED ALWAYS AS (salary * 2) STORED,
    born date);
INSERT INTO staff VALUES
    (1, 'Ann', '111-11-1111', 1000, DEFAULT, '1980-01-01'), (2, 'Ben', '222-22-2222', 2000, DEFAULT, '1990-02-02'),
    (3, 'Cid', '333-33-3333', 3000, DEFAULT, '1985-03-03');
CREATE INDEX staff_salary ON staff (salary);
CREATE INDEX staff_log_salary ON staff ((salary / 10));
CREATE STATISTICS staff_statistics ON salary, born FROM staff;
CREATE TABLE guesses (ssn text, salary int);
INSERT INTO guesses VALUES ('111-11-1111', 1000), ('222-22-2222', 2001), ('***', 0);
ANALYZE staff, guesses;
GRANT ALL ON ALL TABLES IN SCHEMA masked_probing TO probing_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.mask_column('staff', 'ssn', '''***''', 'probing ssn');
SELECT betweenrows.mask_column('staff', 'salary', 'salary / 100000', 'probing salary');
SELECT betweenrows.mask_column('staff', 'born', 'date_trunc(''year'', born)', 'probing born');

-- The raw view of a superuser.
SELECT * FROM staff ORDER BY id;

-- Viewpoint of alice. What is computed from a masked column, a generated column, is not shown either.
SET SESSION AUTHORIZATION probing_alice;
SELECT * FROM staff ORDER BY id;

-- WHERE: by equality, range, pattern, list, with the index and without, by a function, by a cast.
SELECT name FROM staff WHERE ssn = '111-11-1111';
SELECT name FROM staff WHERE ssn LIKE '1%' OR ssn ~ '^2' OR ssn SIMILAR TO '3%' OR starts_with(ssn, '1');
SELECT name FROM staff WHERE salary BETWEEN 900 AND 1100;
SELECT name FROM staff WHERE salary IN (1000, 2000) OR salary = ANY ('{3000}');
SELECT name FROM staff WHERE salary > 1500 AND salary < 2500;
SELECT name FROM staff WHERE salary / 10 = 100;
SELECT name FROM staff WHERE (salary, name) > (0, 'Ben') ORDER BY name;
SELECT name FROM staff WHERE double_salary = 2000 OR double_salary IS NOT NULL;
SELECT name FROM staff WHERE salary::text = '1000' OR salary::numeric > 1000.5;
SELECT name FROM staff WHERE f_leak(ssn) AND f_leak(salary) AND f_leak(born) ORDER BY id;
SELECT name FROM staff WHERE born = '1980-01-01' OR age(born, '1990-02-02') = '0';
SELECT name FROM staff WHERE num_nulls(double_salary, salary) = 1 ORDER BY name;
SET enable_seqscan = off;
SELECT name FROM staff WHERE salary = 1000;
SELECT name FROM staff WHERE ssn = '111-11-1111';
SELECT name FROM staff WHERE salary / 10 = 100;
SELECT name FROM staff WHERE salary > 0 ORDER BY salary LIMIT 1;
SELECT max(salary), min(salary), max(ssn) FROM staff;
RESET enable_seqscan;

-- Joins and subqueries with guesses.
SELECT name FROM staff s JOIN guesses g ON g.ssn = s.ssn ORDER BY name;
SELECT name FROM staff JOIN guesses USING (salary) ORDER BY name;
SELECT name FROM staff NATURAL JOIN guesses;
SELECT name, g.ssn FROM staff s LEFT JOIN guesses g ON g.ssn = s.ssn AND f_leak(s.ssn) ORDER BY name;
SELECT name FROM staff WHERE ssn IN (SELECT ssn FROM guesses WHERE ssn <> '***');
SELECT name FROM staff s WHERE EXISTS (SELECT FROM guesses g WHERE g.salary = s.salary AND g.salary > 0);
SELECT name FROM staff s WHERE s.salary >= ALL (SELECT salary FROM guesses WHERE salary > 0);
SELECT g.* FROM guesses g WHERE (g.ssn, g.salary) NOT IN (TABLE guesses EXCEPT ALL SELECT ssn, salary FROM staff);
SELECT ssn FROM guesses INTERSECT SELECT ssn FROM staff;
SELECT count(*) FROM staff a JOIN staff b ON a.ssn = b.ssn;

-- Expressions in every other place.
SELECT CASE ssn WHEN '111-11-1111' THEN 'hit' ELSE 'miss' END, CASE WHEN salary > 1 THEN 'hit' ELSE 'miss' END,
       nullif(ssn, '111-11-1111'), coalesce(ssn, 'none'), greatest(salary, 1500), least(salary, 1500),
       salary = 1000, salary IS DISTINCT FROM 1000, ssn COLLATE "C" < '2', width_bucket(salary, 0, 3000, 3) FROM staff ORDER BY id;
SELECT substring(ssn FROM 1 FOR 1), ssn || name, length(ssn), md5(ssn) = md5('***'), hashtext(ssn) = hashtext('***')
  FROM staff ORDER BY id;
SELECT salary, count(*) FROM staff GROUP BY salary HAVING max(salary) < 500;
SELECT salary / 10 AS tenth, count(*) FROM staff GROUP BY tenth HAVING count(*) > 1;
SELECT count(DISTINCT salary), count(DISTINCT ssn), count(double_salary), sum(salary), avg(salary), stddev(salary),
       corr(salary, id), bool_or(salary > 0), bit_or(salary) FROM staff;
SELECT count(*) FILTER (WHERE salary > 1500), array_agg(id ORDER BY salary DESC, id) FROM staff;
SELECT regr_slope(salary, id), range_agg(int4range(salary, salary, '[]')), min(ssn COLLATE "C") FROM staff;

-- An order is a comparison of all with all. Rows come as their ids when the raw order has no say.
SELECT id FROM staff ORDER BY salary DESC, id;
SELECT id FROM staff ORDER BY ssn DESC, id;
SELECT id FROM staff ORDER BY 3000 - salary, id;
SELECT id, salary FROM staff ORDER BY 2 DESC, 1;
SELECT id FROM staff ORDER BY born DESC;
SELECT id, rank() OVER (ORDER BY salary), dense_rank() OVER (ORDER BY ssn), ntile(3) OVER (ORDER BY salary, id),
       lag(id) OVER (PARTITION BY salary ORDER BY id), cume_dist() OVER (ORDER BY salary DESC) FROM staff ORDER BY id;
SELECT id, count(*) OVER (ORDER BY salary RANGE BETWEEN 500 PRECEDING AND 500 FOLLOWING),
       count(*) OVER (ORDER BY salary GROUPS 1 PRECEDING) FROM staff ORDER BY id;
SELECT DISTINCT ON (salary) id, salary FROM staff ORDER BY salary, id;
SELECT id FROM staff ORDER BY salary, id FETCH FIRST 1 ROW WITH TIES;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY salary), mode() WITHIN GROUP (ORDER BY ssn),
       rank(1500) WITHIN GROUP (ORDER BY salary) FROM staff;
SELECT salary, ssn, grouping(salary, ssn), count(*) FROM staff GROUP BY ROLLUP (salary, ssn) ORDER BY 3, 1, 2;

-- LIMIT, OFFSET and samples computed from masked values.
SELECT id FROM staff ORDER BY id LIMIT (SELECT max(salary) + 1 FROM staff);
SELECT id FROM staff ORDER BY id OFFSET (SELECT count(*) FROM staff WHERE salary > 1500);
SELECT count(*) FROM guesses TABLESAMPLE BERNOULLI ((SELECT 100 * count(*) FROM staff WHERE salary = 1000));

-- Errors tell a value too: what is divided and cast is the masked value.
SELECT id FROM staff WHERE 1 / (salary - 1000) < 1 ORDER BY id;
SELECT 1 / (salary - 2000) FROM staff WHERE id = 2;
SELECT (name || salary)::int FROM staff WHERE id = 1;  -- fail
SELECT id FROM staff WHERE ssn::int = 1;  -- fail
SELECT id FROM staff WHERE 1 / salary = 1;  -- fail
SELECT ('{' || ssn)::json FROM staff WHERE id = 1;  -- fail

-- Writing what was computed from it: into another column, another table, a constraint that reports it.
UPDATE staff SET name = ssn || salary RETURNING id, name, ssn, salary, double_salary;
SELECT id, name FROM staff ORDER BY id;
UPDATE staff SET name = 'x' WHERE salary = 1000 OR ssn = '111-11-1111' RETURNING *;
UPDATE staff SET name = 'x' WHERE double_salary > 0 RETURNING *;
UPDATE staff SET (name) = (SELECT s.ssn FROM staff s WHERE s.id = staff.id) RETURNING name;
UPDATE staff s SET name = o.ssn FROM staff o WHERE o.id = s.id AND f_leak(s.salary) RETURNING s.name, o.salary;
DELETE FROM staff WHERE salary = 1000;
DELETE FROM staff USING guesses g WHERE staff.ssn = g.ssn AND g.salary > 0;
INSERT INTO guesses SELECT ssn, salary FROM staff RETURNING *;
INSERT INTO guesses SELECT 'max', max(salary) FROM staff RETURNING *;
UPDATE staff SET salary = 5 WHERE id = 1;  -- fail
UPDATE staff SET salary = DEFAULT WHERE id = 1;  -- fail
UPDATE staff SET double_salary = DEFAULT WHERE id = 1;
INSERT INTO staff (id, ssn) VALUES (9, '111-11-1111');  -- fail
INSERT INTO staff (id, name) VALUES (1, 'Eve') ON CONFLICT (ssn) DO NOTHING;  -- fail
INSERT INTO staff (id, name) VALUES (1, 'Eve') ON CONFLICT ON CONSTRAINT staff_ssn_key DO NOTHING;  -- fail
INSERT INTO staff (id, name) VALUES (1, 'Eve') ON CONFLICT (id) DO UPDATE SET name = staff.ssn || excluded.name RETURNING *;
INSERT INTO staff (id, name) VALUES (1, 'Eve') ON CONFLICT (id) DO UPDATE SET name = 'hit' WHERE staff.salary = 1000 RETURNING *;

-- The raw view of a superuser: nothing raw was written where alice can read it, and nothing of it is lost.
RESET SESSION AUTHORIZATION;
SELECT * FROM staff ORDER BY id;
SELECT * FROM guesses ORDER BY ssn, salary;

SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'probing %' ORDER BY name;
DROP SCHEMA masked_probing CASCADE;
DROP OWNED BY probing_alice;
DROP ROLE probing_alice;
