-- The same 200 000 rows of 20 tenants four times: governed, read with hand-written conditions, under native row level
-- security, and open. Neighbouring rows belong to different tenants. Needs nothing of the extension.
CREATE ROLE app LOGIN;

CREATE TABLE governed (
    id      int PRIMARY KEY,
    org     text NOT NULL,
    name    text NOT NULL,
    email   text NOT NULL,
    phone   text NOT NULL,
    amount  numeric(10,2) NOT NULL
);
INSERT INTO governed
SELECT n, 'tenant-' || n % 20, 'customer ' || n, 'customer.' || n || '@example.com', '+1-555-' || to_char(n, 'FM000000'),
       (n % 9973) / 7.0
  FROM generate_series(1, 200000) AS n;
CREATE INDEX ON governed (org);

CREATE TABLE by_hand (LIKE governed INCLUDING ALL);
CREATE TABLE rls (LIKE governed INCLUDING ALL);
CREATE TABLE open (LIKE governed INCLUDING ALL);
INSERT INTO by_hand TABLE governed;
INSERT INTO rls TABLE governed;
INSERT INTO open TABLE governed;

ALTER ROLE app SET bench.tenant = 'tenant-1';
ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rls USING (org = current_setting('bench.tenant'));
CREATE VIEW rls_masked WITH (security_invoker) AS
SELECT id, org, name, '***' || substr(email, position('@' IN email)) AS email, '***-' || right(phone, 4) AS phone, amount
  FROM rls;

GRANT SELECT ON governed, by_hand, rls, rls_masked, open TO app;
VACUUM (FREEZE, ANALYZE) governed, by_hand, rls, open;
CHECKPOINT;
