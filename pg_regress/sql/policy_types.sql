-- A value is made with the checks of all domains in its type, and printed as JSON by the casts of its type. Whoever owns such
-- a type, or code in it, could run that code on raw rows: nothing of that may belong to a subject, also when it is added later.
CREATE ROLE ptypes_alice LOGIN;
CREATE ROLE ptypes_admin LOGIN IN ROLE betweenrows_admin;
CREATE SCHEMA ptypes;
GRANT ALL ON SCHEMA ptypes TO ptypes_alice;
GRANT USAGE ON SCHEMA ptypes TO ptypes_admin;
SET search_path = ptypes;
CREATE TYPE own_pair AS (a text, b int);
CREATE DOMAIN own_domain AS text CHECK (VALUE <> '');
CREATE TYPE own_row AS (d own_domain);
SET SESSION AUTHORIZATION ptypes_alice;
CREATE FUNCTION f_leak(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0000001
    AS $$ BEGIN RAISE NOTICE 'f_leak => %', $1; RETURN true; END $$;
CREATE DOMAIN noisy AS text CHECK (f_leak(VALUE));
CREATE DOMAIN quiet AS text;
CREATE TYPE pair AS (a noisy);
CREATE TYPE later AS (a text);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE coded AS ENUM ('one', 'two');
CREATE FUNCTION coded_json(coded) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'coded => %', $1; RETURN '1'; END $$;
CREATE CAST (coded AS json) WITH FUNCTION coded_json(coded);
CREATE FUNCTION distance(text, text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RAISE NOTICE 'distance => %', $1; RETURN 1; END $$;
CREATE TYPE span AS RANGE (subtype = text, subtype_diff = distance);
CREATE COLLATION loose FROM "C";
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
-- Her SQL function becomes part of the check, and is not called any more.
CREATE FUNCTION tells(text) RETURNS boolean LANGUAGE sql AS $$ SELECT pg_notify('ptypes', $1) IS NOT NULL $$;
CREATE DOMAIN telling AS text CHECK (tells(VALUE));
RESET SESSION AUTHORIZATION;
CREATE TYPE around AS (p pair);
CREATE TABLE customers (id int, org text, ssn text, m mood, c coded, q quiet, s int4range);
INSERT INTO customers VALUES (1, 'acme', '111', 'good', 'one', 'q1'), (2, 'globex', '222', 'bad', 'two', 'q2');
GRANT SELECT ON customers TO ptypes_alice, ptypes_admin;
SELECT betweenrows.mask_column('customers', 'ssn', '''***''', 'ptypes ssn');

-- Viewpoint of the administrator. What makes such values is refused when the policy is saved.
SET SESSION AUTHORIZATION ptypes_admin;
SELECT expression, (SELECT string_agg(message, ' ') FROM betweenrows.validate_expression('customers', expression)) AS message
  FROM unnest(ARRAY[
    $$jsonb_populate_record(NULL::pair, jsonb_build_object('a', ssn)) IS NOT NULL$$,
    $$jsonb_populate_record(NULL::later, jsonb_build_object('a', ssn)) IS NOT NULL$$,
    $$jsonb_populate_record(NULL::around, jsonb_build_object('p', jsonb_build_object('a', ssn))) IS NOT NULL$$,
    $$json_populate_record(NULL::around, json_build_object('p', NULL)) IS NOT NULL$$,
    $$EXISTS (SELECT FROM jsonb_populate_recordset(NULL::pair, jsonb_build_array(jsonb_build_object('a', ssn))))$$,
    $$EXISTS (SELECT FROM jsonb_to_record(jsonb_build_object('a', ssn)) AS r (a noisy))$$,
    $$row(ssn)::pair IS NOT NULL$$,
    $$(row(row(ssn)::pair)::around).p IS NOT NULL$$,
    $$format('(%s)', ssn)::pair IS NOT NULL$$,
    $$('{' || ssn || '}')::noisy[] IS NOT NULL$$,
    $$ARRAY[ssn]::noisy[] IS NOT NULL$$,
    $$ssn::quiet = ''$$,
    $$'{"(x)"}'::pair[] IS NOT NULL$$,
    $$'x'::telling = ssn$$,
    $$'{x}'::telling[] IS NOT NULL$$,
    $$span(ssn, NULL) IS NOT NULL$$,
    $$'[a,b]'::span @> ssn$$,
    $$to_jsonb(c) = '1'$$,
    $$jsonb_agg(customers) IS NOT NULL$$,
    $$to_jsonb(customers) ->> 'org' = 'acme'$$,
    $$ssn = 'x' COLLATE loose$$,
    $$to_tsvector('words', ssn) @@ 'x'$$,
    $$query_to_xml('SELECT ' || quote_literal(ssn), true, true, '') IS NOT NULL$$,
    $$EXISTS (SELECT FROM ts_stat('SELECT to_tsvector(''x'')'))$$]) expression;
-- What only reads values that exist, and what belongs to a superuser, is fine.
SELECT expression, (SELECT string_agg(message, ' ') FROM betweenrows.validate_expression('customers', expression)) AS message
  FROM unnest(ARRAY[
    $$m = 'good'$$, $$m::text = 'good'$$, $$org::mood = m$$, $$q = 'q1'$$, $$coalesce(q, q) = 'q1'$$, $$left(q, 1) = 'q'$$,
    $$jsonb_populate_record(NULL::own_pair, jsonb_build_object('a', ssn)) IS NOT NULL$$, $$row(ssn)::own_row IS NOT NULL$$,
    $$ssn::own_domain = '111'$$, $$s @> id$$, $$s = '[1,2)'$$, $$to_tsvector('simple', ssn) @@ '111'$$,
    $$ssn = 'x' COLLATE "C"$$]) expression;
SELECT betweenrows.filter_rows('customers',
    $$(jsonb_populate_record(NULL::own_row, jsonb_build_object('d', ssn))).d = '111'$$, 'ptypes own');

-- Viewpoint of alice, for whom plans are kept while superusers change what the policy runs.
SET SESSION AUTHORIZATION ptypes_alice;
SET plan_cache_mode = force_generic_plan;
PREPARE p AS SELECT id, ssn FROM customers;
EXECUTE p;
RESET SESSION AUTHORIZATION;
ALTER DOMAIN own_domain ADD CONSTRAINT noise CHECK (f_leak(VALUE));
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;  -- fail
SELECT id, ssn FROM customers;  -- fail
RESET SESSION AUTHORIZATION;
ALTER DOMAIN own_domain DROP CONSTRAINT noise;
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;
RESET SESSION AUTHORIZATION;
ALTER TYPE own_row ADD ATTRIBUTE n noisy;
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;  -- fail
RESET SESSION AUTHORIZATION;
ALTER TYPE own_row DROP ATTRIBUTE n;
ALTER TYPE own_row OWNER TO ptypes_alice;
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;  -- fail
RESET SESSION AUTHORIZATION;
ALTER TYPE own_row OWNER TO postgres;
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;
RESET SESSION AUTHORIZATION;
CREATE FUNCTION row_json(own_row) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'row => %', $1; RETURN '1'; END $$;
ALTER FUNCTION row_json(own_row) OWNER TO ptypes_alice;
CREATE CAST (own_row AS json) WITH FUNCTION row_json(own_row);
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;  -- fail
RESET SESSION AUTHORIZATION;
DROP CAST (own_row AS json);

-- A function that is not part of the plan, and is replaced by its new owner.
CREATE FUNCTION fine(text) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$ BEGIN RETURN true; END $$;
SELECT betweenrows.filter_rows('customers', 'fine(ssn)', 'ptypes function');
SET SESSION AUTHORIZATION ptypes_alice;
EXECUTE p;
RESET SESSION AUTHORIZATION;
ALTER FUNCTION fine(text) OWNER TO ptypes_alice;
SET SESSION AUTHORIZATION ptypes_alice;
CREATE OR REPLACE FUNCTION fine(text) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = pg_catalog
    AS $$ BEGIN RAISE NOTICE 'fine => %', $1; RETURN true; END $$;
EXECUTE p;  -- fail

RESET SESSION AUTHORIZATION;
RESET plan_cache_mode;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'ptypes %' ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA ptypes CASCADE;
DROP OWNED BY ptypes_alice, ptypes_admin;
DROP ROLE ptypes_alice, ptypes_admin;
