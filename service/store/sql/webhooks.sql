-- name: create
-- A new endpoint, unless the account has as many as it may; the account row keeps others waiting.
WITH account AS MATERIALIZED (
    SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE
)
INSERT INTO webhook_endpoints (account_id, url, events, description, is_active, secret)
SELECT id, $2, $3, $4, $5, $6 FROM account
WHERE (SELECT count(*) FROM webhook_endpoints WHERE account_id = $1) < $7
RETURNING id, url, events, description, is_active, disabled_reason, failing_since, created_at,
    updated_at

-- name: one
-- An endpoint of this account.
SELECT id, url, events, description, is_active, disabled_reason, failing_since, created_at,
    updated_at
FROM webhook_endpoints WHERE account_id = $1 AND id = $2

-- name: page
-- The endpoints of an account, newest first.
SELECT id, url, events, description, is_active, disabled_reason, failing_since, created_at,
    updated_at
FROM webhook_endpoints
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many endpoints an account has.
SELECT count(*) FROM webhook_endpoints WHERE account_id = $1

-- name: update
-- Change what is given; switched on again, it begins without its past.
UPDATE webhook_endpoints SET
    url = COALESCE($3, url),
    events = COALESCE($4::text[], events),
    description = CASE WHEN $5 THEN $6 ELSE description END,
    is_active = COALESCE($7, is_active),
    disabled_reason = CASE WHEN $7 IS NULL THEN disabled_reason END,
    failures = CASE WHEN $7 THEN 0 ELSE failures END,
    failing_since = CASE WHEN $7 THEN NULL ELSE failing_since END,
    closed_until = CASE WHEN $7 OR $3 IS NOT NULL THEN NULL ELSE closed_until END,
    updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING id, url, events, description, is_active, disabled_reason, failing_since, created_at,
    updated_at

-- name: rotate
-- A new secret; the one before goes on signing beside it for a while.
UPDATE webhook_endpoints SET old_secret = secret, old_secret_until = now() + make_interval(secs => $4),
    secret = $3, updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING id, url, events, description, is_active, disabled_reason, failing_since, created_at,
    updated_at

-- name: delete
-- Gone, with its deliveries.
DELETE FROM webhook_endpoints WHERE account_id = $1 AND id = $2 RETURNING id

-- name: deliveries
-- What was or will be delivered to an endpoint, newest first.
SELECT id, event_id, type, state, attempts, CASE WHEN state = 'pending' THEN due_at END AS due_at,
    last_at, last_status, last_error, created_at
FROM webhook_deliveries
WHERE endpoint_id = $1 AND ($2::bigint IS NULL OR id < $2) AND ($5::text IS NULL OR state = $5)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count_deliveries
-- How many deliveries there are, counted up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM webhook_deliveries
    WHERE endpoint_id = $1 AND ($2::text IS NULL OR state = $2) LIMIT $3
) d

-- name: replay
-- Deliver this once more, from the first try on.
UPDATE webhook_deliveries d SET state = 'pending', attempts = 0, due_at = now()
FROM webhook_endpoints e
WHERE d.id = $3 AND d.endpoint_id = $2 AND e.id = d.endpoint_id AND e.account_id = $1
RETURNING d.id, d.event_id, d.type, d.state, d.attempts, d.due_at, d.last_at, d.last_status,
    d.last_error, d.created_at

-- name: replay_failed
-- Deliver once more what failed of the events since then, the oldest first and a bounded number.
WITH again AS (
    UPDATE webhook_deliveries SET state = 'pending', attempts = 0, due_at = now()
    WHERE id IN (
        SELECT d.id FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
        WHERE e.account_id = $1 AND e.id = $2 AND d.state = 'failed' AND d.created_at >= $3
        ORDER BY d.id LIMIT $4
    )
    RETURNING 1
)
SELECT count(*) FROM again

-- name: listening
-- Which of these accounts have an endpoint at all; most have none, and cost no more than this.
SELECT DISTINCT account_id FROM webhook_endpoints
WHERE is_active AND account_id = ANY($1::bigint[])

