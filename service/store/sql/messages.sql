-- name: one
-- One message of an account.
SELECT m.id, m.status, m.phone, m.body, m.contact_id, m.campaign_id, m.template_id, m.device_id,
    d.driver, m.priority, m.reference, m.provider_id, m.attempts, m.error_code, m.error_detail,
    m.credit, m.send_at, m.expires_at, m.created_at, m.queued_at, m.sent_at, m.delivered_at,
    m.read_at, m.failed_at,
    w.reason AS waiting_reason, w.until AS waiting_until
FROM messages m
JOIN devices d ON d.id = m.device_id
LEFT JOIN parked p ON p.message_id = m.id
LEFT JOIN campaigns k ON k.id = m.campaign_id
LEFT JOIN LATERAL message_wait(p, d, k.status, $3) w ON m.status IN ('scheduled', 'queued')
WHERE m.account_id = $1 AND m.id = $2

-- name: story
-- What an operator may see of a message, whoever's it is: no text, no phone.
SELECT m.id, m.account_id, m.status, ''::text AS phone, ''::text AS body, m.contact_id,
    m.campaign_id, m.template_id, m.device_id, d.driver, d.shard, m.priority, m.reference,
    m.provider_id, m.attempts, m.error_code, m.error_detail, m.credit, m.delivery, m.resent, m.seq,
    m.send_at, m.expires_at, m.created_at, m.queued_at, m.sent_at, m.delivered_at, m.read_at,
    m.failed_at, w.reason AS waiting_reason, w.until AS waiting_until,
    t.awaits AS doubt_awaits, t.due_at AS doubt_due_at
FROM messages m
JOIN devices d ON d.id = m.device_id
LEFT JOIN parked p ON p.message_id = m.id
LEFT JOIN campaigns k ON k.id = m.campaign_id
LEFT JOIN doubts t ON t.message_id = m.id
LEFT JOIN LATERAL message_wait(p, d, k.status, $2) w ON m.status IN ('scheduled', 'queued')
WHERE m.id = $1

-- name: history
-- What went otherwise than planned with a message, oldest first.
SELECT attempt, at, status, code, detail FROM message_history
WHERE message_id = $1 ORDER BY at, attempt

-- name: page
-- A page of an account's messages, newest first: after an offset, or below an id.
SELECT m.id, m.status, m.phone, m.body, m.contact_id, m.campaign_id, m.template_id, m.device_id,
    d.driver, m.priority, m.reference, m.provider_id, m.attempts, m.error_code, m.error_detail,
    m.credit, m.send_at, m.expires_at, m.created_at, m.queued_at, m.sent_at, m.delivered_at,
    m.read_at, m.failed_at,
    w.reason AS waiting_reason, w.until AS waiting_until
FROM messages m
JOIN devices d ON d.id = m.device_id
LEFT JOIN parked p ON p.message_id = m.id
LEFT JOIN campaigns k ON k.id = m.campaign_id
LEFT JOIN LATERAL message_wait(p, d, k.status, $9) w ON m.status IN ('scheduled', 'queued')
WHERE m.account_id = $1
    AND ($2::message_status IS NULL OR m.status = $2)
    AND ($3::bigint IS NULL OR m.campaign_id = $3)
    AND ($4::bigint IS NULL OR m.contact_id = $4)
    AND ($5::text IS NULL OR m.phone = $5)
    AND ($6::bigint IS NULL OR m.id < $6)
ORDER BY m.id DESC
LIMIT $7 OFFSET $8

-- name: knows
-- Whether the account has this campaign, and this contact or messages to it from before it was
-- forgotten; what is null is not asked for.
SELECT ($2::bigint IS NULL OR EXISTS (
        SELECT FROM campaigns WHERE account_id = $1 AND id = $2
    )) AS campaign,
    ($3::bigint IS NULL OR EXISTS (
        SELECT FROM contacts WHERE account_id = $1 AND id = $3
    ) OR EXISTS (
        SELECT FROM messages WHERE account_id = $1 AND contact_id = $3
    )) AS contact

-- name: count
-- How many there are, counted no further than the limit.
SELECT count(*) FROM (
    SELECT 1 FROM messages m
    WHERE m.account_id = $1
        AND ($2::message_status IS NULL OR m.status = $2)
        AND ($3::bigint IS NULL OR m.campaign_id = $3)
        AND ($4::bigint IS NULL OR m.contact_id = $4)
        AND ($5::text IS NULL OR m.phone = $5)
    LIMIT $6
) found

-- name: page_exceptions
-- A page of those with a status that message_exceptions leads to, newest first.
SELECT m.id, m.status, m.phone, m.body, m.contact_id, m.campaign_id, m.template_id, m.device_id,
    d.driver, m.priority, m.reference, m.provider_id, m.attempts, m.error_code, m.error_detail,
    m.credit, m.send_at, m.expires_at, m.created_at, m.queued_at, m.sent_at, m.delivered_at,
    m.read_at, m.failed_at, NULL::text AS waiting_reason, NULL::timestamptz AS waiting_until
FROM message_exceptions x
JOIN messages m ON m.id = x.message_id AND m.status = x.status
JOIN devices d ON d.id = m.device_id
WHERE x.account_id = $1 AND x.status = $2 AND ($3::bigint IS NULL OR x.message_id < $3)
ORDER BY x.message_id DESC
LIMIT $4 OFFSET $5

-- name: count_exceptions
-- How many of those there are, counted no further than the limit.
SELECT count(*) FROM (
    SELECT 1 FROM message_exceptions x
    JOIN messages m ON m.id = x.message_id AND m.status = x.status
    WHERE x.account_id = $1 AND x.status = $2
    LIMIT $3
) found
