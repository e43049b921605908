-- Revocations of sessions, users and foreign tokens, kept until nothing can be alive
-- that they refuse (SECURITY I4). written is the transaction that wrote a row last: a
-- reader asks for all that may have been committed since it last looked, whatever order
-- transactions ended in.

-- +goose Up
CREATE TABLE revocations (
    key        text COLLATE "C" PRIMARY KEY,
    not_before bigint NOT NULL CHECK (not_before >= 0),
    expires    bigint NOT NULL CHECK (expires > 0),
    written    xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX revocations_written ON revocations (written);
CREATE INDEX revocations_expires ON revocations (expires);

-- Rows that an operator writes by hand are felt at once too.
-- +goose StatementBegin
CREATE FUNCTION revocations_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.written := pg_current_xact_id();
    PERFORM pg_notify('revocations', '');
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER revocations_written BEFORE INSERT OR UPDATE ON revocations
    FOR EACH ROW EXECUTE FUNCTION revocations_written();

-- +goose Down
DROP TABLE revocations;
DROP FUNCTION revocations_written;
