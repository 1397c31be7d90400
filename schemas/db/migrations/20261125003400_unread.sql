-- migrate:up

-- What providers said that nothing here reads, by device and kind: how often, and the last of them.
CREATE TABLE unread_callbacks (
    device_id bigint NOT NULL,
    kind text NOT NULL,
    count bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    -- sealed; null where it is not kept
    body bytea,
    PRIMARY KEY (device_id, kind)
);

-- migrate:down
