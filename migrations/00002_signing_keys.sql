-- The keys that sign tokens, encrypted by the gateway: the database only carries them.

-- +goose Up
CREATE TABLE signing_keys (
    kid          text PRIMARY KEY,
    purpose      text NOT NULL CHECK (purpose IN ('access', 'refresh', 'internal')),
    sealed       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    signs_at     timestamptz NOT NULL,
    life_seconds bigint NOT NULL CHECK (life_seconds >= 0)
);

-- +goose Down
DROP TABLE signing_keys;
