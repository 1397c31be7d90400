-- migrate:up

-- The account that a public event is about; its body names it. Immutable, as the encoding of the
-- database never changes.
CREATE FUNCTION event_account(body bytea) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (convert_from(body, 'UTF8')::json ->> 'account')::bigint $$;

-- The same whoever writes the entry, a process of the former version too.
ALTER TABLE outbox ADD COLUMN account_id bigint GENERATED ALWAYS AS (
    CASE WHEN exchange = 'hantar.events' THEN event_account(body) END
) STORED;

-- Events are published in this order, by one process at a time.
CREATE INDEX outbox_events ON outbox (id) WHERE exchange = 'hantar.events';

-- migrate:down
