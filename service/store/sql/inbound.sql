-- name: keep
-- Keep messages that persons wrote to devices; answers those that were not known, with the contact
-- that the person is.
INSERT INTO inbound_messages AS i (account_id, device_id, phone, kind, text, provider_id, at)
SELECT d.account_id, n.device_id, n.phone, n.kind, n.text, n.provider_id, n.at
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[])
    AS n (device_id, phone, kind, text, provider_id, at)
JOIN devices d ON d.id = n.device_id
ORDER BY n.device_id, n.provider_id
ON CONFLICT (device_id, provider_id) DO NOTHING
RETURNING i.id, i.account_id, i.device_id, i.phone, i.provider_id,
    (SELECT c.id FROM contacts c WHERE c.account_id = i.account_id AND c.phone = i.phone)
        AS contact_id

-- name: hear
-- Note when these persons wrote to these devices last; none of them is refused any more.
WITH reached AS (
    DELETE FROM holds h USING unnest($1::bigint[], $2::text[]) AS n (device_id, phone)
    WHERE h.device_id = n.device_id AND h.name = 'refused:' || n.phone
)
INSERT INTO conversations AS c (device_id, phone, heard_at)
SELECT n.device_id, n.phone, max(n.at)
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[]) AS n (device_id, phone, at)
GROUP BY n.device_id, n.phone ORDER BY n.device_id, n.phone
ON CONFLICT (device_id, phone) DO UPDATE SET heard_at = EXCLUDED.heard_at
WHERE c.heard_at < EXCLUDED.heard_at

-- name: opt_out
-- Remember that a person wants no more messages from an account.
INSERT INTO contacts AS c (account_id, phone, opted_out_at) VALUES ($1, $2, $3)
ON CONFLICT (account_id, phone) DO UPDATE SET opted_out_at = EXCLUDED.opted_out_at, updated_at = now()
WHERE c.opted_out_at IS NULL
RETURNING id

-- name: forget
-- What was kept for long enough; the oldest have the lowest ids, so that nothing else is looked at.
DELETE FROM inbound_messages WHERE id IN (
    SELECT id FROM (SELECT id, created_at FROM inbound_messages ORDER BY id LIMIT $2) AS oldest
    WHERE created_at < now() - make_interval(days => $1)
)

-- name: page
-- A page of what persons wrote to the devices of an account, newest first.
SELECT id, device_id, phone, kind, text, provider_id, at, created_at FROM inbound_messages
WHERE account_id = $1 AND ($2::bigint IS NULL OR device_id = $2) AND ($3::text IS NULL OR phone = $3)
    AND ($4::bigint IS NULL OR id < $4)
ORDER BY id DESC LIMIT $5 OFFSET $6

-- name: count
-- How many there are, counted up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM inbound_messages
    WHERE account_id = $1 AND ($2::bigint IS NULL OR device_id = $2)
        AND ($3::text IS NULL OR phone = $3)
    LIMIT $4
) i
