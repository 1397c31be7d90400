-- name: claim
-- Take queued messages for one attempt each, and say of every row it held what became of it.
-- Only the owner of a shard's current epoch gets any. A row that another transaction holds is
-- left out, as waiting for it would hold up the whole group. Nothing is claimed that is parked
-- for later, expired, opted out of, or whose device or account is held or paused.
WITH own AS (
    SELECT l.shard, l.epoch
    FROM unnest($5::int[], $6::bigint[]) AS o (shard, epoch)
    JOIN shard_leases l ON l.shard = o.shard AND l.epoch = o.epoch AND l.owner = $4
), held AS MATERIALIZED (
    SELECT m.id, m.account_id, m.device_id, m.campaign_id, m.phone, m.priority, m.expires_at
    FROM messages m
    WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
        AND m.status IN ('queued', 'scheduled')
    ORDER BY m.id
    FOR NO KEY UPDATE SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT h.id, h.device_id, h.campaign_id, h.priority, h.expires_at, own.shard, own.epoch,
        own.epoch + d.fence AS call_epoch,
        CASE
            WHEN h.expires_at <= now() THEN 'expired'
            WHEN c.opted_out_at IS NOT NULL THEN 'opted_out'
            WHEN p.not_before > now() THEN 'parked'
            WHEN d.deleted_at IS NOT NULL THEN 'no_device'
            WHEN d.paused THEN 'paused'
            WHEN d.state NOT IN ('ready', 'throttled') THEN 'not_ready'
            WHEN GREATEST(d.hold_until, a.hold_until) > now() THEN 'held'
            ELSE 'claimed'
        END AS verdict,
        GREATEST(d.hold_until, a.hold_until) AS hold_until,
        d.per_second, d.per_minute, d.jitter_seconds
    FROM held h
    JOIN devices d ON d.id = h.device_id
    JOIN own ON own.shard = d.shard
    JOIN accounts a ON a.id = h.account_id
    LEFT JOIN contacts c ON c.account_id = h.account_id AND c.phone = h.phone
    LEFT JOIN parked p ON p.message_id = h.id
), taken AS (
    UPDATE messages m SET status = 'sending', attempt = m.attempt + 1, claim = $7
    FROM judged j
    WHERE m.id = j.id AND j.verdict = 'claimed' AND m.id BETWEEN $2 AND $3
    RETURNING m.id, m.attempt, m.attempts, m.phone, m.body, m.options, m.created_at, m.send_at
), noted AS (
    INSERT INTO claims (id, shard, epoch, message_ids)
    SELECT $7, j.shard, j.epoch, array_agg(j.id)
    FROM judged j WHERE j.verdict = 'claimed' GROUP BY j.shard, j.epoch
), unparked AS (
    DELETE FROM parked p USING taken t WHERE p.message_id = t.id
), parking AS (
    INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
    SELECT j.id, j.device_id, j.priority, COALESCE(j.campaign_id, 0),
        GREATEST(LEAST(COALESCE(j.hold_until, now()), j.expires_at), now()), j.verdict
    FROM judged j WHERE j.verdict IN ('paused', 'not_ready', 'held')
    ON CONFLICT (message_id) DO UPDATE SET
        not_before = GREATEST(parked.not_before, EXCLUDED.not_before), reason = EXCLUDED.reason
)
SELECT j.id, j.verdict, t.attempt, t.attempts, t.phone, t.body,
    t.options, GREATEST(t.created_at, t.send_at) AS due_at,
    j.per_second, j.per_minute, j.jitter_seconds, j.call_epoch
FROM judged j LEFT JOIN taken t ON t.id = j.id

-- name: give_back
-- Return what was claimed and never called; only the claim that took a row can return it. It is
-- parked in the same statement, as nothing else may point to it any more.
WITH back AS (
    UPDATE messages m SET status = 'queued', claim = NULL
    WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
        AND m.claim = $4 AND m.status = 'sending'
    RETURNING m.id, m.device_id, m.priority, m.campaign_id, m.created_at, m.send_at
)
INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
SELECT id, device_id, priority, COALESCE(campaign_id, 0), GREATEST(created_at, send_at), 'behind'
FROM back
ON CONFLICT (message_id) DO NOTHING

-- name: forget_claim
-- Drop the note of a claim of which nothing is left to record.
DELETE FROM claims WHERE id = $1

-- name: unclaimed
-- Of ids a claim did not answer for: those that still wait, because their row was locked then.
SELECT id FROM messages
WHERE id = ANY($1::bigint[]) AND id BETWEEN $2 AND $3 AND status IN ('queued', 'scheduled')

