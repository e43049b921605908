-- +goose Up

-- A client's policy by name, for policies may stand in the file as well.
ALTER TABLE api_clients ADD COLUMN IF NOT EXISTS policy text NOT NULL DEFAULT '';
ALTER TABLE api_clients ADD COLUMN IF NOT EXISTS redirect_uris text[] NOT NULL DEFAULT '{}';

CREATE TABLE api_keys (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    key_id      text COLLATE "C" NOT NULL UNIQUE CHECK (key_id ~ '^[0-9A-Za-z]{16}$'), -- what stands in the key
    name        text NOT NULL DEFAULT '',
    client_id   uuid REFERENCES api_clients (id) ON DELETE CASCADE,
    user_id     text NOT NULL DEFAULT '', -- of table users, or of somebody else's with a prefix (SECURITY I1)
    scopes      text[] NOT NULL DEFAULT '{}',
    policy      text NOT NULL DEFAULT '',
    allow_from  cidr[] NOT NULL DEFAULT '{}',
    expires_at  timestamptz,
    is_active   boolean NOT NULL DEFAULT true,
    user_active boolean NOT NULL DEFAULT true, -- false once its user of table users is disabled or deleted; triggers keep it
    revision    bigint NOT NULL DEFAULT 1, -- grows with each change of the key or of its client
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (client_id IS NOT NULL OR user_id <> '')
);
CREATE INDEX api_keys_client ON api_keys (client_id);
CREATE INDEX api_keys_user ON api_keys (user_id) WHERE user_id <> '';

-- All secrets a key ever had; only the newest four are looked at.
CREATE TABLE api_key_versions (
    key        uuid NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    number     integer NOT NULL CHECK (number > 0),
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32), -- SHA-256 of id and secret
    created_at timestamptz NOT NULL DEFAULT now(),
    until      timestamptz, -- null: as long as the key
    PRIMARY KEY (key, number)
);

CREATE TABLE api_key_usage (
    key       uuid NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    hour      timestamptz NOT NULL,
    route     text COLLATE "C" NOT NULL,
    version   integer NOT NULL,
    requests  bigint NOT NULL,
    errors    bigint NOT NULL,
    limited   bigint NOT NULL,
    bytes_in  bigint NOT NULL,
    bytes_out bigint NOT NULL,
    last_used timestamptz NOT NULL,
    PRIMARY KEY (key, hour, route, version)
);
CREATE INDEX api_key_usage_hour ON api_key_usage (hour); -- for those who delete old hours

-- What was added, so that a gateway which does not know may ask again; for a day.
CREATE TABLE api_key_usage_batches (
    id       uuid PRIMARY KEY,
    added_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_key_usage_batches_added ON api_key_usage_batches (added_at);

-- Apart from api_keys, for it is written with each flush and its changes are told to nobody.
CREATE TABLE api_key_last_used (
    key       uuid PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    last_used timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Whoever changes a key, its client or its user, by hand as well, gives the key a new revision
-- and tells all gateways of it when the change is committed. (Who changes a version
-- by hand touches its key, too.)

-- +goose StatementBegin
CREATE FUNCTION api_keys_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.revision <= OLD.revision THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION api_keys_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify('api_keys', OLD.key_id || ' ' || OLD.revision + 1);
    ELSE
        PERFORM pg_notify('api_keys', NEW.key_id || ' ' || NEW.revision);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION api_clients_tell_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_keys SET updated_at = now() WHERE client_id = NEW.id;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION api_keys_ask_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.user_active := coalesce((SELECT is_active FROM users WHERE id::text = NEW.user_id), true);
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION users_tell_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE api_keys SET user_active = false WHERE user_id = OLD.id::text;
    ELSE
        UPDATE api_keys SET user_active = NEW.is_active WHERE user_id = NEW.id::text;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
BEGIN
    IF to_regclass('users') IS NOT NULL THEN
        CREATE TRIGGER api_keys_ask_user BEFORE INSERT ON api_keys FOR EACH ROW WHEN (NEW.user_id <> '') EXECUTE FUNCTION api_keys_ask_user();
        CREATE TRIGGER users_tell_keys AFTER UPDATE OF is_active OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION users_tell_keys();
    END IF;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER api_keys_revise BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION api_keys_revise();
CREATE TRIGGER api_keys_tell AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION api_keys_tell();
CREATE TRIGGER api_clients_tell_keys AFTER UPDATE ON api_clients FOR EACH ROW
    WHEN ((OLD.is_active, OLD.scopes, OLD.policy, OLD.rate_limit_policy_id) IS DISTINCT FROM (NEW.is_active, NEW.scopes, NEW.policy, NEW.rate_limit_policy_id))
    EXECUTE FUNCTION api_clients_tell_keys();

-- +goose Down
DROP TABLE api_key_last_used, api_key_usage_batches, api_key_usage, api_key_versions, api_keys;
DROP FUNCTION users_tell_keys, api_keys_ask_user, api_clients_tell_keys, api_keys_tell, api_keys_revise CASCADE; -- with their triggers
ALTER TABLE api_clients DROP COLUMN redirect_uris, DROP COLUMN policy;
