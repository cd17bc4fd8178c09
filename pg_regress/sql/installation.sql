-- What CREATE EXTENSION brings: the schema is fixed and the library was preloaded.
SELECT e.extname, e.extversion, n.nspname, e.extrelocatable
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'betweenrows';
SELECT setting ~ '\mbetweenrows\M' AS preloaded FROM pg_settings WHERE name = 'shared_preload_libraries';
ALTER EXTENSION betweenrows SET SCHEMA public;  -- fail
