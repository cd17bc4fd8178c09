-- Attributes in expressions: types, lists, defaults, missing values, and what happens to a key that nobody defines.
CREATE ROLE regress_abac_alice LOGIN;
CREATE ROLE regress_abac_bob LOGIN;
CREATE SCHEMA abac_demo;
GRANT USAGE ON SCHEMA abac_demo TO PUBLIC;
CREATE TABLE abac_demo.t (id int, org text, level int, code varchar(10), open boolean, owner uuid, made_by name);
INSERT INTO abac_demo.t VALUES
    (1, 'acme', 1, 'x', true, '00000000-0000-0000-0000-000000000001', 'regress_abac_alice'),
    (2, 'globex', 2, 'y', false, '00000000-0000-0000-0000-000000000002', 'regress_abac_bob'),
    (3, 'o''; DROP TABLE t; --', 3, NULL, NULL, NULL, NULL);
GRANT SELECT ON abac_demo.t TO PUBLIC;
SELECT count(betweenrows.define_attribute(key, value_type, default_value, required => required)) AS attributes
  FROM (VALUES ('abac_org', 'string', NULL::jsonb, false), ('abac_level', 'integer', '1', false), ('abac_open', 'boolean', NULL, false),
               ('abac_orgs', 'list', NULL, false), ('abac_needed', 'string', NULL, true)) AS v (key, value_type, default_value, required);
SELECT count(betweenrows.create_user('regress_abac_alice',
    attributes => '{"abac_org": "acme", "abac_level": 2, "abac_open": true, "abac_orgs": ["acme", "globex"]}')) AS users;

-- One filter at a time: what alice sees, and what bob does, who has no user row and therefore defaults only.
CREATE FUNCTION abac_demo.try(expression text) RETURNS TABLE (who text, ids int[]) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM betweenrows.filter_rows('abac_demo.t', expression, name => 'abac filter');
    FOREACH who IN ARRAY ARRAY['alice', 'bob'] LOOP
        PERFORM set_config('session_authorization', 'regress_abac_' || who, false);
        BEGIN
            SELECT array_agg(id ORDER BY id) INTO ids FROM abac_demo.t;
            RETURN NEXT;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE '%: % %', who, SQLSTATE, SQLERRM;
        END;
        PERFORM set_config('session_authorization', 'postgres', false);
    END LOOP;
    PERFORM betweenrows.drop_policy('abac filter');
END $$;
SELECT * FROM abac_demo.try('org = {user.abac_org}');
SELECT * FROM abac_demo.try('org = {{user.abac_org}}');
SELECT * FROM abac_demo.try('{user.abac_org} IS NULL');
SELECT * FROM abac_demo.try('code = {user.abac_org} OR level <= {user.abac_level}');
SELECT * FROM abac_demo.try('open = {user.abac_open}');
SELECT * FROM abac_demo.try('org IN ({user.abac_orgs})');
SELECT * FROM abac_demo.try('org NOT IN ({user.abac_orgs})');
SELECT * FROM abac_demo.try('org = ANY ({user.abac_orgs})');
SELECT * FROM abac_demo.try('made_by = {user.username}');
SELECT * FROM abac_demo.try('owner = {user.id} OR {user.id} IS NULL');
SELECT * FROM abac_demo.try('org = {user.abac_org} AND org = {user.abac_org} AND ''{user.abac_org}'' <> org');
-- A list beside other elements is refused.
SELECT * FROM abac_demo.try('org IN (''x'', {user.abac_orgs})');
-- A required attribute refuses the statement of whoever has none.
SELECT * FROM abac_demo.try('org = {user.abac_needed}');
-- A key that is not defined is refused on saving, with its position.
SELECT * FROM abac_demo.try('org = {user.abac_missing}');

-- An empty list matches nothing.
SELECT betweenrows.set_attribute('regress_abac_alice', 'abac_orgs', '[]');
SELECT * FROM abac_demo.try('org IN ({user.abac_orgs})');

-- Attack: a value that would be SQL if it were text. It is a constant.
SELECT betweenrows.set_attribute('regress_abac_alice', 'abac_org', to_jsonb('o''; DROP TABLE t; --'::text));
SELECT * FROM abac_demo.try('org = {user.abac_org}');
SELECT betweenrows.set_attribute('regress_abac_alice', 'abac_org', '"'' OR true --"');
SELECT * FROM abac_demo.try('org = {user.abac_org}');
SELECT betweenrows.set_attribute('regress_abac_alice', 'abac_org', '"{user.username}"');
SELECT * FROM abac_demo.try('org = {user.abac_org} OR {user.abac_org} LIKE ''{user%''');

-- Attack: a damaged value. A superuser wrote a number where the definition says string: the table closes.
UPDATE betweenrows.users SET attributes = attributes || '{"abac_org": 5}' WHERE username = 'regress_abac_alice';
SELECT * FROM abac_demo.try('org = {user.abac_org}');

SET client_min_messages = warning;
SELECT betweenrows.drop_user('regress_abac_alice');
SELECT betweenrows.drop_attribute(key, force => true) FROM betweenrows.attribute_definitions WHERE key LIKE 'abac\_%' ORDER BY key;
DROP SCHEMA abac_demo CASCADE;
DROP ROLE regress_abac_alice, regress_abac_bob;
