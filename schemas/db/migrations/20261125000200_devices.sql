-- migrate:up

ALTER TABLE devices
    DROP COLUMN secrets,
    -- by name, each sealed and in base64
    ADD COLUMN secrets jsonb NOT NULL DEFAULT '{}',
    -- added to the lease's epoch in every call: a device that moves to a shard of lower epochs goes
    -- on with higher ones, as drivers refuse those they have passed
    ADD COLUMN fence bigint NOT NULL DEFAULT 0,
    ADD COLUMN state_changed_at timestamptz NOT NULL DEFAULT now();

-- The state as callers see it: a pause comes before everything, a hold is a throttle that passes.
CREATE FUNCTION device_state(d devices) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN d.paused THEN 'paused'
        WHEN d.state = 'ready' AND d.hold_until > now() THEN 'throttled'
        ELSE d.state
    END
$$;

-- migrate:down
