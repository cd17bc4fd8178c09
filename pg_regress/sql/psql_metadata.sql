-- Clients ask the catalogs what there is: psql's commands, drivers' metadata calls, information_schema. They must neither
-- show what is hidden nor stumble over a row whose counterpart is not there.
-- Whatever is hidden here has "zebra" in its name.
CREATE DATABASE regress_psql_metadata;
\c regress_psql_metadata
SET client_min_messages = warning;
CREATE EXTENSION betweenrows;
CREATE ROLE regress_alice LOGIN;
CREATE SCHEMA s;
CREATE TABLE s.zebras (id int PRIMARY KEY, name text);
CREATE TABLE s.animals (
    id int PRIMARY KEY,
    zebra_id int REFERENCES s.zebras,
    zebra_secret text UNIQUE,
    kind text NOT NULL DEFAULT 'cat' UNIQUE
);
CREATE INDEX animals_kind ON s.animals (kind);
COMMENT ON TABLE s.animals IS 'all of them';
COMMENT ON COLUMN s.animals.kind IS 'what it is';
COMMENT ON COLUMN s.animals.zebra_secret IS 'a secret of the zebra';
CREATE TABLE s.feedings (id int PRIMARY KEY, animal_id int REFERENCES s.animals, zebra int);
CREATE TABLE s.zebra_feedings (id int, animal_id int REFERENCES s.animals);
CREATE TABLE s.parents (id int, zebra int, kind text);
CREATE TABLE s.children () INHERITS (s.parents);
CREATE TABLE s.zebra_children () INHERITS (s.parents);
CREATE TABLE s.parts (id int, kind text) PARTITION BY LIST (kind);
CREATE TABLE s.parts_cat PARTITION OF s.parts FOR VALUES IN ('cat');
CREATE TABLE s.parts_zebra PARTITION OF s.parts FOR VALUES IN ('zebra');
CREATE SEQUENCE s.free;
CREATE TABLE s.zebra_serials (id serial);
CREATE VIEW s.cats AS SELECT id, kind FROM s.animals WHERE kind = 'cat';
CREATE VIEW s.zebra_view AS SELECT * FROM s.animals;
CREATE MATERIALIZED VIEW s.counts AS SELECT kind, count(*) FROM s.parts GROUP BY kind;
CREATE MATERIALIZED VIEW s.zebra_counts AS SELECT count(*) FROM s.zebras;
CREATE TYPE s.pair AS (a int, b int);
CREATE TYPE s.mood AS ENUM ('sad', 'happy');
CREATE FUNCTION s.twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
GRANT USAGE ON SCHEMA s TO regress_alice;
GRANT SELECT ON ALL TABLES IN SCHEMA s TO regress_alice;
SELECT betweenrows.create_user('regress_alice') IS NOT NULL AS created;
SELECT betweenrows.create_policy('no-zebras', 'table_deny', '[{"schemas": ["*"], "tables": ["*zebra*"]}]') IS NOT NULL AS created;
SELECT betweenrows.create_policy('no-stripes', 'column_deny', '[{"schemas": ["s"], "tables": ["*"], "columns": ["*zebra*"]}]')
       IS NOT NULL AS created;
SELECT betweenrows.assign_policy('no-zebras', to_user => 'regress_alice') IS NOT NULL AS assigned;
SELECT betweenrows.assign_policy('no-stripes', to_user => 'regress_alice') IS NOT NULL AS assigned;

SET SESSION AUTHORIZATION regress_alice;
-- psql
\d s.*
\d s.zebras
\d s.parts_zebra
\dt s.*
\dv s.*
\dm s.*
\di s.*
\ds s.*
\dE s.*
\dti s.*zebra*
\dT s.*
\df s.*
\dC *zebra*
\dd s.*
\dX s.*
\dP s.*
\sf s.twice
\sv s.cats
\sv s.zebra_view
\dt+ s.zebras
\d+ s.cats
\d+ s.children

-- The metadata calls of the JDBC driver: tables, columns, primary and foreign keys, indexes.
SELECT NULL AS table_cat, n.nspname AS table_schem, c.relname AS table_name, c.relkind, d.description AS remarks
  FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c
  LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass)
 WHERE c.relnamespace = n.oid AND n.nspname LIKE 's' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 ORDER BY c.relkind, table_schem, table_name;
