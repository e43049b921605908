-- People who can log in, their second factors and recovery codes. Passwords and
-- recovery codes are hashed, TOTP secrets encrypted by the gateway.

-- +goose Up
CREATE TABLE users (
    -- By bytes, whatever the locale of the database: the list is read in pages by it.
    id            text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,128}$'),
    email         text COLLATE "C" NOT NULL UNIQUE CHECK (octet_length(email) BETWEEN 3 AND 255),
    password_hash text NOT NULL,
    scopes        text[] NOT NULL DEFAULT '{}',
    is_active     boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_factors (
    user_id    text COLLATE "C" PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed     bytea NOT NULL,
    confirmed  boolean NOT NULL DEFAULT false,
    last_step  bigint NOT NULL DEFAULT 0, -- its codes and earlier ones are used up
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_recovery_codes (
    user_id text COLLATE "C" NOT NULL REFERENCES user_factors (user_id) ON DELETE CASCADE,
    hash    bytea NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- +goose Down
DROP TABLE user_recovery_codes, user_factors, users;
