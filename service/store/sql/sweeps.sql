-- name: stale_outbox
-- Commands that were not handed over at once, oldest first; they are this sweeper's until the time
-- has passed again.
UPDATE outbox SET offered_at = now()
WHERE id IN (
    SELECT id FROM outbox
    WHERE exchange <> 'hantar.events' AND offered_at < now() - make_interval(secs => $1)
        AND NOT id = ANY($3::bigint[])
    ORDER BY id LIMIT $2
    FOR UPDATE SKIP LOCKED
)
RETURNING id, exchange, routing_key, type, body, correlation_id, traceparent

-- name: delete_outbox
-- Commands that the bus has taken over.
DELETE FROM outbox WHERE id = ANY($1::bigint[])

-- name: lead_events
-- Be the one who publishes events, for as long as this session lasts and is not silent.
SELECT pg_try_advisory_lock(hashtext('hantar.events')) AS leads,
    set_config('idle_session_timeout', $1, false)

-- name: next_events
-- The events to publish next; an event of a message is never seen before those of lower seq.
SELECT id, exchange, routing_key, type, body, correlation_id, traceparent, account_id
FROM outbox
WHERE exchange = 'hantar.events' AND NOT COALESCE(account_id, 0) = ANY($2::bigint[])
ORDER BY id LIMIT $1

-- name: told
-- Events that the bus has taken over are kept by the account they are about.
WITH gone AS (
    DELETE FROM outbox WHERE id = ANY($1::bigint[])
    RETURNING id, account_id, created_at, routing_key, type, body, correlation_id
)
INSERT INTO events (id, account_id, at, routing_key, type, body, correlation_id)
SELECT * FROM gone WHERE account_id IS NOT NULL

-- name: outbox_state
-- How much waits to be handed over, and for how long the oldest command has: that the events of one
-- account are not taken keeps nobody's messages from being sent.
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT 100000) o) AS depth,
    COALESCE(EXTRACT(epoch FROM now() - (
        SELECT created_at FROM outbox WHERE exchange <> 'hantar.events' ORDER BY id LIMIT 1
    )), 0)::double precision AS oldest_seconds

-- name: expired
-- Waiting messages whose time passed in this range and that no claim has come to since, as with
-- a device that is paused.
SELECT id FROM messages
WHERE expires_at > $1 AND expires_at <= LEAST($2, now() - interval '2 seconds')
    AND status IN ('queued', 'scheduled')
ORDER BY expires_at LIMIT $3

-- name: lock_watermark
-- Be the only one who looks for rows that nothing points to.
SELECT message_id FROM watermarks WHERE name = 'unpointed' FOR UPDATE SKIP LOCKED

-- name: oldest_young
-- The last id a look from here may cover: rows after it are too young or too many.
SELECT max(id) FROM (
    SELECT id, created_at FROM messages WHERE id > $1 ORDER BY id LIMIT $3
) m WHERE created_at < now() - make_interval(secs => $2)

-- name: park_unpointed
-- Park every waiting row in a range of ids; parked ones stay as they are. What a queue still
-- points to is merely pointed to twice, and claimed once.
INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
SELECT m.id, m.device_id, m.priority, COALESCE(m.campaign_id, 0),
    GREATEST(m.created_at, m.send_at), 'behind'
FROM messages m
WHERE m.id > $1 AND m.id <= $2 AND m.status IN ('queued', 'scheduled')
ON CONFLICT (message_id) DO NOTHING

-- name: move_watermark
-- The next look begins here.
UPDATE watermarks SET message_id = $1 WHERE name = 'unpointed'

-- name: due_doubts
-- Unconfirmed messages about which nobody has said anything in time.
SELECT t.message_id, t.awaits, m.status, m.attempt, m.delivery, m.resent
FROM doubts t LEFT JOIN messages m
    ON m.id = ANY(array_append('{}', t.message_id)) AND m.attempt = t.attempt
WHERE t.due_at <= now()
ORDER BY t.due_at LIMIT $1
FOR UPDATE OF t SKIP LOCKED

-- name: resend
-- The one more try that at_least_once allows.
WITH again AS (
    UPDATE messages SET status = 'queued', resent = true
    WHERE id = ANY($1::bigint[]) AND status = 'unconfirmed' AND NOT resent
    RETURNING id, device_id, priority, campaign_id
)
INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
SELECT id, device_id, priority, COALESCE(campaign_id, 0), now(), 'behind' FROM again
ON CONFLICT (message_id) DO NOTHING