-- name: feed
-- Note each event for every endpoint that wants it; one that was noted before stays as it is.
INSERT INTO webhook_deliveries (endpoint_id, event_id, type, body, traceparent)
SELECT e.id, v.event_id, v.type, v.body, v.traceparent
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[])
    AS v (account_id, event_id, type, body, traceparent)
JOIN webhook_endpoints e ON e.account_id = v.account_id AND e.is_active
    AND e.events && ARRAY['*', v.type, split_part(v.type, '.', 1) || '.*']
ON CONFLICT (endpoint_id, event_id) DO NOTHING

-- name: take
-- The next deliveries to make, at most so many of each endpoint; an endpoint that fails is tried
-- singly. They are this process's until `due_at`; then somebody else may try.
WITH open AS (
    SELECT e.id, CASE WHEN e.failures >= $3 THEN 1 ELSE $2 END - COALESCE(b.count, 0) AS room
    FROM webhook_endpoints e
    LEFT JOIN (
        SELECT id, count(*) FROM unnest($1::bigint[]) AS busy (id) GROUP BY id
    ) b ON b.id = e.id
    WHERE e.is_active AND COALESCE(e.closed_until <= now(), true)
), due AS MATERIALIZED (
    SELECT d.id
    FROM open CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE endpoint_id = open.id AND state = 'pending' AND due_at <= now()
        ORDER BY due_at LIMIT GREATEST(open.room, 0)
        FOR UPDATE SKIP LOCKED
    ) d
    LIMIT $4
)
UPDATE webhook_deliveries d SET due_at = now() + make_interval(secs => $5)
FROM due, webhook_endpoints e
WHERE d.id = due.id AND e.id = d.endpoint_id
RETURNING d.id, d.endpoint_id, d.event_id, d.type, d.body, d.traceparent, d.attempts, d.created_at,
    e.url,
    e.secret, e.failures, e.failing_since,
    CASE WHEN e.old_secret_until > now() THEN e.old_secret END AS old_secret

-- name: delivered
-- The receiver took it.
WITH done AS (
    UPDATE webhook_deliveries SET state = 'delivered', attempts = attempts + 1, last_at = now(),
        last_status = $3, last_error = NULL
    WHERE id = $1
)
UPDATE webhook_endpoints SET failures = 0, failing_since = NULL, closed_until = NULL
WHERE id = $2 AND (failures > 0 OR failing_since IS NOT NULL)

-- name: failed
-- The receiver did not take it: again after $5 seconds, or never when that is NULL. The endpoint
-- is left alone for $6 seconds, and switched off when $7 says why.
WITH done AS (
    UPDATE webhook_deliveries SET
        state = CASE WHEN $5::double precision IS NULL THEN 'failed' ELSE 'pending' END,
        attempts = attempts + 1, last_at = now(), last_status = $3, last_error = $4,
        due_at = now() + make_interval(secs => COALESCE($5, 0))
    WHERE id = $1
)
UPDATE webhook_endpoints SET failures = failures + 1,
    failing_since = COALESCE(failing_since, now()),
    closed_until = GREATEST(closed_until, now() + make_interval(secs => $6)),
    is_active = is_active AND $7::text IS NULL,
    disabled_reason = COALESCE($7, disabled_reason)
WHERE id = $2

-- name: backlog
-- How many deliveries are due, counted up to a limit, and for how long the oldest has been.
SELECT count(*) AS due, COALESCE(EXTRACT(epoch FROM now() - min(due_at)), 0)::double precision
    AS oldest_seconds
FROM (
    SELECT d.due_at FROM webhook_endpoints e
    CROSS JOIN LATERAL (
        SELECT due_at FROM webhook_deliveries
        WHERE endpoint_id = e.id AND state = 'pending' AND due_at <= now()
        ORDER BY due_at LIMIT 1000
    ) d
    WHERE e.is_active LIMIT 10000
) w

-- name: prune
-- Forget old deliveries.
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE created_at < now() - make_interval(days => $1)
    ORDER BY created_at LIMIT $2
)
