-- An error of a cast prints the value that it failed on. Where a policy's own expression fails, that is the raw value of a
-- masked column, or a value of a row that the policy was about to hide; which expression failed cannot be told from the error.
-- alice reads codes masked by an expression that casts, and sees the bills whose text is a number below 100.
CREATE ROLE valerr_alice LOGIN;
CREATE SCHEMA valerr;
GRANT ALL ON SCHEMA valerr TO valerr_alice;
SET search_path = valerr;
CREATE TABLE codes (id int PRIMARY KEY, code text, note text);
INSERT INTO codes VALUES (1, '10', 'n1'), (2, 'raw-code', 'n2');
CREATE TABLE bills (id int, amount text);
INSERT INTO bills VALUES (1, '7'), (2, 'raw-amount');
CREATE TABLE documents (id int, body text);
INSERT INTO documents VALUES (1, '{"raw": raw-body}');
CREATE TABLE quiet (id int, note text);
INSERT INTO quiet VALUES (1, 'mine');
CREATE TABLE plain (id int, note text);
INSERT INTO plain VALUES (1, 'open');
GRANT ALL ON ALL TABLES IN SCHEMA valerr TO valerr_alice;
SELECT betweenrows.mask_column('codes', 'code', '(code::int + 1)::text', 'valerr code');
SELECT betweenrows.filter_rows('bills', 'amount::int < 100', 'valerr bills');
SELECT betweenrows.mask_column('documents', 'body', '(body::json ->> ''raw'')', 'valerr body');
SELECT betweenrows.filter_rows('quiet', 'id < 100', 'valerr quiet');
-- Everything that an exception handler is told.
CREATE FUNCTION told(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; detail text; hint text; context text; datatype text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT, datatype = PG_DATATYPE_NAME;
    RETURN concat_ws(' | ', SQLSTATE, message, detail, hint, context, datatype);
END $$;
GRANT EXECUTE ON FUNCTION told TO valerr_alice;

-- The raw view of a superuser: casts print what they fail on.
SELECT (code::int + 1)::text FROM codes;  -- fail
SELECT * FROM bills WHERE amount::int < 100;  -- fail
SELECT body::json ->> 'raw' FROM documents;  -- fail

-- Viewpoint of alice.
SET SESSION AUTHORIZATION valerr_alice;
SELECT code FROM codes WHERE id = 1;
SELECT code FROM codes;  -- fail
SELECT * FROM bills;  -- fail
SELECT body FROM documents;  -- fail
SELECT told('SELECT code FROM valerr.codes');
SELECT told('SELECT * FROM valerr.bills');
SELECT told('SELECT body FROM valerr.documents');
UPDATE codes SET note = code;  -- fail
-- The plan of a prepared statement, of a function and of a cursor was made before it runs.
PREPARE p AS SELECT code FROM codes;
EXECUTE p;  -- fail
CREATE FUNCTION first_code(int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT code FROM valerr.codes WHERE id = $1); END $$;
SELECT first_code(1);
SELECT first_code(2);  -- fail
BEGIN;
DECLARE c CURSOR FOR SELECT code FROM codes;
SELECT 1;
FETCH 1 FROM c;
FETCH 1 FROM c;  -- fail
ROLLBACK;
-- In a savepoint, after an error.
BEGIN;
SAVEPOINT s;
SELECT code FROM codes;  -- fail
ROLLBACK TO s;
SELECT code FROM codes;  -- fail
SELECT 1;  -- fail
ROLLBACK TO s;
SELECT code FROM codes;  -- fail
SELECT 1;  -- fail
ROLLBACK;
SELECT code FROM codes;  -- fail
-- Her own mistakes: in full where nothing has run, without the value where such a policy runs too.
SELECT 'mine'::int FROM codes;  -- fail
SELECT note::int FROM codes WHERE id = 1;  -- fail
SELECT 1 / (id - 1) FROM codes WHERE id = 1;  -- fail
-- In full where the policies cannot fail, and where there are none; also right after a statement that was not told.
SELECT note::int FROM quiet;  -- fail
SELECT note::int FROM plain;  -- fail
SELECT told('SELECT note::int FROM valerr.plain');
RESET SESSION AUTHORIZATION;
-- A superuser is told everything, in the same session.
SELECT code::int FROM codes;  -- fail

SELECT count(betweenrows.drop_policy(name)) FROM betweenrows.policies WHERE name LIKE 'valerr %';
SET client_min_messages = warning;
DROP SCHEMA valerr CASCADE;
DROP ROLE valerr_alice;
