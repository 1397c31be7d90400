-- migrate:up

-- Which message an id of WhatsApp's is about, as acknowledgements of linked devices name only that.
CREATE TABLE wwebjs_messages (
    wa_id text PRIMARY KEY,
    device_id bigint NOT NULL,
    message_id bigint NOT NULL,
    -- of the call that WhatsApp's message came of
    attempt int NOT NULL,
    -- whether a call may have made a message of it
    taken boolean NOT NULL DEFAULT false,
    -- whether it is still to be asked what became of it
    open boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX wwebjs_messages_open ON wwebjs_messages (device_id, created_at) WHERE open;
CREATE INDEX wwebjs_messages_created ON wwebjs_messages (created_at);

-- Devices that may open no new chats, until when.
CREATE TABLE wwebjs_locks (
    device_id bigint PRIMARY KEY,
    lock_until timestamptz NOT NULL
);

-- When a device was last said to be in its state; an older word changes nothing.
ALTER TABLE devices ADD COLUMN link_said_at timestamptz;

-- migrate:down
