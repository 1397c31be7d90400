-- name: one
-- A device, of this account or of any.
SELECT d.id, d.account_id, d.name, d.driver, d.phone, d.state AS stored_state,
    device_state(d) AS state, d.state_changed_at, d.is_default, d.portfolio, d.per_second,
    d.per_minute, d.per_hour, d.per_day, d.pair_seconds, d.new_recipients_per_day,
    d.jitter_seconds, d.warm_up_days, d.quiet_start, d.quiet_end, d.quiet_timezone, d.settings,
    d.secrets, d.credential, d.standing, d.created_at, d.updated_at
FROM devices d
WHERE d.id = $1 AND ($2::bigint IS NULL OR d.account_id = $2) AND d.deleted_at IS NULL

-- name: page
-- The devices of an account, or of all, newest first.
SELECT d.id, d.account_id, d.name, d.driver, d.phone, d.state AS stored_state,
    device_state(d) AS state, d.state_changed_at, d.is_default, d.portfolio, d.per_second,
    d.per_minute, d.per_hour, d.per_day, d.pair_seconds, d.new_recipients_per_day,
    d.jitter_seconds, d.warm_up_days, d.quiet_start, d.quiet_end, d.quiet_timezone, d.settings,
    d.secrets, d.standing, d.created_at, d.updated_at
FROM devices d
WHERE ($1::bigint IS NULL OR d.account_id = $1) AND d.deleted_at IS NULL
    AND ($2::bigint IS NULL OR d.id < $2)
ORDER BY d.id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many devices an account has.
SELECT count(*) FROM devices WHERE account_id = $1 AND deleted_at IS NULL

-- name: lock_account
-- Let one change of an account's devices happen after the other: which is the default, how many.
SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE

-- name: new_id
-- The id of a device to be, which decides its shard.
SELECT nextval(pg_get_serial_sequence('devices', 'id'))

-- name: create
-- A new device; the first of an account becomes its default.
INSERT INTO devices (id, account_id, driver, state, name, is_default, portfolio, shard, per_second,
    per_minute, per_hour, per_day, pair_seconds, new_recipients_per_day, jitter_seconds,
    warm_up_days, quiet_start, quiet_end, quiet_timezone, settings, secrets, credential)
VALUES ($1, $2, $3, $4, $5,
    $6 OR NOT EXISTS (
        SELECT FROM devices WHERE account_id = $2 AND is_default AND deleted_at IS NULL),
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)

-- name: clear_default
-- No device of the account is its default.
UPDATE devices SET is_default = false WHERE account_id = $1 AND is_default

-- name: update
-- A device as it shall be. One that moves to another shard rests until what its former owner has
-- claimed is over, and goes on with higher epochs than it had there.
UPDATE devices d SET
    name = $2, is_default = $3, portfolio = $4, shard = $5, per_second = $6, per_minute = $7,
    per_hour = $8, per_day = $9, pair_seconds = $10, new_recipients_per_day = $11,
    jitter_seconds = $12, warm_up_days = $13, quiet_start = $14, quiet_end = $15,
    quiet_timezone = $16, settings = $17, secrets = $18, credential = $19,
    updated_at = now(),
    fence = CASE WHEN d.shard = $5 THEN d.fence ELSE d.fence + 1 + (
        SELECT former.epoch - next.epoch FROM shard_leases former, shard_leases next
        WHERE former.shard = d.shard AND next.shard = $5) END,
    hold_until = CASE WHEN d.shard = $5 THEN d.hold_until
        ELSE GREATEST(d.hold_until, clock_timestamp() + interval '1 second') END
WHERE d.id = $1

-- name: delete
-- Forget a device and its secrets; its messages that wait are skipped as they come up.
UPDATE devices SET deleted_at = now(), updated_at = now(), is_default = false, secrets = '{}',
    credential = NULL
WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL
RETURNING id

-- name: change_state
-- Pause a device, let it go on, or note its state and phone; what is null stays as it is. One that
-- is out of use until a person decides is ready again when it is let go on.
WITH before AS MATERIALIZED (
    SELECT d.id, device_state(d) AS state,
        COALESCE($4, CASE WHEN NOT $3::boolean AND (
            d.state IN ('error', 'incompatible', 'paused')
            OR d.state = 'disconnected' AND d.state_reason = 'another program uses the session'
        ) THEN 'ready' END) AS next
    FROM devices d
    WHERE d.id = $1 AND ($2::bigint IS NULL OR d.account_id = $2) AND d.deleted_at IS NULL
    FOR NO KEY UPDATE
)
UPDATE devices d SET
    paused = COALESCE($3, d.paused),
    state = COALESCE(before.next, d.state),
    state_reason = CASE WHEN before.next IS NULL THEN d.state_reason ELSE $6 END,
    phone = COALESCE($5, d.phone),
    state_changed_at = CASE
        WHEN d.paused IS DISTINCT FROM COALESCE($3, d.paused) THEN now()
        WHEN NOT d.paused AND d.state IS DISTINCT FROM COALESCE(before.next, d.state) THEN now()
        ELSE d.state_changed_at
    END,
    updated_at = now()
FROM before WHERE d.id = before.id
RETURNING d.account_id, before.state AS before, device_state(d) AS state, d.updated_at AS at

-- name: is_timezone
-- Whether the database knows a time zone by this name.
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1)

-- name: of_driver
-- Every device of a driver, with what its provider knows it by.
SELECT id, settings, secrets, phone FROM devices WHERE driver = $1 AND deleted_at IS NULL ORDER BY id

-- name: settings
-- What the provider of a device knows it by.
SELECT settings, secrets, phone FROM devices WHERE id = $1 AND deleted_at IS NULL

-- name: said_of_link
-- Note when a device was said to be in a state; false when something newer was said before.
UPDATE devices SET link_said_at = $2
WHERE id = $1 AND deleted_at IS NULL AND COALESCE(link_said_at <= $2, true)
RETURNING true
