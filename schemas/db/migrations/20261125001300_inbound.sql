-- migrate:up

-- What persons wrote to devices, each message once by its provider's id; rows are never changed.
CREATE TABLE inbound_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    device_id bigint NOT NULL,
    phone text NOT NULL,
    kind text NOT NULL,
    -- sealed; null where it is not kept
    text bytea,
    provider_id text NOT NULL,
    at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (device_id, provider_id)
);
CREATE INDEX inbound_messages_account ON inbound_messages (account_id, id);
CREATE INDEX inbound_messages_phone ON inbound_messages (account_id, phone, id);

-- migrate:down