SELECT * FROM (
    SELECT n.nspname, c.relname, a.attname, a.atttypid::regtype, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull,
           row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum,
           pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, dsc.description, t.typtype
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid)
      JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid)
      JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid)
      LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum)
      LEFT JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid)
      LEFT JOIN pg_catalog.pg_class dc ON (dc.oid = dsc.classoid AND dc.relname = 'pg_class')
      LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace = dn.oid AND dn.nspname = 'pg_catalog')
     WHERE c.relkind IN ('r', 'p', 'v', 'f', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 's') c
 WHERE true ORDER BY nspname, c.relname, attnum;
SELECT result.table_name, result.column_name, result.key_seq, result.pk_name
  FROM (SELECT ct.relname AS table_name, a.attname AS column_name,
               (information_schema._pg_expandarray(i.indkey)).n AS key_seq, ci.relname AS pk_name,
               information_schema._pg_expandarray(i.indkey) AS keys, a.attnum AS a_attnum
          FROM pg_catalog.pg_class ct
          JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid)
          JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid)
          JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid)
          JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid)
         WHERE n.nspname = 's' AND i.indisprimary) result
 WHERE result.a_attnum = (result.keys).x ORDER BY result.table_name, result.pk_name, result.key_seq;
SELECT pkc.relname AS pktable, pka.attname AS pkcolumn, fkc.relname AS fktable, fka.attname AS fkcolumn, con.conname
  FROM pg_catalog.pg_namespace pkn, pg_catalog.pg_class pkc, pg_catalog.pg_attribute pka, pg_catalog.pg_namespace fkn,
       pg_catalog.pg_class fkc, pg_catalog.pg_attribute fka, pg_catalog.pg_constraint con,
       pg_catalog.generate_series(1, 32) pos(n), pg_catalog.pg_class pkic
 WHERE pkn.oid = pkc.relnamespace AND pkc.oid = pka.attrelid AND pka.attnum = con.confkey[pos.n] AND con.confrelid = pkc.oid
   AND fkn.oid = fkc.relnamespace AND fkc.oid = fka.attrelid AND fka.attnum = con.conkey[pos.n] AND con.conrelid = fkc.oid
   AND con.contype = 'f' AND (pkic.relkind = 'i' OR pkic.relkind = 'I') AND pkic.oid = con.conindid ORDER BY 1, 3;
SELECT tmp.table_name, tmp.index_name, trim(BOTH '"' FROM pg_catalog.pg_get_indexdef(tmp.ci_oid, tmp.ordinal_position, false)) AS col
  FROM (SELECT ct.relname AS table_name, ci.relname AS index_name,
               (information_schema._pg_expandarray(i.indkey)).n AS ordinal_position, ci.oid AS ci_oid
          FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid)
          JOIN pg_catalog.pg_index i ON (ct.oid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid)
         WHERE n.nspname = 's') tmp ORDER BY 1, 2, 3;

-- information_schema
SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 's' ORDER BY 1;
SELECT table_name, column_name, column_default, is_nullable FROM information_schema.columns WHERE table_schema = 's' ORDER BY 1, 2;
SELECT constraint_name, table_name, column_name FROM information_schema.key_column_usage WHERE table_schema = 's' ORDER BY 1, 3;
SELECT constraint_name, unique_constraint_name FROM information_schema.referential_constraints ORDER BY 1;
SELECT table_name, constraint_name, constraint_type FROM information_schema.table_constraints
 WHERE table_schema = 's' AND constraint_name !~ 'not_null' ORDER BY 1, 2;
SELECT view_name, table_name FROM information_schema.view_table_usage ORDER BY 1;
SELECT table_name, column_name, privilege_type FROM information_schema.column_privileges WHERE table_schema = 's' ORDER BY 1, 2;
SELECT sequence_name FROM information_schema.sequences ORDER BY 1;
SELECT schemaname, sequencename FROM pg_sequences ORDER BY 2;
SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 's' ORDER BY 2;
SELECT relname FROM pg_stat_user_tables ORDER BY 1;
SELECT indexrelname FROM pg_stat_user_indexes ORDER BY 1;

\c regression
DROP DATABASE regress_psql_metadata;
DROP ROLE regress_alice;
