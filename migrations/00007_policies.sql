-- Policies that count otherwise than a token bucket, and instances that hear of changes.

-- +goose Up
-- A token bucket is requests_per_minute with burst_capacity. The other algorithms admit
-- requests_per_minute * window_size_seconds / 60, rounded down, in any window of that size.
ALTER TABLE rate_limit_policies ADD COLUMN algorithm text NOT NULL DEFAULT 'token_bucket'
    CHECK (algorithm IN ('token_bucket', 'sliding_window', 'sliding_log'));

-- Rows that an operator writes by hand are felt at once too.
-- +goose StatementBegin
CREATE FUNCTION rate_limit_policies_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('rate_limit_policies', '');
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER rate_limit_policies_tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rate_limit_policies
    FOR EACH STATEMENT EXECUTE FUNCTION rate_limit_policies_tell();

-- +goose Down
DROP TRIGGER rate_limit_policies_tell ON rate_limit_policies;
DROP FUNCTION rate_limit_policies_tell;
ALTER TABLE rate_limit_policies DROP COLUMN algorithm;
