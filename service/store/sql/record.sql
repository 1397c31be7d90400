-- name: join_by_hash
-- For a merge: the planner takes its rows for two, and would compare each change with every row.
SET LOCAL enable_nestloop = off

-- name: join_as_it_comes
-- After a merge.
SET LOCAL enable_nestloop = DEFAULT

-- name: merge
-- Merge one change per message into the truth. Below sent the order is (attempt, rank), from sent
-- on the rank alone; a change that moves nothing may still fill in what was not known. Answers
-- the rows that moved, with the credit they had before.
--
-- The rows are looked up by arrays of one id, here and wherever a statement locks or changes rows:
-- partitions that are pruned as a plan joins crash PostgreSQL 18 (or miss rows) when a row turns out
-- to have been changed meanwhile; an array keeps it from pruning there.
WITH change AS (
    SELECT * FROM unnest(
        $1::bigint[], $4::int[], $5::message_status[], $6::timestamptz[], $7::text[], $8::text[],
        $9::text[], $10::timestamptz[], $11::text[], $12::int[], $13::timestamptz[],
        $14::timestamptz[], $15::timestamptz[]
    ) AS c (id, attempt, status, at, provider_id, error_code, error_detail, not_before, reason,
            counted, sent_at, delivered_at, read_at)
), held AS MATERIALIZED (
    SELECT m.id, m.status, m.credit, m.attempt
    FROM messages m
    WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
    ORDER BY m.id
    FOR NO KEY UPDATE
), judged AS MATERIALIZED (
    SELECT c.*, h.status AS old_status, h.credit AS old_credit,
        CASE
            WHEN h.status >= 'cancelled' THEN false
            WHEN c.status IN ('sent', 'delivered', 'read') THEN h.status < c.status
            WHEN c.status = 'failed' THEN h.status < 'failed' AND c.attempt >= h.attempt
            WHEN c.status = 'unconfirmed' THEN h.status = 'sending' AND c.attempt = h.attempt
            WHEN c.status = 'queued'
                THEN h.status IN ('sending', 'unconfirmed') AND c.attempt = h.attempt
            ELSE h.status IN ('scheduled', 'queued')
        END AS moves
    FROM held h JOIN change c ON c.id = h.id
), merged AS (
    UPDATE messages m SET
        status = CASE WHEN j.moves THEN j.status ELSE m.status END,
        seq = m.seq + CASE WHEN j.moves AND j.status <> 'queued' THEN 1 ELSE 0 END,
        -- merged again after its commit answer was lost, an attempt still counts once
        attempts = LEAST(m.attempts + j.counted, m.attempt),
        credit = CASE
            WHEN NOT j.moves THEN m.credit
            WHEN j.old_credit = 'reserved' AND j.status IN ('sent', 'delivered', 'read')
                THEN 'settled'
            WHEN j.old_credit = 'reserved' AND j.status >= 'failed' THEN 'released'
            WHEN j.old_credit = 'settled' AND j.status = 'failed' THEN 'refunded'
            ELSE m.credit
        END,
        provider_id = COALESCE(m.provider_id, j.provider_id),
        error_code = CASE WHEN j.moves THEN j.error_code ELSE m.error_code END,
        error_detail = CASE WHEN j.moves THEN j.error_detail ELSE m.error_detail END,
        sent_at = COALESCE(m.sent_at, j.sent_at, CASE WHEN j.status = 'sent' THEN j.at END),
        delivered_at = COALESCE(m.delivered_at, j.delivered_at,
            CASE WHEN j.status = 'delivered' THEN j.at END),
        read_at = COALESCE(m.read_at, j.read_at, CASE WHEN j.status = 'read' THEN j.at END),
        failed_at = CASE WHEN j.moves AND j.status = 'failed' THEN j.at ELSE m.failed_at END
    FROM judged j
    -- The sum keeps partitions from being pruned as this joins, and the arrays of one id away, each
    -- of which costs more to compare than all the rest of the row.
    WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3 AND m.id + 0 = j.id
        AND (j.moves OR j.counted > 0
            OR (j.provider_id IS NOT NULL AND m.provider_id IS NULL)
            OR (m.sent_at IS NULL AND (j.status = 'sent' OR j.sent_at IS NOT NULL))
            OR (m.delivered_at IS NULL AND (j.status = 'delivered' OR j.delivered_at IS NOT NULL)))
    RETURNING m.id, m.account_id, m.device_id, m.campaign_id, m.phone, m.reference, m.provider_id,
        m.status, m.seq, m.credit, m.error_code, m.error_detail, m.priority, m.expires_at,
        m.attempt, m.created_at, m.send_at, m.traceparent,
        j.old_status, j.old_credit, j.at, j.moves, j.not_before, j.reason
), noting AS (
    INSERT INTO message_history (message_id, attempt, at, status, code, detail)
    SELECT id, attempt, at, status, error_code, error_detail FROM merged
    WHERE moves AND (status IN ('unconfirmed', 'failed')
        OR (status = 'queued' AND error_code IS NOT NULL))
), parking AS (
    INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
    SELECT id, device_id, priority, COALESCE(campaign_id, 0),
        LEAST(COALESCE(not_before, GREATEST(created_at, send_at)), expires_at),
        COALESCE(reason, 'held')
    FROM merged WHERE moves AND status = 'queued'
    ON CONFLICT (message_id) DO UPDATE SET
        not_before = EXCLUDED.not_before, reason = EXCLUDED.reason
), unparking AS (
    DELETE FROM parked
    WHERE message_id = ANY(ARRAY(SELECT id FROM merged WHERE moves AND old_status < 'sending'))
), doubting AS (
    INSERT INTO doubts (message_id, attempt, due_at)
    SELECT id, attempt, now() + make_interval(secs => $16)
    FROM merged WHERE moves AND status = 'unconfirmed'
    ON CONFLICT (message_id) DO UPDATE SET
        attempt = EXCLUDED.attempt, awaits = 'callback', due_at = EXCLUDED.due_at
)
SELECT id, account_id, device_id, campaign_id, phone, reference, provider_id, status, seq, credit,
    error_code, error_detail, old_status, old_credit, at, created_at, send_at, traceparent,
    (SELECT d.driver FROM devices d WHERE d.id = device_id) AS driver
