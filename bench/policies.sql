-- What hand.point.sql and hand.scan.sql say by hand.
CREATE EXTENSION betweenrows;
SELECT betweenrows.define_attribute('tenant', 'string');
SELECT betweenrows.create_user('app', attributes => '{"tenant": "tenant-1"}');
SELECT betweenrows.filter_rows('governed', 'org = {user.tenant}');
SELECT betweenrows.mask_column('governed', 'email', $$'***' || substr(email, position('@' IN email))$$);
SELECT betweenrows.mask_column('governed', 'phone', $$'***-' || right(phone, 4)$$);
