-- name: lead
-- Be the one who looks, for as long as this session lasts.
SELECT pg_try_advisory_lock(hashtext('hantar.samples'))

-- name: outbox
-- How much of each kind waits to be handed over, and for how long the oldest has.
SELECT CASE exchange WHEN 'hantar.events' THEN 'event' ELSE 'command' END AS kind,
    count(*) AS entries, EXTRACT(epoch FROM now() - min(created_at))::double precision AS seconds
FROM (SELECT exchange, created_at FROM outbox ORDER BY id LIMIT 50000) o
GROUP BY 1

-- name: parked
-- What is parked, by why and whether its time has come: what is due waits for its device or its
-- campaign, if these may not send. And of devices that may the ten whose oldest is due for longest.
WITH flows AS MATERIALIZED (
    SELECT device_id, flow, reason, not_before <= now() AS due, count(*) AS messages,
        min(not_before) AS oldest
    FROM parked GROUP BY 1, 2, 3, 4
), told AS MATERIALIZED (
    SELECT f.device_id, f.due, f.messages, f.oldest,
        CASE WHEN f.due THEN COALESCE(CASE WHEN c.status = 'paused' THEN 'paused' END, w.reason)
        END AS kept_by, f.reason
    FROM flows f
    LEFT JOIN devices d ON d.id = f.device_id AND d.deleted_at IS NULL
    LEFT JOIN LATERAL device_wait(d) w ON d.id IS NOT NULL
    LEFT JOIN campaigns c ON c.id = f.flow
), lagging AS (
    SELECT device_id, sum(messages)::bigint AS messages, min(oldest) AS oldest
    FROM told WHERE due AND kept_by IS NULL
    GROUP BY device_id ORDER BY min(oldest) LIMIT 10
)
SELECT NULL::bigint AS device_id, COALESCE(kept_by, reason) AS reason, due,
    sum(messages)::bigint AS messages,
    GREATEST(EXTRACT(epoch FROM now() - min(oldest)), 0)::double precision AS seconds
FROM told GROUP BY 2, 3
UNION ALL
SELECT device_id, NULL, true, messages,
    GREATEST(EXTRACT(epoch FROM now() - oldest), 0)::double precision
FROM lagging

-- name: devices
-- How many devices of each driver are in which state, and why they may not send now, if they may not;
-- and how many of them need more than $1 seconds until they have their full rate again.
SELECT d.driver, device_state(d) AS state, w.reason, count(*) AS devices,
    count(*) FILTER (WHERE d.factor_until > now() + make_interval(secs => $1)) AS slowed
FROM devices d LEFT JOIN LATERAL device_wait(d) w ON true
WHERE d.deleted_at IS NULL
GROUP BY 1, 2, 3

-- name: newest_message
-- The highest id given out.
SELECT last_value FROM messages_id_seq

-- name: silent_devices
-- Of each driver the ready devices whose last messages were all taken, and none delivered although
-- there was time; it looks at messages between these ids and at as many of a device as $3.
WITH taken AS (
    SELECT device_id, delivered_at,
        row_number() OVER (PARTITION BY device_id ORDER BY sent_at DESC) AS nth
    FROM messages
    WHERE id BETWEEN $1 AND $2 AND sent_at < now() - make_interval(secs => $4)
        AND sent_at > now() - make_interval(secs => $4) - interval '1 hour'
)
SELECT d.driver, count(*) AS devices
FROM (
    SELECT device_id FROM taken WHERE nth <= $3
    GROUP BY device_id HAVING count(*) = $3 AND count(delivered_at) = 0
) s JOIN devices d ON d.id = s.device_id
WHERE d.deleted_at IS NULL AND device_state(d) = 'ready'
GROUP BY d.driver

-- name: doubts
-- How many unconfirmed messages wait for what, and for how long the oldest has waited for a callback.
SELECT awaits, count(*) AS messages,
    EXTRACT(epoch FROM now() - min(due_at) + make_interval(secs => $1))::double precision AS seconds
