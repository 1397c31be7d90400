-- migrate:up

-- The simulator's own memory: devices without a phone, each with the code that would link it.
CREATE TABLE simulator_unlinked (
    device_id bigint PRIMARY KEY,
    nonce bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

-- migrate:down
