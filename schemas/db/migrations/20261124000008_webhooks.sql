-- migrate:up

CREATE TABLE webhook_endpoints (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    url text NOT NULL,
    -- event types, `kind.*`, or `*`
    events text[] NOT NULL,
    description text,
    is_active boolean NOT NULL DEFAULT true,
    disabled_reason text,
    -- sealed; the old one signs beside the new one until it lapses
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_until timestamptz,
    -- failures in a row, since when, and until when nothing is tried
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    closed_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX webhook_endpoints_account ON webhook_endpoints (account_id, id);

CREATE TABLE webhook_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id bigint NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    event_id text NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    -- the next try while pending
    due_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz,
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- an event may come twice over the bus
    UNIQUE (endpoint_id, event_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at)
    WHERE state = 'pending';
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (endpoint_id, id);
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at);

-- migrate:down
