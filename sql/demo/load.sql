-- Loads the demo's tables into the current database. Run from this directory, in one transaction. The policies come from
-- the daemon: load-policies.
CREATE EXTENSION betweenrows;
\ir schema.sql
\ir data.sql
