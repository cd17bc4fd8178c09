-- What is hidden from a subject is not found in the system catalogs. Every role may read them, so that without filters a
-- client lists the tables and columns that it may not know of, with types, keys, defaults, comments and definitions.
-- Whatever is hidden here has "zebra" in its name.
CREATE DATABASE regress_catalogs;
\c regress_catalogs
SET client_min_messages = warning;
CREATE EXTENSION betweenrows;
\set VERBOSITY terse
CREATE ROLE regress_alice LOGIN;
CREATE ROLE regress_carol LOGIN;
CREATE SCHEMA s;
GRANT USAGE, CREATE ON SCHEMA s TO PUBLIC;

CREATE TABLE s.zebras (id int PRIMARY KEY, name text, gone int);
ALTER TABLE s.zebras DROP COLUMN gone;
COMMENT ON TABLE s.zebras IS 'about zebras';
CREATE INDEX zebras_name ON s.zebras (name);
CREATE SEQUENCE s.zebras_seq OWNED BY s.zebras.id;
CREATE VIEW s.zebras_view AS SELECT * FROM s.zebras;
CREATE MATERIALIZED VIEW s.zebras_mat AS SELECT * FROM s.zebras;
CREATE TABLE s.animals (
    id int PRIMARY KEY,
    kind text,
    old int,
    zebra_stripes int DEFAULT 7 CHECK (zebra_stripes > 0),
    zebra_serial serial,
    mixed int,
    zebra_id int REFERENCES s.zebras
);
ALTER TABLE s.animals DROP COLUMN old;
COMMENT ON COLUMN s.animals.zebra_stripes IS 'how many stripes a zebra has';
COMMENT ON COLUMN s.animals.kind IS 'a kind of animal';
CREATE INDEX animals_kind ON s.animals (kind);
CREATE INDEX animals_zebra_stripes ON s.animals (zebra_stripes);
CREATE INDEX animals_zebra_expression ON s.animals ((zebra_stripes + 1));
CREATE INDEX animals_zebra_predicate ON s.animals (mixed) WHERE zebra_stripes > 3;
CREATE INDEX animals_zebra_include ON s.animals (mixed) INCLUDE (zebra_stripes);
CREATE STATISTICS s.animals_stats ON kind, mixed FROM s.animals;
CREATE STATISTICS s.animals_zebra_stats ON kind, zebra_stripes FROM s.animals;
CREATE STATISTICS s.animals_zebra_expr ON kind, (zebra_stripes + 1) FROM s.animals;
CREATE FUNCTION s.trigger_function() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE FUNCTION s.trample(s.zebras) RETURNS s.zebras LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION s.count_animals() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM s.animals; END;
CREATE TRIGGER animals_trigger BEFORE UPDATE ON s.animals FOR EACH ROW EXECUTE FUNCTION s.trigger_function();
CREATE TRIGGER animals_zebra_trigger BEFORE UPDATE OF zebra_stripes ON s.animals
    FOR EACH ROW EXECUTE FUNCTION s.trigger_function();
CREATE TRIGGER animals_zebra_when BEFORE UPDATE ON s.animals
    FOR EACH ROW WHEN (old.zebra_stripes IS DISTINCT FROM new.zebra_stripes) EXECUTE FUNCTION s.trigger_function();
CREATE POLICY animals_zebra_policy ON s.animals USING (zebra_stripes > 0);
CREATE RULE animals_zebra_rule AS ON UPDATE TO s.animals WHERE old.zebra_stripes > 9 DO INSTEAD NOTHING;
CREATE VIEW s.few AS SELECT id, kind FROM s.animals WHERE zebra_stripes < 9;
-- The stored form of a statement lists all columns of its tables.
CREATE VIEW s.many AS SELECT id, kind FROM s.animals WHERE mixed > 9;
CREATE TABLE s.plants (id int, kind text);
CREATE VIEW s.flowers AS SELECT id FROM s.plants WHERE kind = 'flower';
CREATE TABLE s.herd (region text, zebra_count int, members int) PARTITION BY LIST (region);
CREATE TABLE s.herd_zebra_land PARTITION OF s.herd FOR VALUES IN ('zebra land');
CREATE TABLE s.herd_sea PARTITION OF s.herd FOR VALUES IN ('sea');
CREATE TABLE s.by_kind (id int, zebra_kind text) PARTITION BY LIST (zebra_kind);
SET client_min_messages = error;
CREATE PUBLICATION animals_publication FOR TABLE s.zebras, s.animals (id, zebra_stripes) WHERE (id > 0);
CREATE EXTENSION file_fdw;
CREATE SERVER regress_server FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE s.zebras_far (id int) SERVER regress_server OPTIONS (filename '/zebra');
CREATE CAST (s.zebras AS int) WITH INOUT;
GRANT ALL ON ALL TABLES IN SCHEMA s TO regress_alice, regress_carol;
INSERT INTO s.zebras SELECT i, 'zebra ' || i FROM generate_series(1, 100) i;
INSERT INTO s.animals SELECT i, 'kind ' || i, i, i, i, i FROM generate_series(1, 100) i;
ANALYZE s.zebras, s.animals;

