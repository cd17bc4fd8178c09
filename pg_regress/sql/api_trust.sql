-- trust: what may be trusted, and what ends it. What trust does to statements is shown elsewhere.
CREATE ROLE regress_api_admin LOGIN IN ROLE betweenrows_admin;
CREATE ROLE regress_api_owner;
CREATE SCHEMA regress_trust;
GRANT USAGE, CREATE ON SCHEMA regress_trust TO regress_api_owner;
CREATE TABLE regress_trust.orders (id int, org text);
CREATE VIEW regress_trust."By Org" AS SELECT org, count(*) FROM regress_trust.orders GROUP BY org;
CREATE FUNCTION regress_trust.total(int) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN (SELECT count(*) FROM regress_trust.orders);
CREATE FUNCTION regress_trust.total(text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM regress_trust.orders';
CREATE FUNCTION regress_trust.invoker() RETURNS bigint LANGUAGE sql SET search_path = pg_catalog AS 'SELECT count(*) FROM regress_trust.orders';
CREATE FUNCTION regress_trust.owned() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1::bigint';
ALTER FUNCTION regress_trust.owned() OWNER TO regress_api_owner;
-- A temporary table of whoever calls it would be the first one of that name.
CREATE FUNCTION regress_trust.shadowed() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = regress_trust AS 'SELECT count(*) FROM orders';
CREATE FUNCTION regress_trust.shadowed_first() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_temp, regress_trust
    AS 'SELECT count(*) FROM orders';
CREATE FUNCTION regress_trust.unshadowed() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = regress_trust, "pg_temp"
    AS 'SELECT count(*) FROM orders';
CREATE AGGREGATE regress_trust.aggregate(int) (SFUNC = int4pl, STYPE = int);
-- What status() says of trusted objects, and whether the trust holds.
CREATE VIEW regress_trust_state AS
    SELECT t ->> 'kind' AS kind, t ->> 'identity' AS identity, f ->> 'problem' AS problem
      FROM betweenrows.status() s, jsonb_array_elements(s -> 'trusted_objects') t
      LEFT JOIN LATERAL jsonb_array_elements(s -> 'findings') f ON f ->> 'name' = t ->> 'identity' AND f ->> 'kind' = 'trusted_object'
     WHERE t ->> 'identity' LIKE 'regress_trust.%'
     ORDER BY 1, 2;
SET SESSION AUTHORIZATION regress_api_admin;
SELECT betweenrows.trust('regress_trust."By Org"');
SELECT betweenrows.trust('regress_trust."By Org"');
SELECT betweenrows.trust('regress_trust.total(integer)');
SELECT betweenrows.trust('regress_trust.total(text)');  -- fail
SELECT betweenrows.trust('regress_trust.invoker()');  -- fail
SELECT betweenrows.trust('regress_trust.owned()');  -- fail
SELECT betweenrows.trust('regress_trust.shadowed()');  -- fail
SELECT betweenrows.trust('regress_trust.shadowed_first()');  -- fail
SELECT betweenrows.trust('regress_trust.unshadowed()');
SELECT betweenrows.trust('regress_trust.unshadowed()', false);
SELECT betweenrows.trust('regress_trust.aggregate(int)');  -- fail
SELECT betweenrows.trust('regress_trust.orders');  -- fail
SELECT betweenrows.trust('regress_trust.nothing');  -- fail
SELECT betweenrows.trust('total(integer)');  -- fail
SELECT betweenrows.trust(NULL);  -- fail
SELECT betweenrows.trust('regress_trust.orders', false);  -- fail
RESET SESSION AUTHORIZATION;
SELECT * FROM regress_trust_state;

-- The trust is in what was seen: replacing, renaming and re-owning end it, and putting things back renews it.
BEGIN;
CREATE OR REPLACE VIEW regress_trust."By Org" AS SELECT org, count(*) FROM regress_trust.orders WHERE true GROUP BY org;
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
ALTER VIEW regress_trust."By Org" RENAME TO by_org;
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
ALTER VIEW regress_trust."By Org" OWNER TO regress_api_owner;
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
ALTER VIEW regress_trust."By Org" SET (security_invoker = true);
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
DROP VIEW regress_trust."By Org";
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION regress_trust.total(int) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN 5;
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
ALTER FUNCTION regress_trust.total(int) SECURITY INVOKER;
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
ALTER FUNCTION regress_trust.total(int) RESET search_path;
SELECT * FROM regress_trust_state;
ROLLBACK;
BEGIN;
ALTER FUNCTION regress_trust.total(int) RENAME TO sum;
SELECT * FROM regress_trust_state;
ROLLBACK;
SELECT * FROM regress_trust_state;
-- A function's trust is suspended while its owner is not exempt.
SELECT betweenrows.exempt_role('regress_api_owner');
SELECT betweenrows.trust('regress_trust.owned()');
SELECT * FROM regress_trust_state;
SELECT betweenrows.exempt_role('regress_api_owner', false);
SELECT * FROM regress_trust_state;

SELECT betweenrows.trust('regress_trust.total(integer)', false);
SELECT betweenrows.trust('regress_trust.total(integer)', false);  -- fail
DROP VIEW regress_trust."By Org";
SELECT betweenrows.trust('regress_trust."By Org"', trusted => false);
SELECT betweenrows.trust('regress_trust.owned()', false);
SELECT * FROM regress_trust_state;
SELECT actor, action, object_name, before ->> 'owner' AS old, after ->> 'owner' AS new, left(coalesce(before, after) ->> 'definition', 40) AS definition
  FROM betweenrows.admin_audit WHERE object_kind = 'trusted_object' ORDER BY id;
SET client_min_messages = warning;
DROP VIEW regress_trust_state;
DROP SCHEMA regress_trust CASCADE;
DROP ROLE regress_api_admin, regress_api_owner;
