-- migrate:up

-- When a person last wrote to a device: for 24 hours Meta then takes any text.
CREATE TABLE conversations (
    device_id bigint NOT NULL,
    phone text NOT NULL,
    heard_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, phone)
);
CREATE INDEX conversations_heard ON conversations (heard_at);

-- What the provider thinks of a device: its quality, and how many people it may write to.
ALTER TABLE devices ADD COLUMN standing jsonb;

-- migrate:down