FROM merged
WHERE moves
ORDER BY id

-- name: settle
-- Enter what the merge did to the credits, hand over the public events, and drop the notes of
-- claims that are through, where nothing of their messages is unwritten. Accounts that get credits back are locked in ascending order.
WITH entry AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::bigint[], $3::ledger_type[], $4::bigint[], $5::bigint[]
    ) WITH ORDINALITY AS e (account_id, campaign_id, type, count, message_id, n)
), back AS (
    SELECT account_id, sum(count)::bigint AS count FROM entry WHERE type <> 'settle'
    GROUP BY account_id
), locked AS MATERIALIZED (
    SELECT a.id FROM accounts a WHERE a.id IN (SELECT account_id FROM back)
    ORDER BY a.id FOR NO KEY UPDATE
), paid AS (
    UPDATE accounts a SET balance = a.balance + back.count
    FROM back JOIN locked ON locked.id = back.account_id
    WHERE a.id = back.account_id
    RETURNING a.id, a.balance - back.count AS before
), written AS (
    INSERT INTO ledger (account_id, campaign_id, type, count, message_id, balance_after)
    SELECT e.account_id, e.campaign_id, e.type, e.count, e.message_id,
        CASE WHEN e.type <> 'settle' THEN p.before
            + sum(e.count) FILTER (WHERE e.type <> 'settle')
                OVER (PARTITION BY e.account_id ORDER BY e.n) END
    FROM entry e LEFT JOIN paid p ON p.id = e.account_id
    ORDER BY e.n
), through AS (
    DELETE FROM claims WHERE id = ANY($9::bigint[]) AND NOT message_ids && $11::bigint[]
)
INSERT INTO outbox (exchange, routing_key, type, body, traceparent)
SELECT 'hantar.events', o.routing_key, $6, o.body, o.traceparent
FROM unnest($7::text[], $8::bytea[], $10::text[]) AS o (routing_key, body, traceparent)
RETURNING id

-- name: hold
-- Let wait what is in the scope of these messages' answers: a recipient or a template of a device,
-- a device, those of one credential, or an account. What ends later stays as it is. That a
-- recipient is refused, or a template of the provider's marketing, holds nothing; drivers ask for it
-- before they call.
WITH wanted AS MATERIALIZED (
    SELECT m.account_id, m.device_id, n.scope, n.until, n.code,
        CASE WHEN n.scope = 'no_marketing' THEN 'marketing:' || (m.options #>> '{meta,name}')
        END AS marketing,
        CASE n.scope WHEN 'recipient' THEN m.phone
            WHEN 'refused' THEN 'refused:' || m.phone
            WHEN 'no_marketing' THEN 'refused:' || m.phone
            WHEN 'template' THEN 'template:' || m.template_id END AS name
    FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[])
        AS n (id, scope, until, code)
    JOIN messages m ON m.id = ANY(array_append('{}', n.id))
), narrow AS (
    INSERT INTO holds AS h (device_id, name, hold_until, code)
    SELECT w.device_id, n.name, max(w.until), max(w.code)
    FROM wanted w CROSS JOIN LATERAL (VALUES (w.name), (w.marketing)) n (name)
    WHERE n.name IS NOT NULL GROUP BY w.device_id, n.name ORDER BY w.device_id, n.name
    ON CONFLICT (device_id, name) DO UPDATE SET
        hold_until = GREATEST(h.hold_until, EXCLUDED.hold_until), code = EXCLUDED.code
), of_devices AS (
    UPDATE devices d SET hold_until = GREATEST(d.hold_until, w.until)
    FROM (
        SELECT o.id, max(w.until) AS until
        FROM wanted w JOIN devices s ON s.id = w.device_id
        JOIN devices o ON o.id = s.id OR (w.scope = 'credential' AND o.credential = s.credential)
        WHERE w.scope IN ('device', 'credential') GROUP BY o.id
    ) w
    WHERE d.id = w.id
)
UPDATE accounts a SET hold_until = GREATEST(a.hold_until, w.until)
FROM (SELECT account_id, max(until) AS until FROM wanted WHERE scope = 'account' GROUP BY 1) w
WHERE a.id = w.account_id

-- name: reached
-- These recipients of these devices are refused no more.
DELETE FROM holds h USING unnest($1::bigint[], $2::text[]) AS n (device_id, phone)
WHERE h.device_id = n.device_id AND h.name = 'refused:' || n.phone

-- name: devices_in_scope
-- The device, with the scope `credential` all that speak under the same one, or with the scope
-- `account` all of its account that have the same driver.
SELECT o.id FROM devices d JOIN devices o
    ON o.id = d.id OR ($2 = 'account' AND o.account_id = d.account_id AND o.driver = d.driver)
        OR ($2 = 'credential' AND o.credential = d.credential AND o.driver = d.driver)
WHERE d.id = $1 AND o.deleted_at IS NULL ORDER BY o.id

-- name: put_event
-- Hand over one public event.
INSERT INTO outbox (exchange, routing_key, type, body, traceparent)
VALUES ('hantar.events', $1, $2, $3, $4)
RETURNING id
