-- From 18 a foreign key can be about periods: rows of the referenced table cover one together. Its queries have subqueries and
-- aggregates, other than those of plain keys, and have to see all rows as well: filtered, they would refuse what is right, and let
-- go what hidden rows refer to. What such keys and WITHOUT OVERLAPS report must not print hidden rows.
SELECT current_setting('server_version_num')::int < 180000 AS too_old \gset
\if :too_old
\quit
\endif
CREATE ROLE temporal_alice LOGIN;
CREATE SCHEMA temporal;
GRANT ALL ON SCHEMA temporal TO temporal_alice;
SET search_path = temporal;
CREATE TABLE rooms (room int4range, valid daterange, org text, price int DEFAULT 1, PRIMARY KEY (room, valid WITHOUT OVERLAPS));
CREATE TABLE bookings (room int4range, valid daterange, org text, FOREIGN KEY (room, PERIOD valid) REFERENCES rooms (room, PERIOD valid));
INSERT INTO rooms VALUES ('[1,2)', '[2020-01-01,2021-01-01)', 'acme', 10), ('[1,2)', '[2021-01-01,2022-01-01)', 'globex', 20),
    ('[2,3)', '[2020-01-01,2022-01-01)', 'acme', 30), ('[3,4)', '[2020-01-01,2022-01-01)', 'acme', 40);
INSERT INTO bookings VALUES ('[2,3)', '[2020-02-01,2020-03-01)', 'globex'), ('[3,4)', '[2020-02-01,2020-03-01)', 'acme');
GRANT ALL ON rooms, bookings TO temporal_alice;
SELECT betweenrows.filter_rows('rooms', $$org = 'acme'$$, 'temporal rooms');
SELECT betweenrows.filter_rows('bookings', $$org = 'acme'$$, 'temporal bookings');
SELECT betweenrows.mask_column('rooms', 'price', '0', 'temporal price');

-- Viewpoint of alice.
SET SESSION AUTHORIZATION temporal_alice;
TABLE rooms;
TABLE bookings;
-- A hidden row takes part in covering a period.
INSERT INTO bookings VALUES ('[1,2)', '[2020-06-01,2021-06-01)', 'acme');
INSERT INTO bookings VALUES ('[1,2)', '[2021-06-01,2022-06-01)', 'acme');  -- fail
INSERT INTO bookings VALUES ('[4,5)', '[2020-06-01,2021-06-01)', 'acme');  -- fail
-- A hidden row refers to room 2.
DELETE FROM rooms WHERE room = '[2,3)';  -- fail
UPDATE rooms SET valid = '[2020-02-15,2022-01-01)' WHERE room = '[2,3)';  -- fail
UPDATE rooms SET valid = '[2020-02-01,2022-01-01)' WHERE room = '[2,3)';
DELETE FROM rooms WHERE room = '[3,4)';  -- fail
DELETE FROM bookings WHERE room = '[3,4)';
DELETE FROM rooms WHERE room = '[3,4)' RETURNING *;
-- An overlap with a hidden row is told without it.
INSERT INTO rooms (room, valid, org) VALUES ('[1,2)', '[2021-06-01,2021-07-01)', 'acme');  -- fail
INSERT INTO rooms (room, valid, org) VALUES ('[1,2)', '[2021-06-01,2021-07-01)', 'acme') ON CONFLICT DO NOTHING RETURNING *;
-- The same text in a statement of her own is governed.
SELECT 1 FROM (SELECT valid AS r FROM ONLY rooms x WHERE room = '[1,2)' AND valid && '[2021-06-01,2021-07-01)' FOR KEY SHARE OF x) x1
    HAVING '[2021-06-01,2021-07-01)'::daterange <@ range_agg(x1.r);

RESET SESSION AUTHORIZATION;
SELECT room, valid, org FROM rooms ORDER BY 1, 2;
SELECT room, valid, org FROM bookings ORDER BY 1, 2;
SET client_min_messages = warning;
SELECT betweenrows.drop_policy(name) FROM betweenrows.policies WHERE name LIKE 'temporal %' ORDER BY name;
DROP SCHEMA temporal CASCADE;
DROP ROLE temporal_alice;
