-- Several statements in one message, and statements inside statements: each is named by its own text. EXPLAIN presents
-- the query inside it a second time when it runs, from 18 on CREATE TABLE AS and DECLARE CURSOR do so too.
CREATE DATABASE regress_several_statements TEMPLATE template0;
\c regress_several_statements
CREATE EXTENSION betweenrows;
CREATE TABLE customers (id int, name text, card text);
INSERT INTO customers VALUES (1, 'Ann', '4111'), (2, 'Bob', '4222');
CREATE ROLE regress_several_alice LOGIN;
GRANT SELECT ON customers TO regress_several_alice;
GRANT CREATE ON SCHEMA public TO regress_several_alice;
SELECT betweenrows.deny_columns('customers', '{card}');
\c - regress_several_alice

SELECT 1 AS one \; EXPLAIN (VERBOSE, COSTS OFF) SELECT * FROM customers \; SELECT * FROM customers;
SELECT 1 AS one \; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM customers \; FETCH c;
SELECT 1 AS one \; CREATE TABLE copied AS SELECT * FROM customers \; TABLE copied;
SELECT 1 AS one \; SELECT * INTO selected FROM customers \; TABLE selected;
SELECT * INTO united FROM customers UNION ALL SELECT * FROM customers \; TABLE united;
SELECT 1 AS one \; PREPARE p AS SELECT * FROM customers \; EXECUTE p;
SELECT 1 AS one \; CREATE VIEW v AS SELECT * FROM customers \; TABLE v;
SELECT 1 AS one \; COPY (SELECT * FROM customers) TO STDOUT;
EXPLAIN (COSTS OFF) CREATE TABLE planned AS SELECT * FROM customers;
EXPLAIN (COSTS OFF) SELECT * INTO planned FROM customers;
-- Expressions without a relation are left to PL/pgSQL, which does not tell of an SQL statement then.
DO $$ DECLARE i int := 0; BEGIN i := 1 / i; END $$;

\c - postgres
DROP OWNED BY regress_several_alice;
DROP ROLE regress_several_alice;
\c regression
DROP DATABASE regress_several_statements;
