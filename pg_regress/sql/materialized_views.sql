-- A materialized view keeps what its owner saw when it was refreshed. Whoever can have it refreshed by somebody who sees
-- more gets raw rows on disk, out of reach of the base table's policies.
CREATE ROLE matviews_alice LOGIN;
CREATE ROLE matviews_bob LOGIN;
CREATE SCHEMA matviews;
GRANT ALL ON SCHEMA matviews TO matviews_alice, matviews_bob;
SET search_path = matviews;
CREATE TABLE customers (id int PRIMARY KEY, agent text, ssn text, debt int);
INSERT INTO customers VALUES
    (1, 'matviews_alice', '111-11-1111', 100), (2, 'matviews_alice', '222-22-2222', 200),
    (3, 'matviews_bob', '333-33-3333', 300);
GRANT SELECT ON customers TO matviews_alice, matviews_bob;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
SELECT betweenrows.filter_rows('customers', 'agent = {user.username}', 'matviews own');
SELECT betweenrows.mask_column('customers', 'ssn', '''***-'' || right(ssn, 2)', 'matviews ssn');
SELECT betweenrows.deny_columns('customers', '{debt}', 'matviews debt');

-- Viewpoint of alice: her materialized view, filled and refreshed by herself.
SET SESSION AUTHORIZATION matviews_alice;
CREATE MATERIALIZED VIEW of_alice AS SELECT * FROM customers WHERE f_leak(ssn);
TABLE of_alice ORDER BY id;
REFRESH MATERIALIZED VIEW of_alice;
CREATE UNIQUE INDEX ON of_alice (id);
REFRESH MATERIALIZED VIEW CONCURRENTLY of_alice;
CREATE MATERIALIZED VIEW empty AS SELECT id, ssn FROM customers WITH NO DATA;
CREATE MATERIALIZED VIEW through_function AS SELECT f_leak(c) FROM customers c WITH NO DATA;
CREATE MATERIALIZED VIEW debts AS SELECT debt FROM customers;  -- fail
CREATE MATERIALIZED VIEW debts AS SELECT to_jsonb(c) ->> 'debt' AS debt FROM customers c;
TABLE debts;

-- A superuser refreshes it, as alice: REFRESH runs with the owner's rights, who is the subject then.
RESET SESSION AUTHORIZATION;
REFRESH MATERIALIZED VIEW of_alice;
REFRESH MATERIALIZED VIEW CONCURRENTLY of_alice;
REFRESH MATERIALIZED VIEW empty;
REFRESH MATERIALIZED VIEW through_function;
TABLE of_alice ORDER BY id;
TABLE empty ORDER BY id;
GRANT matviews_alice TO matviews_bob;
SET SESSION AUTHORIZATION matviews_bob;
REFRESH MATERIALIZED VIEW empty;
TABLE empty ORDER BY id;
RESET SESSION AUTHORIZATION;
REVOKE matviews_alice FROM matviews_bob;

-- One owned by a superuser has raw rows, by its owner's decision. It is governed as what it is: by its own name.
CREATE MATERIALIZED VIEW everything AS SELECT * FROM customers;
CREATE INDEX ON everything (ssn);
GRANT SELECT ON everything TO matviews_alice, matviews_bob;
SELECT betweenrows.filter_rows('everything', 'agent = {user.username}', 'matviews everything');
SELECT betweenrows.mask_column('everything', 'ssn', '''***''', 'matviews everything ssn');
SELECT betweenrows.deny_columns('everything', '{debt}', 'matviews everything debt');
SET SESSION AUTHORIZATION matviews_alice;
SELECT * FROM everything WHERE f_leak(ssn) AND f_leak(id) ORDER BY id;
SELECT e, ctid, tableoid::regclass FROM everything e ORDER BY id;
SELECT id FROM everything WHERE ssn = '111-11-1111';
SELECT debt FROM everything;  -- fail
CREATE MATERIALIZED VIEW stacked AS SELECT * FROM everything;
TABLE stacked;
CREATE VIEW over_everything AS SELECT * FROM everything;
SELECT * FROM over_everything;
SET SESSION AUTHORIZATION matviews_bob;
SELECT * FROM everything ORDER BY id;
SELECT * FROM over_everything;  -- fail
-- The raw view of a superuser.
RESET SESSION AUTHORIZATION;
SELECT * FROM everything ORDER BY id;
REFRESH MATERIALIZED VIEW stacked;
SELECT * FROM stacked;

-- One that bob owns is filled with his rows even when alice's function stands in it and a superuser refreshes.
SET SESSION AUTHORIZATION matviews_alice;
CREATE FUNCTION count_customers() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM matviews.customers); END $$;
SET SESSION AUTHORIZATION matviews_bob;
CREATE MATERIALIZED VIEW counted AS SELECT count_customers(), session_user, current_user;
TABLE counted;
RESET SESSION AUTHORIZATION;
REFRESH MATERIALIZED VIEW counted;
TABLE counted;

SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'matviews %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA matviews CASCADE;
DROP OWNED BY matviews_alice, matviews_bob;
DROP ROLE matviews_alice, matviews_bob;