-- name: unpark_gone
-- Drop the parked rows of messages that no longer wait. The rows are held meanwhile: one that comes
-- back to wait at this moment keeps its parked row.
WITH gone AS MATERIALIZED (
    SELECT id FROM messages
    WHERE id = ANY($1::bigint[]) AND id BETWEEN $2 AND $3
        AND status NOT IN ('queued', 'scheduled')
    FOR SHARE SKIP LOCKED
)
DELETE FROM parked p USING gone WHERE p.message_id = gone.id

-- name: park
-- Let messages wait: whoever is parked already stays as it is. A message that expires first
-- comes back at that moment, to be marked. Without a time it keeps its place in its flow.
INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
SELECT m.id, m.device_id, m.priority, COALESCE(m.campaign_id, 0),
    LEAST(COALESCE(n.not_before, GREATEST(m.created_at, m.send_at)), m.expires_at), n.reason
FROM unnest($1::bigint[], $4::timestamptz[], $5::text[]) AS n (id, not_before, reason)
JOIN messages m ON m.id = n.id
WHERE m.id BETWEEN $2 AND $3 AND m.status IN ('queued', 'scheduled')
ON CONFLICT (message_id) DO NOTHING

-- name: due
-- The heads of the flows of these devices, as many of each as its share of the room. The flows are
-- found by leaping from one to the next in the index, however many messages wait in each; those
-- that need nothing are left out.
WITH RECURSIVE flows AS (
    SELECT w.device_id, w.room, f.priority, f.flow
    FROM unnest($1::bigint[], $2::int[]) AS w (device_id, room)
    CROSS JOIN LATERAL (
        SELECT priority, flow FROM parked
        WHERE device_id = w.device_id ORDER BY priority, flow LIMIT 1
    ) f
    UNION ALL
    SELECT w.device_id, w.room, f.priority, f.flow
    FROM flows w
    CROSS JOIN LATERAL (
        SELECT priority, flow FROM parked
        WHERE device_id = w.device_id AND (priority, flow) > (w.priority, w.flow)
        ORDER BY priority, flow LIMIT 1
    ) f
), wanted AS (
    SELECT f.device_id, f.priority, f.flow,
        GREATEST(1, f.room / count(*) OVER (PARTITION BY f.device_id, f.priority)) AS most
    FROM flows f
    WHERE NOT EXISTS (
        SELECT FROM unnest($3::bigint[], $4::int[], $5::bigint[]) AS s (device_id, priority, flow)
        WHERE (s.device_id, s.priority, s.flow) = (f.device_id, f.priority, f.flow)
    )
)
SELECT w.device_id, w.priority, w.flow, w.most, p.message_id
FROM wanted w
CROSS JOIN LATERAL (
    SELECT message_id, not_before FROM parked
    WHERE device_id = w.device_id AND priority = w.priority AND flow = w.flow
        AND not_before <= now()
    ORDER BY not_before, message_id LIMIT w.most
) p
ORDER BY w.device_id, w.priority, w.flow, p.not_before, p.message_id

-- name: devices
-- The devices of these shards, with what their lanes need; a deleted one stays until its messages
-- have been marked.
SELECT d.id, d.driver, d.shard, d.per_second, d.per_minute, d.jitter_seconds,
    d.deleted_at IS NOT NULL OR (
        NOT d.paused AND d.state IN ('ready', 'throttled')
        AND COALESCE(GREATEST(d.hold_until, a.hold_until) <= now(), true)
    ) AS open
FROM devices d JOIN accounts a ON a.id = d.account_id
WHERE d.shard = ANY($1::int[])

-- name: hold_device
-- Keep a device from sending until then.
UPDATE devices SET hold_until = GREATEST(hold_until, now() + make_interval(secs => $2))
WHERE id = $1

-- name: orphans
-- Claims of these shards that nobody is working on: a former owner left them behind, or they were
-- committed when the present one had given up waiting for the answer.
SELECT c.id, c.shard, c.epoch, c.message_ids
FROM claims c
JOIN unnest($1::int[], $2::bigint[]) AS o (shard, epoch) ON o.shard = c.shard
WHERE c.epoch <= o.epoch AND NOT c.id = ANY($3::bigint[])
ORDER BY c.claimed_at LIMIT 100

-- name: orphaned_messages
-- Which messages of such a claim nobody has an outcome for, and whether their driver repeats.
SELECT m.id, m.attempt, d.driver
FROM messages m JOIN devices d ON d.id = m.device_id
WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
    AND m.claim = $4 AND m.status = 'sending'
