-- name: create
-- A new campaign; who gets it follows in the same transaction.
INSERT INTO campaigns (
    account_id, name, body, template_id, template, device_id, priority, delivery, skip_missing,
    reference, status, send_at, expires_at, traceparent, started_at
)
VALUES (
    $1, $2, $3, $4, $5::jsonb, $6, $7, $8::message_delivery, $9, $10, $11, $12, $13, $14,
    CASE WHEN $11 = 'dispatching' THEN now() END
)
RETURNING id

-- name: put_contacts
-- Note the contacts of a group and of a list of ids, so many in each chunk; how many there are by
-- the reason that keeps them from getting the campaign.
WITH recipient AS (
    SELECT r.*, (row_number() OVER (ORDER BY r.id) - 1) / $6::int AS number
    FROM campaign_contacts($2, $3, $4::bigint[], $5::text[]) r
), chunk AS (
    INSERT INTO campaign_chunks (
        campaign_id, number, contact_ids, phones, names, external_ids, attributes, reasons
    )
    SELECT $1, number, array_agg(id), array_agg(phone), array_agg(name) FILTER (WHERE $7),
        array_agg(external_id) FILTER (WHERE $8), array_agg(attributes) FILTER (WHERE $9),
        array_agg(reason)
    FROM recipient GROUP BY number
    RETURNING reasons
)
SELECT r.reason, count(*) AS recipients FROM chunk, unnest(chunk.reasons) AS r (reason)
GROUP BY r.reason

-- name: count_contacts
-- How many contacts of a group and of a list of ids there are by that reason.
SELECT reason, count(*) AS recipients
FROM campaign_contacts($1, $2, $3::bigint[], $4::text[]) GROUP BY reason

-- name: put_chunk
-- Note some more recipients, after those that are there.
INSERT INTO campaign_chunks (
    campaign_id, number, contact_ids, phones, names, external_ids, attributes, reasons
)
SELECT $1, COALESCE(max(number) + 1, 0), $2::bigint[], $3::text[], $4::text[], $5::text[],
    $6::jsonb[], $7::text[]
FROM campaign_chunks WHERE campaign_id = $1

-- name: members
-- Which of these contacts are in a group.
SELECT contact_id FROM contact_group_members
WHERE group_id = $1 AND contact_id = ANY($2::bigint[])

-- name: counted
-- How many recipients a new campaign has: those that a credit is reserved for, and the others.
UPDATE campaigns SET total = $2::int + $3::int, pending = $2, unfit = $3 WHERE id = $1

-- name: device_limits
-- What limits a device.
SELECT per_second, per_minute, per_hour, per_day,
    recipients_per_day AS new_recipients_per_day, jitter_seconds,
    quiet_start, quiet_end, quiet_timezone
FROM devices WHERE id = $1

-- name: one
-- A campaign of this account.
SELECT c.*, d.per_second, d.per_minute, d.per_hour, d.per_day,
    d.recipients_per_day AS new_recipients_per_day,
    d.jitter_seconds, d.quiet_start, d.quiet_end, d.quiet_timezone,
    NOT d.paused AND d.state IN ('ready', 'throttled') AS device_open
FROM counted_campaigns c JOIN devices d ON d.id = c.device_id
WHERE c.account_id = $1 AND c.id = $2

-- name: page
-- The campaigns of an account, newest first.
SELECT c.*, d.per_second, d.per_minute, d.per_hour, d.per_day,
    d.recipients_per_day AS new_recipients_per_day,
    d.jitter_seconds, d.quiet_start, d.quiet_end, d.quiet_timezone,
    NOT d.paused AND d.state IN ('ready', 'throttled') AS device_open
FROM counted_campaigns c JOIN devices d ON d.id = c.device_id
WHERE c.account_id = $1 AND ($2::bigint IS NULL OR c.id < $2)
ORDER BY c.id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many campaigns there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM campaigns WHERE account_id = $1 LIMIT $2) c

-- name: hold
-- The status of a campaign of this account, which nobody changes until the transaction ends.
SELECT status, started_at FROM campaigns
WHERE account_id = $1 AND id = $2 FOR NO KEY UPDATE

-- name: set_status
-- Bring it to another status.
UPDATE campaigns SET status = $2 WHERE id = $1

-- name: pause_going
-- Pause those that go on. One that somebody else holds is left out: its next message says it again.
UPDATE campaigns SET status = 'paused'
WHERE id IN (
    SELECT id FROM campaigns
    WHERE id = ANY($1::bigint[]) AND status IN ('scheduled', 'dispatching')
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id

-- name: told
-- A campaign as it is told of.
SELECT c.id, c.account_id, c.name, c.status, c.reference, c.total, c.pending, c.unfit, c.started_at,
    c.statuses, k.traceparent
FROM counted_campaigns c JOIN campaigns k ON k.id = c.id WHERE c.id = $1
