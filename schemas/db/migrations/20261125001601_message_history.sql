-- migrate:up

-- What went otherwise than queued, sent, delivered, read: tries that came to nothing, doubts,
-- refusals, each with why. A message that just arrives has no row here.
CREATE TABLE message_history (
    message_id bigint NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    status message_status NOT NULL,
    code text,
    detail text
);
CREATE INDEX message_history_message ON message_history (message_id);
