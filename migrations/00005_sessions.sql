-- Who is logged in where, each with its family of refresh tokens. Of tokens there are
-- ids alone; the pair of the last refresh is sealed under a key that only the token
-- before it gives.

-- +goose Up
CREATE TABLE sessions (
    id            text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,128}$'),
    user_id       text COLLATE "C" NOT NULL, -- no reference: users may stand in the file
    client_id     text NOT NULL,
    scopes        text[] NOT NULL DEFAULT '{}',
    fingerprint   text NOT NULL DEFAULT '',
    thumbprint    text NOT NULL DEFAULT '',
    agent         text NOT NULL DEFAULT '',
    address       text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    used_at       timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    ended_at      timestamptz,          -- NULL: it lives
    last_expiry   timestamptz NOT NULL, -- when nothing of it can be alive any more
    current_id    text NOT NULL,        -- jti of the refresh token that is good
    parent_id     text NOT NULL DEFAULT '',
    access_id     text NOT NULL DEFAULT '', -- jti of the access token issued with it
    rotated_at    timestamptz,
    grace_closed  boolean NOT NULL DEFAULT false,
    sealed        bytea
);

CREATE INDEX sessions_of_user ON sessions (user_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_last_expiry ON sessions (last_expiry);
CREATE INDEX sessions_sealed ON sessions (rotated_at) WHERE sealed IS NOT NULL;

-- +goose Down
DROP TABLE sessions;
