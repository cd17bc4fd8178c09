-- Made up, and the same on every machine: numbers come from `mix`, which scatters a running number without chance.
-- Social security numbers begin with 9 and card numbers with 9999, neither of which is ever issued.

CREATE FUNCTION pg_temp.mix(n bigint, salt int, choices int) RETURNS int
LANGUAGE sql IMMUTABLE
RETURN ('x' || left(encode(sha256(convert_to(n || ' ' || salt, 'UTF8')), 'hex'), 7))::bit(28)::int % choices;

CREATE FUNCTION pg_temp.pick(n bigint, salt int, words text[]) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN words[1 + pg_temp.mix(n, salt, cardinality(words))];

INSERT INTO organizations VALUES
    ('acme',   'Acme Outfitters',   'US', 'enterprise'),
    ('globex', 'Globex Trading',    'DE', 'business'),
    ('stark',  'Stark Instruments', 'GB', 'starter');

-- Half of everything is acme's, a third globex's, a sixth stark's.
CREATE FUNCTION pg_temp.org(n bigint) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN ('{acme,globex,acme,stark,globex,acme}'::text[])[1 + n % 6];

INSERT INTO customers (org, full_name, email, ssn, credit_card)
SELECT pg_temp.org(n), first || ' ' || last, lower(first || '.' || last) || n || '@example.com',
       format('9%s-%s-%s', to_char(pg_temp.mix(n, 3, 100), 'FM00'), to_char(10 + pg_temp.mix(n, 4, 89), 'FM00'),
              to_char(pg_temp.mix(n, 5, 10000), 'FM0000')),
       format('9999-%s-%s-%s', to_char(pg_temp.mix(n, 6, 10000), 'FM0000'), to_char(pg_temp.mix(n, 7, 10000), 'FM0000'),
              to_char(pg_temp.mix(n, 8, 10000), 'FM0000'))
  FROM generate_series(1, 300) AS n,
       pg_temp.pick(n, 1, '{Ada,Amara,Ben,Carla,Chen,Dana,Elif,Emil,Farid,Grace,Hana,Ines,Jonas,Kofi,Lena,Liam,Mara,
                            Milo,Nadia,Noah,Olga,Priya,Rosa,Sami,Tomas,Uma,Victor,Wanda,Yara,Zoe}') AS first,
       pg_temp.pick(n, 2, '{Abbot,Baker,Castillo,Diaz,Eriksen,Fischer,Garcia,Hoffman,Ivanova,Jensen,Keller,Lindqvist,
                            Mbeki,Nakamura,Okafor,Park,Quinn,Rossi,Silva,Tanaka,Ueda,Varga,Weber,Young,Zhang}') AS last;

INSERT INTO products (org, sku, name, price, cost)
SELECT org, upper(left(org, 3)) || '-' || to_char(n, 'FM0000'), adjective || ' ' || thing, price,
       round(price * (40 + pg_temp.mix(n, 14, 45)) / 100, 2)
  FROM generate_series(1, 120) AS n,
       pg_temp.org(n) AS org,
       pg_temp.pick(n, 11, '{Compact,Cordless,Folding,Heavy,Insulated,Light,Modular,Portable,Quiet,Solar}') AS adjective,
       pg_temp.pick(n, 12, '{Backpack,Compass,Cooker,Drill,Flask,Headlamp,Jacket,Kettle,Lantern,Multimeter,Scale,Tent,
                             Thermometer,Toolbox,Torch}') AS thing,
       round(5 + pg_temp.mix(n, 13, 49500) / 100.0, 2) AS price;

-- A customer orders at its own tenant.
INSERT INTO orders (org, customer_id, status, ordered_at)
SELECT c.org, c.id, pg_temp.pick(n, 21, '{open,paid,paid,shipped,shipped,shipped,returned}'),
       timestamptz '2025-01-01 00:00:00Z' + n * interval '7 hours 13 minutes'
  FROM generate_series(1, 1200) AS n
  JOIN customers AS c ON c.id = 1 + pg_temp.mix(n, 20, 300)
 ORDER BY n;

-- One to four different products of the order's tenant.
INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
SELECT o.id, line, p.id, 1 + pg_temp.mix(o.id, 31 + line, 5), p.price
  FROM orders AS o
 CROSS JOIN LATERAL generate_series(1, 1 + pg_temp.mix(o.id, 30, 4)) AS line
  JOIN (SELECT id, org, price, row_number() OVER (PARTITION BY org ORDER BY id) - 1 AS position,
               count(*) OVER (PARTITION BY org) AS products
          FROM products) AS p
    ON p.org = o.org AND p.position = (o.id * 7 + line) % p.products
 ORDER BY o.id, line;

INSERT INTO payments (order_id, method, amount, paid_at)
SELECT o.id, pg_temp.pick(o.id, 41, '{card,card,transfer,invoice}'), sum(i.quantity * i.unit_price),
       o.ordered_at + (1 + pg_temp.mix(o.id, 42, 72)) * interval '1 hour'
  FROM orders AS o
  JOIN order_items AS i ON i.order_id = o.id
 WHERE o.status <> 'open'
 GROUP BY o.id
 ORDER BY o.id;

INSERT INTO support_tickets (org, customer_id, subject, priority, opened_at, closed_at)
SELECT c.org, c.id,
       pg_temp.pick(n, 51, '{Parcel arrived damaged,Wrong item delivered,Refund not received,Question about an invoice,
                             Change of delivery address,Cannot sign in,Item is missing,Warranty claim}'),
       pg_temp.pick(n, 52, '{low,normal,normal,high}'), opened_at,
       CASE WHEN pg_temp.mix(n, 53, 3) > 0 THEN opened_at + (1 + pg_temp.mix(n, 54, 96)) * interval '1 hour' END
  FROM generate_series(1, 250) AS n
  JOIN customers AS c ON c.id = 1 + pg_temp.mix(n, 50, 300)
 CROSS JOIN LATERAL (SELECT timestamptz '2025-02-01 08:00:00Z' + n * interval '29 hours') AS t(opened_at)
 ORDER BY n;

ANALYZE;