SELECT betweenrows.create_user('regress_alice') IS NOT NULL AS created;
SELECT betweenrows.deny_table('s.zebras', to_user => 'regress_alice');
SELECT betweenrows.deny_table('s.zebras_view', to_user => 'regress_alice');
SELECT betweenrows.deny_table('s.zebras_mat', to_user => 'regress_alice');
SELECT betweenrows.deny_table('s.zebras_far', to_user => 'regress_alice');
SELECT betweenrows.deny_table('s.herd_zebra_land', to_user => 'regress_alice');
SELECT betweenrows.deny_columns('s.animals', array['zebra_stripes', 'zebra_serial', 'zebra_id'], to_user => 'regress_alice');
SELECT betweenrows.deny_columns('s.herd', array['zebra_count'], to_user => 'regress_alice');
SELECT betweenrows.deny_columns('s.by_kind', array['zebra_kind'], to_user => 'regress_alice');

-- Every relation of pg_catalog and information_schema is read whole, its rows as text: the function is each reader's own,
-- so that the word is looked for with the reader's eyes. What cannot be read is -1.
CREATE FUNCTION s.word_in_catalogs() RETURNS TABLE (catalog regclass, hits bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR catalog IN
        SELECT c.oid FROM pg_class c
         WHERE c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND c.relkind IN ('r', 'v')
           -- The texts of other sessions' statements, and of this one; not every platform has the last one.
           AND c.relname NOT IN ('pg_stat_activity', 'pg_prepared_statements', 'pg_cursors', 'pg_shmem_allocations_numa')
         ORDER BY c.oid::regclass::text COLLATE "C"
    LOOP
        BEGIN
            EXECUTE format('SELECT count(*) FROM %s t WHERE t::text ~ %L', catalog, 'zeb' || 'ra') INTO hits;
        -- The latter is what a foreign table without a handler leads to in information_schema.columns.
        EXCEPTION WHEN insufficient_privilege OR object_not_in_prerequisite_state THEN
            hits := -1;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
-- The superuser's view: the word is all over the place. It takes a while to read all catalogs: once for each viewpoint.
CREATE TEMP TABLE seen_by_all AS SELECT * FROM s.word_in_catalogs();
SELECT count(*) > 40 AS many, bool_or(catalog = 'pg_rewrite'::regclass) AS rewrite,
       bool_or(catalog = 'pg_statistic_ext'::regclass) AS statistic_ext
  FROM seen_by_all WHERE hits > 0;
SELECT catalog, hits > 0 AS found FROM seen_by_all
 WHERE catalog::text IN ('pg_attribute', 'pg_class', 'pg_constraint', 'pg_description', 'pg_policy', 'pg_stats', 'pg_trigger',
                         'pg_type', 'pg_statistic', 'information_schema.table_constraints') ORDER BY 1::text;

-- alice's view: nowhere, although she reads as many catalogs as carol does.
SET SESSION AUTHORIZATION regress_alice;
CREATE TEMP TABLE seen_by_alice AS SELECT * FROM s.word_in_catalogs();
SELECT * FROM seen_by_alice WHERE hits > 0;
SELECT count(*) > 100 AS read FROM seen_by_alice WHERE hits = 0;
-- What is not hidden is there as ever.
SELECT c.relname, c.relkind FROM pg_class c WHERE c.relnamespace = 's'::regnamespace ORDER BY 1;
SELECT attrelid::regclass, attnum, attname, attisdropped FROM pg_attribute
 WHERE attrelid IN ('s.animals'::regclass, 's.few'::regclass) AND attnum > 0 ORDER BY 1, 2;
SELECT tgname FROM pg_trigger WHERE tgrelid = 's.animals'::regclass AND NOT tgisinternal;
SELECT stxname FROM pg_statistic_ext;
SELECT description FROM pg_description WHERE objoid = 's.animals'::regclass;
SELECT viewname, definition ~ 'SELECT' AS defined FROM pg_views WHERE schemaname = 's' ORDER BY 1;
SELECT typname FROM pg_type WHERE typnamespace = 's'::regnamespace ORDER BY 1;
SELECT proname FROM pg_proc WHERE pronamespace = 's'::regnamespace ORDER BY 1;
SELECT tablename, attnames FROM pg_publication_tables ORDER BY 1;
SELECT table_name, column_name, ordinal_position FROM information_schema.columns
 WHERE table_schema = 's' ORDER BY table_name COLLATE "C", ordinal_position;
SELECT count(*) AS tables, count(*) FILTER (WHERE relname ~ 'animals') AS animals FROM pg_stat_user_tables
 WHERE schemaname = 's';

-- Names are hidden at every nesting level, behind views, CTEs, sublinks, set operations, joins and functions.
SELECT relname FROM pg_class WHERE relname ~ 'zebra' UNION SELECT attname FROM pg_attribute WHERE attname ~ 'zebra';
WITH c AS MATERIALIZED (SELECT * FROM pg_class) SELECT count(*) FROM c WHERE relname ~ 'zebra';
SELECT (SELECT max(relname::text) FROM pg_class WHERE relname ~ 'zebra'), EXISTS (SELECT FROM pg_attribute WHERE attname ~ 'zebra');
SELECT a.attname FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname ~ 'zebra'
 WHERE c.relname = 'animals';
SELECT c FROM pg_class c WHERE c.relname = 'zebras';
CREATE TEMP VIEW mine AS SELECT relname FROM pg_class WHERE relname ~ 'zebra';
TABLE mine;
CREATE TEMP TABLE taken AS SELECT relname FROM pg_class WHERE relname ~ 'zebra';
TABLE taken;
PREPARE p AS SELECT relname FROM pg_class WHERE relname ~ $1 ORDER BY relname;
EXECUTE p('zebra');
BEGIN;
DECLARE c CURSOR FOR SELECT relname FROM pg_class WHERE relname ~ 'zebra';
FETCH c;
COMMIT;
COPY (SELECT relname FROM pg_class WHERE relname ~ 'zebra') TO stdout;

-- A user's function that is called for each row of a catalog is not called for the rows that are hidden.
CREATE FUNCTION pg_temp.tattle(name) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS
    $$ BEGIN IF $1 ~ 'zebra' THEN RAISE NOTICE 'saw %', $1; END IF; RETURN true; END $$;
SELECT count(*) > 0 AS some FROM pg_class WHERE pg_temp.tattle(relname);
SELECT count(*) > 0 AS some FROM pg_attribute WHERE pg_temp.tattle(attname);
SELECT count(*) > 0 AS some FROM pg_tables WHERE pg_temp.tattle(tablename);

-- Definitions of what is hidden: those that PostgreSQL reads from the catalogs itself are not found.
RESET SESSION AUTHORIZATION;
SELECT 's.zebras_view'::regclass::oid AS zebras_view, 's.zebras'::regclass::oid AS zebras, 's.few'::regclass::oid AS few \gset
SELECT oid AS rule FROM pg_rewrite WHERE rulename = 'animals_zebra_rule' \gset
SELECT oid AS constraint FROM pg_constraint WHERE conrelid = :zebras AND contype = 'p' \gset
SET SESSION AUTHORIZATION regress_alice;
SELECT pg_get_viewdef(:zebras_view), pg_get_viewdef('s.zebras_view'), pg_get_viewdef(:few), pg_get_ruledef(:rule);
SELECT obj_description(:zebras), col_description('s.animals'::regclass, 4);

-- The functions behind the filters tell nothing themselves: what is hidden is as what does not exist.
SELECT betweenrows.relation_visible(:zebras) AS hidden, betweenrows.relation_visible(4000000000) AS missing,
       betweenrows.relation_visible('s.animals'::regclass) AS visible;
SELECT betweenrows.column_visible(:zebras, 1::int2) AS hidden, betweenrows.column_visible('s.animals'::regclass, 4::int2) AS column,
       betweenrows.column_visible(4000000000, 1::int2) AS missing;
SELECT betweenrows.columns_visible(:zebras, '{1}') AS hidden, betweenrows.columns_visible(4000000000, '{1}') AS missing,
       betweenrows.columns_visible('s.animals'::regclass, '{1,4}') AS column,
       betweenrows.columns_visible('s.animals'::regclass, '{0}') AS any_column;
SELECT betweenrows.object_visible('pg_constraint'::regclass, :constraint, 0) AS hidden,
       betweenrows.object_visible('pg_constraint'::regclass, 4000000000, 0) AS missing,
       betweenrows.object_visible('pg_type'::regclass, 4000000000, 0) AS missing_type;
SELECT betweenrows.statistics_visible(:zebras, 1::int2) AS hidden, betweenrows.statistics_visible(4000000000, 1::int2) AS missing;

-- carol, for whom nothing is hidden, sees what the superuser sees, and her plans carry no filter.
SET SESSION AUTHORIZATION regress_carol;
SELECT count(*) > 40 AS many FROM s.word_in_catalogs() WHERE hits > 0;
EXPLAIN (COSTS OFF) SELECT relname FROM pg_class WHERE relkind = 'r';
PREPARE q AS SELECT count(*) FROM pg_class WHERE relname = 'zebras';
EXECUTE q;
-- A saved plan does not outlive the subject that it was made for, or the policies.
SET SESSION AUTHORIZATION regress_alice;
EXECUTE q;
EXECUTE p('zebras');
RESET SESSION AUTHORIZATION;
EXECUTE q;
SELECT betweenrows.unassign_policy('deny-table:s.zebras', to_user => 'regress_alice');
SET SESSION AUTHORIZATION regress_alice;
EXECUTE q;
EXECUTE p('zebras');
RESET SESSION AUTHORIZATION;
SELECT betweenrows.assign_policy('deny-table:s.zebras', to_user => 'regress_alice') IS NOT NULL AS assigned;
SET SESSION AUTHORIZATION regress_alice;
EXECUTE q;

-- SET ROLE changes nothing: the subject is the session's.
RESET SESSION AUTHORIZATION;
GRANT regress_carol TO regress_alice;
SET SESSION AUTHORIZATION regress_alice;
SET ROLE regress_carol;
EXECUTE q;
RESET ROLE;
-- A superuser that takes a subject's role sees what the subject sees.
RESET SESSION AUTHORIZATION;
SET ROLE regress_alice;
EXECUTE q;
RESET ROLE;

-- In policy_required mode a table without a policy that allows it is not there, its indexes and row types neither.
SELECT betweenrows.set_access_mode('policy_required');
SELECT betweenrows.allow_columns('s.animals', array['id', 'kind'], to_user => 'regress_alice');
SET SESSION AUTHORIZATION regress_alice;
SELECT relname FROM pg_class WHERE relnamespace = 's'::regnamespace ORDER BY 1;
SELECT attname FROM pg_attribute WHERE attrelid = 's.animals'::regclass AND attnum > 0 AND NOT attisdropped;
SELECT typname FROM pg_type WHERE typnamespace = 's'::regnamespace ORDER BY 1;
SELECT conname FROM pg_constraint WHERE conrelid = 's.animals'::regclass AND contype <> 'n';
-- What a subject makes for itself is no exception, a temporary table is.
CREATE TABLE s.own (id int);
CREATE TEMP TABLE own_temp (id int);
SELECT relname FROM pg_class WHERE relname IN ('own', 'own_temp');
-- An inactive user sees no table at all.
RESET SESSION AUTHORIZATION;
SELECT betweenrows.set_access_mode('open');
SELECT betweenrows.alter_user('regress_alice', is_active => false);
SET SESSION AUTHORIZATION regress_alice;
SELECT relname FROM pg_class WHERE relnamespace = 's'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1;

\c regression
DROP DATABASE regress_catalogs;
DROP ROLE regress_alice, regress_carol;
