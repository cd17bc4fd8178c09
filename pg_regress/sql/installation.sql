-- What CREATE EXTENSION brings: the schema is fixed and the library was preloaded.
SELECT e.extname, e.extversion, n.nspname, e.extrelocatable
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'betweenrows';
SELECT setting ~ '\mbetweenrows\M' AS preloaded FROM pg_settings WHERE name = 'shared_preload_libraries';
ALTER EXTENSION betweenrows SET SCHEMA public;  -- fail
-- Databases with another encoding are refused.
SELECT current_database() AS here \gset
CREATE DATABASE regress_betweenrows_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
CREATE DATABASE regress_betweenrows_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\set SHOW_CONTEXT never
\c regress_betweenrows_latin1
CREATE EXTENSION betweenrows;  -- fail
SELECT count(*) FROM pg_namespace WHERE nspname = 'betweenrows';
\c regress_betweenrows_ascii
CREATE EXTENSION betweenrows;  -- fail
\c :here
\set SHOW_CONTEXT errors
DROP DATABASE regress_betweenrows_latin1;
DROP DATABASE regress_betweenrows_ascii;
