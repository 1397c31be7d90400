-- migrate:up

-- What a device may not send to for a while, by the word of its provider: a phone, or `template:`
-- and an id. Each ends by itself.
CREATE TABLE holds (
    device_id bigint NOT NULL,
    name text NOT NULL,
    hold_until timestamptz NOT NULL,
    code text NOT NULL,
    PRIMARY KEY (device_id, name)
);
CREATE INDEX holds_expiry ON holds (hold_until);

-- Why the service itself took a device out of use, until somebody resumes it.
ALTER TABLE devices ADD COLUMN state_reason text;

-- migrate:down
