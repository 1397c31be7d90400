-- name: shards
-- How many shards the installation was made with.
SELECT shards FROM installation

-- name: invalid_indexes
-- Indexes of this schema that are not complete, as after a build that failed.
SELECT i.indexrelid::regclass::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace ORDER BY 1

-- name: clock
-- What time it is there.
SELECT EXTRACT(epoch FROM clock_timestamp())::double precision

-- name: events_led
-- Whether a session is the one that publishes events.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = hashtext('hantar.events')
)

-- name: broken_devices
-- Devices that were taken out of use, or lost their phone, and wait for a person.
SELECT id, state, state_reason AS reason FROM devices
WHERE deleted_at IS NULL AND NOT paused AND state IN ('error', 'logged_out', 'incompatible')
ORDER BY id LIMIT 1000

-- name: unlinked_devices
-- Devices that were never made ready to send.
SELECT id, driver FROM devices
WHERE deleted_at IS NULL AND NOT paused AND state IN ('unlinked', 'linking')
ORDER BY id LIMIT 1000

-- name: has_devices
-- Whether a device of this driver is in use.
SELECT EXISTS (SELECT FROM devices WHERE deleted_at IS NULL AND NOT paused AND driver = $1)

-- name: sealed_devices
-- Devices whose secrets a key opens.
SELECT id, secrets FROM devices WHERE deleted_at IS NULL AND secrets <> '{}' ORDER BY id LIMIT 1000
