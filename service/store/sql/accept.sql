-- name: lock_key
-- Try to be the only one that works on this idempotency key until the transaction ends.
SELECT pg_try_advisory_xact_lock(hashtextextended($2, $1))

-- name: find_answer
-- The answer stored under an idempotency key, if it is still kept.
SELECT fingerprint, status, body FROM idempotency
WHERE account_id = $1 AND key = $2 AND expires_at > now()

-- name: store_answer
-- Keep an answer under its key; a row that has expired is replaced.
INSERT INTO idempotency (account_id, key, fingerprint, status, body, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT (account_id, key) DO UPDATE SET
    fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status, body = EXCLUDED.body,
    expires_at = EXCLUDED.expires_at

-- name: devices
-- The devices an account can send through.
SELECT id, driver, shard, is_default, state = 'ready' AND NOT paused AS ready
FROM devices WHERE account_id = $1 AND deleted_at IS NULL ORDER BY id

-- name: contacts
-- What is known about these phones.
SELECT id, phone, name, external_id, attributes, opted_out_at IS NOT NULL AS opted_out
FROM contacts WHERE account_id = $1 AND phone = ANY($2::text[])

-- name: templates
-- What active templates say.
SELECT id, body, media, meta FROM templates
WHERE account_id = $1 AND id = ANY($2::bigint[]) AND is_active

-- name: upsert_contacts
-- Create or update contacts by phone, in the order of the phones; null leaves a field as it is,
-- attributes are replaced as a whole.
INSERT INTO contacts AS c (account_id, phone, name, external_id, attributes)
SELECT $1, n.phone, n.name, n.external_id, COALESCE(n.attributes, '{}')
FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[])
    AS n (phone, name, external_id, attributes)
ORDER BY n.phone
ON CONFLICT (account_id, phone) DO UPDATE SET
    name = COALESCE(EXCLUDED.name, c.name),
    external_id = COALESCE(EXCLUDED.external_id, c.external_id),
    attributes = CASE WHEN EXCLUDED.phone = ANY($6::text[])
        THEN EXCLUDED.attributes ELSE c.attributes END,
    updated_at = now()
RETURNING id, phone

-- name: insert_messages
-- Messages that share everything but the first five columns, in their order.
INSERT INTO messages (
    phone, body, reference, contact_id, options,
    account_id, device_id, template_id, status, priority, delivery, send_at, expires_at,
    campaign_id, credit, traceparent, queued_at
)
SELECT n.phone, n.body, n.reference, n.contact_id, n.options,
    $6::bigint, $7::bigint, $8::bigint, $9::message_status, $10::smallint, $11::message_delivery,
    $12::timestamptz, $13::timestamptz, $14::bigint, $15::message_credit, $16::text,
    CASE WHEN $9::message_status = 'queued' THEN now() END
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::jsonb[])
    AS n (phone, body, reference, contact_id, options)
RETURNING id

-- name: park_scheduled
-- Let messages wait for their time.
INSERT INTO parked (message_id, device_id, priority, not_before, reason)
SELECT unnest($1::bigint[]), $2, $3, $4, 'scheduled'

-- name: balance
-- What an account can still reserve, without a lock: a quick refusal, never a promise.
SELECT balance FROM accounts WHERE id = $1

-- name: reserve
-- Write the dispatch commands and reserve the credits; no row when there are too few. The account
-- row is locked here, in the last statement before commit, so that accounts wait least for it.
WITH account AS (
    UPDATE accounts SET balance = balance - $2 WHERE id = $1 AND balance >= $2 RETURNING balance
), entry AS (
    INSERT INTO ledger (account_id, type, count, message_id, campaign_id, balance_after)
    SELECT $1, 'reserve', $2, $3, $8, balance FROM account
), command AS (
    INSERT INTO outbox (exchange, routing_key, type, body, traceparent)
    SELECT $4, c.routing_key, $5, c.body, $9
    FROM unnest($6::text[], $7::bytea[]) AS c (routing_key, body), account
    RETURNING id
)
SELECT account.balance, ARRAY(SELECT id FROM command) AS outbox_ids FROM account