FROM doubts GROUP BY awaits

-- name: campaigns
-- Campaigns that are not over: how many there are, what is left to do, and since when nobody did.
SELECT status, count(*) AS campaigns, sum(pending)::bigint AS pending,
    COALESCE(EXTRACT(epoch FROM now() - min(GREATEST(worked_at, rests_until))
        FILTER (WHERE pending > 0)), 0)::double precision AS seconds
FROM campaigns WHERE closed_at IS NULL AND status IN ('scheduled', 'dispatching', 'paused')
GROUP BY status

-- name: imports
-- Rows of imports that are not worked off, and since when nobody worked on the oldest.
SELECT COALESCE(sum(rows - done), 0)::bigint AS rows,
    COALESCE(EXTRACT(epoch FROM now() - min(worked_at)), 0)::double precision AS seconds
FROM contact_imports WHERE state IN ('queued', 'running')

-- name: endpoints
-- Webhook endpoints, by whether they take what they are called with.
SELECT CASE WHEN NOT is_active THEN 'off' WHEN failures > 0 THEN 'refusing' ELSE 'taking' END
    AS state, count(*) AS endpoints
FROM webhook_endpoints WHERE is_active OR disabled_reason IS NOT NULL GROUP BY 1

-- name: database
-- How busy the server is with this database, as far as this user may see it.
SELECT
    count(*) FILTER (WHERE state = 'active') AS active,
    count(*) FILTER (WHERE state = 'idle') AS idle,
    count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
    count(*) FILTER (WHERE wait_event_type = 'Lock') AS locks,
    GREATEST(0, EXTRACT(epoch FROM max(now() - xact_start)))::double precision AS transaction_seconds,
    current_setting('max_connections')::integer AS most,
    pg_database_size(current_database()) AS bytes,
    COALESCE((SELECT max(n_dead_tup) FROM pg_stat_user_tables), 0) AS dead_rows
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()

-- name: top
-- What devices do right now, those with most to do first: it looks at the newest messages, between
-- these ids, and at what is parked.
WITH recent AS (
    SELECT device_id,
        count(*) FILTER (WHERE sent_at > now() - make_interval(secs => $3)) AS sent,
        count(*) FILTER (WHERE status = 'sending') AS sending,
        count(*) FILTER (WHERE status = 'unconfirmed') AS unconfirmed,
        count(*) FILTER (WHERE failed_at > now() - interval '5 minutes') AS failed,
        (array_agg(error_code ORDER BY id DESC) FILTER (WHERE error_code IS NOT NULL))[1] AS error,
        GREATEST(EXTRACT(epoch FROM now() - min(COALESCE(send_at, created_at))
            FILTER (WHERE status = 'queued')), 0)::double precision AS oldest_seconds
    FROM messages WHERE id BETWEEN $1 AND $2 GROUP BY device_id
), waiting AS (
    SELECT device_id, count(*) AS parked, count(*) FILTER (WHERE not_before <= now()) AS due
    FROM parked GROUP BY device_id
)
SELECT d.id, d.name, d.driver, d.shard, device_state(d) AS state, w.reason,
    LEAST(d.per_second, d.per_minute / 60.0)::double precision AS most, r.sent / $3 AS rate,
    COALESCE(r.sending, 0) AS sending, COALESCE(p.due, 0) AS due, COALESCE(p.parked, 0) AS parked,
    r.oldest_seconds, COALESCE(r.unconfirmed, 0) AS unconfirmed, COALESCE(r.failed, 0) AS failed,
    r.error
FROM devices d
LEFT JOIN recent r ON r.device_id = d.id
LEFT JOIN waiting p ON p.device_id = d.id
LEFT JOIN LATERAL device_wait(d) w ON true
WHERE d.deleted_at IS NULL
ORDER BY COALESCE(r.sent, 0) + COALESCE(p.due, 0) DESC, d.id
LIMIT $4
