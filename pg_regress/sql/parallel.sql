-- Parallel workers plan what the functions in them run: each must know the subject and the policies as its leader does.
CREATE ROLE parallel_alice LOGIN;
CREATE ROLE parallel_bob LOGIN;
CREATE SCHEMA parallel;
GRANT ALL ON SCHEMA parallel TO parallel_alice, parallel_bob;
SET search_path = parallel;
CREATE TABLE events (id int, agent text, secret int, debt int) WITH (parallel_workers = 2);
INSERT INTO events SELECT n, CASE WHEN n % 2 = 0 THEN 'parallel_alice' ELSE 'parallel_bob' END, n, n FROM generate_series(1, 20000) n;
CREATE TABLE days (id int, day int) WITH (parallel_workers = 2);
INSERT INTO days SELECT n, n % 7 FROM generate_series(1, 20000) n;
CREATE TABLE parts (id int, agent text, secret int) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10000) WITH (parallel_workers = 2);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10000) TO (30000) WITH (parallel_workers = 2);
INSERT INTO parts SELECT id, agent, secret FROM events;
CREATE INDEX ON events (id);
ANALYZE events, days, parts;
GRANT ALL ON events, days, parts TO parallel_alice, parallel_bob;
SELECT betweenrows.filter_rows('events', 'agent = {user.username}', 'parallel own');
SELECT betweenrows.mask_column('events', 'secret', 'secret % 2', 'parallel secret');
SELECT betweenrows.deny_columns('events', '{debt}', 'parallel debt');
SELECT betweenrows.filter_rows('parts', 'agent = {user.username}', 'parallel parts');
SELECT betweenrows.mask_column('parts_low', 'secret', '-1', 'parallel low');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET jit = off;

-- Viewpoint of alice: an own function in the workers, that reads the table and that is given rows of it.
SET SESSION AUTHORIZATION parallel_alice;
CREATE FUNCTION look_up(wanted int) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100000 AS $$
    BEGIN RETURN (SELECT concat(count(*), ' ', max(secret), ' ', max(debt)) FROM parallel.events WHERE id BETWEEN wanted AND wanted + 1); END $$;
CREATE FUNCTION look_up_sql(wanted int) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE COST 100000
    AS 'SELECT count(*) FROM parallel.events WHERE id = $1';
CREATE FUNCTION is_odd(int) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE COST 0.0000001
    AS $$ BEGIN IF $1 % 2 = 1 THEN RAISE NOTICE 'leaked %', $1; END IF; RETURN $1 % 2 = 1; END $$;
CREATE FUNCTION workers(query text) RETURNS int LANGUAGE plpgsql AS $$
    DECLARE line text;
    BEGIN
        FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
            IF line ~ 'Workers Planned' THEN RETURN 1; END IF;
        END LOOP;
        RETURN 0;
    END $$;
SELECT count(*), sum(id % 2), max(secret) FROM events;
SELECT count(*) FROM events WHERE is_odd(id);
SELECT count(*) FROM events WHERE id < 100 AND is_odd(id);
SELECT count(*), count(DISTINCT look_up(id)), min(look_up(id)), max(look_up(id)) FROM days WHERE id <= 100;
SELECT sum(look_up_sql(id)) FROM days WHERE id <= 100;
SELECT count(*), max(secret) FROM events e JOIN days d USING (id) WHERE is_odd(e.id) OR d.day = 1;
SELECT day, count(e.*) FROM days d LEFT JOIN events e ON e.id = d.id AND e.secret = 0 GROUP BY day ORDER BY day;
SELECT count(*), min(secret), max(secret), sum(CASE WHEN secret = -1 THEN 1 END) FROM parts;
SELECT count(*) FROM parts WHERE is_odd(id) OR secret = 5;
SELECT count(*) FROM (SELECT * FROM events UNION ALL SELECT * FROM events OFFSET 0) u WHERE is_odd(id);

-- As leader of nothing, and with the workers' proof that they were there.
SELECT workers('SELECT count(*) FROM days WHERE look_up(id) IS NOT NULL AND id <= 100') AS planned;
SELECT workers('SELECT count(*) FROM events WHERE is_odd(id)') AS planned;
SET parallel_leader_participation = off;
SELECT count(*), sum(id % 2), max(secret) FROM events;
SELECT count(*), max(look_up(id)), sum(look_up_sql(id)) FROM days WHERE id <= 100;
RESET parallel_leader_participation;

-- A plan of alice's, then bob in the same session; workers of a role that is set; of a SECURITY DEFINER function.
PREPARE p AS SELECT count(*), sum(id % 2), sum(look_up_sql(id)) FROM events WHERE id <= 50;
EXECUTE p;
RESET SESSION AUTHORIZATION;
EXECUTE p;
SET SESSION AUTHORIZATION parallel_bob;
EXECUTE p;
SELECT count(*), sum(id % 2), max(secret) FROM events;
SELECT sum(look_up_sql(id)) FROM days WHERE id <= 100;
RESET SESSION AUTHORIZATION;
SET ROLE parallel_bob;
SELECT count(*), sum(id % 2), max(secret) FROM events;
SELECT sum(look_up_sql(id)) FROM days WHERE id <= 101;
RESET ROLE;
CREATE FUNCTION by_superuser() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
    AS $$ SELECT concat(count(*), ' ', sum(id % 2), ' ', sum(parallel.look_up_sql(id))) FROM parallel.events WHERE id <= 50 $$;
SET SESSION AUTHORIZATION parallel_alice;
SELECT by_superuser();
RESET SESSION AUTHORIZATION;
SELECT by_superuser();
DEALLOCATE p;

-- An index that a superuser builds in parallel: its functions run as the table's owner, who is the subject then.
SET SESSION AUTHORIZATION parallel_alice;
CREATE FUNCTION count_all(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT count(*) FROM parallel.parts); END $$;
CREATE TABLE of_alice (id int) WITH (parallel_workers = 2);
INSERT INTO of_alice VALUES (1), (2), (3);
RESET SESSION AUTHORIZATION;
CREATE INDEX ON of_alice (count_all(id));
SET SESSION AUTHORIZATION parallel_alice;
SET enable_seqscan = off;
SELECT count(*) FROM of_alice WHERE count_all(id) = 10000;
RESET enable_seqscan;

-- What was planned for debugging as if it was parallel.
RESET SESSION AUTHORIZATION;
SELECT set_config(CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'debug_parallel_query'
                       ELSE 'force_parallel_mode' END, 'on', false);
SET SESSION AUTHORIZATION parallel_alice;
SET jit = on;
SET jit_above_cost = 0;
SELECT count(*), sum(id % 2), max(secret) FROM events;
SET jit = off;
SELECT look_up(1), look_up_sql(1), look_up_sql(2);
SELECT count(*) FROM parts WHERE is_odd(id);
SELECT debt FROM events;  -- fail

RESET SESSION AUTHORIZATION;
RESET ALL;
SET search_path = parallel;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'parallel %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA parallel CASCADE;
DROP OWNED BY parallel_alice, parallel_bob;
DROP ROLE parallel_alice, parallel_bob;
