-- Settings that say how a text is read: what a backslash is, which number of a date is the month, what = NULL means. Every
-- session may set them, and an expression is analysed in the session that it governs: a mask that replaces '\d' would replace
-- the letter d instead and show every digit.
CREATE ROLE regress_setting_alice LOGIN;
CREATE SCHEMA settings;
SET search_path = settings;
GRANT USAGE ON SCHEMA settings TO PUBLIC;
CREATE TABLE people (id int, ssn text, born date, seen timestamptz, pause interval, tags text[]);
INSERT INTO people VALUES
    (1, '123-45-6789', '2000-01-02', '2020-01-01 00:30+00', '1 day -2 hours', '{a}'),
    (2, '987-65-4321', '2000-02-01', '2020-01-01 00:30+00', '1 day -2 hours', '{NULL}'),
    (3, '555-55-5555', '2000-01-02', '2019-12-31 23:30+00', '-1 day +2 hours', '{a}');
GRANT SELECT ON people TO PUBLIC;
SELECT betweenrows.mask_column('people', 'ssn', $$regexp_replace(ssn, '\d', '*', 'g')$$, 'setting-ssn');
SELECT betweenrows.filter_rows('people', $$born <> '02/01/2000' AND seen >= '2020-01-01' AND pause <> '-1 2:00' AND tags <> '{NULL}'$$, 'setting-rows');
SET SESSION AUTHORIZATION regress_setting_alice;
SELECT id, ssn FROM people;
-- Each setting in a new session, so that nothing has been analysed before.
\c - regress_setting_alice
SET standard_conforming_strings = off;
SET escape_string_warning = on;
SELECT id, ssn FROM settings.people;
\c - regress_setting_alice
SET DateStyle = 'SQL, DMY';
SELECT id, ssn FROM settings.people;
\c - regress_setting_alice
SET TimeZone = 'America/New_York';
SELECT id, ssn FROM settings.people;
\c - regress_setting_alice
SET IntervalStyle = 'sql_standard';
SELECT id, ssn FROM settings.people;
\c - regress_setting_alice
SET array_nulls = off;
SET transform_null_equals = on;
SET xmloption = document;
SELECT id, ssn FROM settings.people;
-- They are the session's again afterwards, after errors too.
SHOW array_nulls;
SHOW search_path;
\c - postgres
SET search_path = settings;
SET DateStyle = 'German';
SELECT severity, message FROM betweenrows.validate_expression('people', $$born <> '31/12/2000'$$);
SELECT severity, message FROM betweenrows.validate_expression('people', $$born <> '12/31/2000'$$);
SHOW DateStyle;
SHOW search_path;
RESET DateStyle;
-- Casts of values to text follow settings when they run: worth a warning.
SELECT severity, message, hint FROM betweenrows.validate_expression('people', 'left(born::text, 4)', 'mask', 'ssn');
SELECT severity, message, hint FROM betweenrows.validate_expression('people', $$seen::text < 'x' OR ssn::interval > pause OR ssn::bytea IS NULL$$);
SELECT * FROM betweenrows.validate_expression('people', $$to_char(born, 'YYYY') || id::text$$, 'mask', 'ssn');

-- The text of a function is read by each session too.
CREATE FUNCTION digits(text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$SELECT regexp_replace($1, '\d', '*', 'g')$$;
CREATE FUNCTION parsed(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN regexp_replace($1, '\d', '*', 'g');
SELECT betweenrows.alter_policy('setting-ssn', definition => '{"mask_expression": "settings.digits(ssn)"}');
SELECT betweenrows.alter_policy('setting-ssn', definition => '{"mask_expression": "settings.parsed(ssn)"}');
ALTER FUNCTION digits SET standard_conforming_strings = on;
SELECT betweenrows.alter_policy('setting-ssn', definition => '{"mask_expression": "settings.digits(ssn)"}');
\c - regress_setting_alice
SET standard_conforming_strings = off;
SELECT id, ssn FROM settings.people;
\c - postgres
SET search_path = settings;
ALTER FUNCTION digits RESET standard_conforming_strings;
\c - regress_setting_alice
SET standard_conforming_strings = off;
SELECT id, ssn FROM settings.people;
\c - postgres
SET search_path = settings;
-- So is that of a trusted function, which masks by itself.
CREATE FUNCTION curated() RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = settings, pg_temp AS $$SELECT regexp_replace(ssn, '\d', '*', 'g') FROM people WHERE id = 1$$;
SELECT betweenrows.trust('settings.curated()');
ALTER FUNCTION curated SET standard_conforming_strings = on;
SELECT betweenrows.trust('settings.curated()');
\c - regress_setting_alice
SET standard_conforming_strings = off;
SELECT settings.curated();
\c - postgres
SET search_path = settings;

SELECT betweenrows.trust('settings.curated()', false);
SELECT betweenrows.drop_policy('setting-ssn');
SELECT betweenrows.drop_policy('setting-rows');
DROP SCHEMA settings CASCADE;
DROP ROLE regress_setting_alice;
