-- The four tables of the platform's contract. More columns come with the steps of
-- those who need them.

-- +goose Up
CREATE TABLE gateway_routes (
    id             serial PRIMARY KEY,
    path_pattern   text NOT NULL,
    service_name   text NOT NULL,
    method         text NOT NULL,
    auth_required  boolean NOT NULL DEFAULT true,
    rate_limit_rpm integer NOT NULL DEFAULT 1000 CHECK (rate_limit_rpm > 0),
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (path_pattern, method)
);

CREATE TABLE rate_limit_policies (
    id                  serial PRIMARY KEY,
    policy_name         text NOT NULL UNIQUE,
    requests_per_minute integer NOT NULL CHECK (requests_per_minute > 0),
    burst_capacity      integer NOT NULL CHECK (burst_capacity > 0),
    window_size_seconds integer NOT NULL DEFAULT 60 CHECK (window_size_seconds > 0),
    created_at          timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_clients (
    id                   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_name          text NOT NULL,
    client_secret_hash   text NOT NULL,
    scopes               text[] NOT NULL DEFAULT '{}',
    rate_limit_policy_id integer REFERENCES rate_limit_policies (id),
    is_active            boolean NOT NULL DEFAULT true,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE service_registry (
    id                serial PRIMARY KEY,
    service_name      text NOT NULL,
    endpoint_url      text NOT NULL,
    health_check_url  text,
    weight            integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    is_active         boolean NOT NULL DEFAULT true,
    last_health_check timestamptz,
    health_status     text NOT NULL DEFAULT 'unknown' CHECK (health_status IN ('healthy', 'unhealthy', 'unknown')),
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX service_registry_service ON service_registry (service_name);

-- +goose Down
DROP TABLE service_registry, api_clients, rate_limit_policies, gateway_routes;