-- name: drop_doubts
-- Decided.
DELETE FROM doubts WHERE message_id = ANY($1::bigint[])

-- name: await_release
-- Leave the message as it is and hold its credit until then.
UPDATE doubts SET awaits = 'release', due_at = now() + make_interval(secs => $2)
WHERE message_id = ANY($1::bigint[])

-- name: release_unconfirmed
-- The credits of messages that nobody resolved go back.
UPDATE messages SET credit = 'released'
WHERE id = ANY($1::bigint[]) AND status = 'unconfirmed' AND credit = 'reserved'
RETURNING id, account_id, campaign_id

-- name: drop_answers
-- Stored answers whose time is over.
DELETE FROM idempotency WHERE ctid IN (
    SELECT ctid FROM idempotency WHERE expires_at < now() LIMIT $1
)

-- name: sum_ledger
-- Extend the sums of ledgers by their next entries, where there are many. Of those of ten minutes ago
-- none is missing, as no transaction lasts as long; whoever extends a sum at the same moment is first.
WITH more AS (
    SELECT a.id AS account_id, COALESCE(s.up_to_id, 0) AS since_id, max(e.id) AS up_to_id,
        sum(CASE e.type WHEN 'reserve' THEN e.count WHEN 'settle' THEN -e.count
            WHEN 'release' THEN -e.count ELSE 0 END) AS reserved
    FROM accounts a
    LEFT JOIN ledger_sums s ON s.account_id = a.id
    CROSS JOIN LATERAL (
        SELECT n.id, n.type, n.count,
            bool_and(n.created_at < now() - interval '10 minutes') OVER (ORDER BY n.id) AS complete
        FROM (
            SELECT l.id, l.type, l.count, l.created_at FROM ledger l
            WHERE l.account_id = a.id AND l.id > COALESCE(s.up_to_id, 0)
            ORDER BY l.id LIMIT $1
        ) n
    ) e
    WHERE e.complete
    GROUP BY a.id, s.up_to_id
    HAVING count(*) >= $2
)
INSERT INTO ledger_sums AS t (account_id, since_id, up_to_id, reserved)
SELECT account_id, since_id, up_to_id, reserved FROM more
ON CONFLICT (account_id) DO UPDATE SET since_id = EXCLUDED.since_id, up_to_id = EXCLUDED.up_to_id,
    reserved = t.reserved + EXCLUDED.reserved
WHERE t.up_to_id = EXCLUDED.since_id

-- name: drop_holds
-- What need not wait any more.
DELETE FROM holds WHERE hold_until < now()

-- name: drop_conversations
-- When persons wrote that opens no window of 24 hours any more.
DELETE FROM conversations WHERE (device_id, phone) IN (
    SELECT device_id, phone FROM conversations
    WHERE heard_at < now() - interval '25 hours' ORDER BY heard_at LIMIT $1
    FOR UPDATE SKIP LOCKED
) AND heard_at < now() - interval '25 hours'

-- name: forget_recipients
-- Forget the recipients of budget groups that no claim has come to since they were to be forgotten;
-- a group that a claim counts in at this moment is left to it.
WITH groups AS MATERIALIZED (
    SELECT g.name FROM budget_groups g
    WHERE EXISTS (
        SELECT FROM budget_recipients r
        WHERE r.budget_group = g.name AND r.forget_at < now() - interval '1 hour')
    FOR NO KEY UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM budget_recipients r USING groups g CROSS JOIN LATERAL (
        SELECT o.phone FROM budget_recipients o
        WHERE o.budget_group = g.name AND o.forget_at < now() - interval '1 hour'
        ORDER BY o.forget_at LIMIT $1
    ) o
    WHERE r.budget_group = g.name AND r.phone = o.phone
    RETURNING r.budget_group, r.counted_by
)
UPDATE budget_groups g SET recipients = g.recipients - n.recipients
FROM (SELECT budget_group, count(counted_by) AS recipients FROM forgotten GROUP BY 1) n
WHERE g.name = n.budget_group

-- name: ensure_partitions
-- The partition of the messages to come.
SELECT ensure_message_partitions()
