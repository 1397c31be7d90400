-- migrate:up

-- Public events that were published, kept for a while so that they can be published once more to a
-- queue that has lost them; the text of what persons wrote stays sealed. The id is that of the
-- outbox, which rises with the time.
CREATE TABLE events (
    id bigint PRIMARY KEY,
    account_id bigint NOT NULL,
    at timestamptz NOT NULL,
    routing_key text NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    correlation_id text
);
CREATE INDEX events_account ON events (account_id, at, id);

-- migrate:down
