-- Loads the whole demo into the current database. Run from this directory, in one transaction.
CREATE EXTENSION betweenrows;
\ir schema.sql
\ir data.sql
\set document `cat policies.json`
SELECT * FROM betweenrows.apply(:'document');
