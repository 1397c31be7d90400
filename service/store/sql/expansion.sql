-- name: take
-- The campaign whose turn it is. It has recipients that are no messages yet and may have them now,
-- or it was cancelled and messages of it wait. Accounts take turns, and so do the campaigns of one.
-- Nobody else works on it until the transaction ends.
SELECT c.id, c.account_id, c.body, c.template -> 'media' AS media, c.template -> 'meta' AS meta,
    c.template_id, c.device_id, d.shard, c.priority, c.delivery,
    c.skip_missing, c.reference, c.traceparent, c.status, c.expires_at, c.pending + c.unfit AS left_over,
    c.walked_id, c.expires_at <= now() AS expired
FROM campaigns c JOIN devices d ON d.id = c.device_id
WHERE c.closed_at IS NULL AND COALESCE(c.rests_until <= now(), true)
    AND CASE c.status
        WHEN 'cancelled' THEN true
        WHEN 'dispatching' THEN c.pending + c.unfit > 0
        WHEN 'scheduled' THEN c.send_at <= now()
        WHEN 'paused' THEN c.pending + c.unfit > 0 AND c.expires_at <= now()
    END
ORDER BY (
    SELECT max(o.worked_at) FROM campaigns o
    WHERE o.account_id = c.account_id AND o.closed_at IS NULL
), c.worked_at, c.id
LIMIT 1 FOR NO KEY UPDATE OF c SKIP LOCKED

-- name: next_chunk
-- Take out its next chunk.
DELETE FROM campaign_chunks
WHERE campaign_id = $1 AND number = (
    SELECT min(number) FROM campaign_chunks WHERE campaign_id = $1
)
RETURNING contact_ids, phones, names, external_ids, attributes, reasons

-- name: opted_out
-- Which of these phones want nothing from the account any more.
SELECT phone FROM contacts
WHERE account_id = $1 AND phone = ANY($2::text[]) AND opted_out_at IS NOT NULL

-- name: existing
-- Which of these contacts are there still.
SELECT id FROM contacts WHERE id = ANY($1::bigint[])

-- name: put_recipients
-- Let each phone have one message of a campaign; those that had none before.
INSERT INTO campaign_recipients (campaign_id, phone)
SELECT $1, phone FROM unnest($2::text[]) AS r (phone) ORDER BY phone
ON CONFLICT DO NOTHING RETURNING phone

-- name: put_commands
-- Write dispatch commands.
INSERT INTO outbox (exchange, routing_key, type, body, traceparent)
SELECT $1, c.routing_key, $2, c.body, $5 FROM unnest($3::text[], $4::bytea[]) AS c (routing_key, body)
RETURNING id

-- name: advance
-- Count a chunk.
UPDATE campaigns SET pending = pending - $2, unfit = unfit - $3, worked_at = clock_timestamp(),
    status = CASE status WHEN 'scheduled' THEN 'dispatching' ELSE status END,
    started_at = COALESCE(started_at, now())
WHERE id = $1

-- name: rest
-- Do nothing for it for so long; a cancelled one is then looked through from the beginning.
UPDATE campaigns SET rests_until = clock_timestamp() + make_interval(secs => $2), walked_id = 0,
    worked_at = clock_timestamp()
WHERE id = $1

-- name: walk
-- The next messages of a campaign, whatever their status.
SELECT id FROM messages WHERE campaign_id = $1 AND id > $2 ORDER BY id LIMIT $3

-- name: waiting
-- Which of these messages wait.
SELECT id FROM messages
WHERE id = ANY($1::bigint[]) AND id BETWEEN $2 AND $3 AND status IN ('scheduled', 'queued')
ORDER BY id

-- name: walked
-- How far the look for waiting messages has come.
UPDATE campaigns SET walked_id = $2, worked_at = clock_timestamp() WHERE id = $1

-- name: close
-- Close campaigns that have nothing left to send. With at_least_once, a message whose outcome is
-- not known may be sent again, and is waited for.
WITH over AS (
    SELECT c.id FROM campaigns c
    WHERE c.closed_at IS NULL AND c.pending + c.unfit = 0 AND c.status <> 'scheduled'
        AND (
            SELECT COALESCE(sum(k.change), 0) FROM campaign_counts k
            WHERE k.campaign_id = c.id AND k.status IN ('scheduled', 'queued', 'sending')
        ) = 0
        AND NOT (c.delivery = 'at_least_once' AND EXISTS (
            SELECT FROM doubts t
            JOIN messages m ON m.id = ANY(array_append('{}', t.message_id))
            WHERE m.campaign_id = c.id AND t.awaits = 'callback'
        ))
    LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM campaign_recipients r USING over WHERE r.campaign_id = over.id
)
UPDATE campaigns c SET closed_at = now(),
    status = CASE c.status WHEN 'cancelled' THEN 'cancelled' ELSE 'completed' END,
    completed_at = CASE WHEN c.status <> 'cancelled' THEN now() END
FROM over WHERE c.id = over.id
RETURNING c.id, c.status

-- name: fold
-- Fold the changes of the campaigns that have most of them into their sums.
WITH many AS (
    SELECT campaign_id FROM campaign_counts WHERE NOT folded
    GROUP BY campaign_id HAVING count(*) >= $1 ORDER BY count(*) DESC LIMIT $2
), taken AS (
    DELETE FROM campaign_counts k USING many WHERE k.campaign_id = many.campaign_id
    RETURNING k.campaign_id, k.status, k.credit, k.change
)
INSERT INTO campaign_counts (campaign_id, status, credit, change, folded)
SELECT campaign_id, status, credit, sum(change), true FROM taken
GROUP BY campaign_id, status, credit HAVING sum(change) <> 0
