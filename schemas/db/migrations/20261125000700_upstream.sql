-- migrate:up

-- Which accounts the commands of a broker's user may name.
CREATE TABLE upstreams (
    user_name text NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_name, account_id)
);

-- The command that an event answers, and the trace that it belongs to.
ALTER TABLE outbox ADD COLUMN correlation_id text, ADD COLUMN traceparent text;

-- migrate:down
