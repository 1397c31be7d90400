-- name: lock_address
-- One at a time for an address, however it is written, so that its mails can be counted.
SELECT pg_advisory_xact_lock(hashtextextended('hantar.mail ' || lower($1), 0))

-- name: wait
-- Seconds until an account may ask for another mail: one in $2 seconds and $3 a day.
WITH latest AS (
    SELECT created_at FROM mails
    WHERE account_id = $1 AND created_at > now() - interval '1 day'
    ORDER BY created_at DESC LIMIT $3
)
SELECT GREATEST(0,
    EXTRACT(epoch FROM max(created_at) - now()) + $2::double precision,
    CASE WHEN count(*) = $3
        THEN EXTRACT(epoch FROM min(created_at) + interval '1 day' - now()) END
)::double precision
FROM latest

-- name: queue
-- Another mail for an account, unless its address got as many as it may today, whoever asked.
INSERT INTO mails (account_id)
SELECT $1 WHERE (
    SELECT count(*) FROM accounts a JOIN mails m ON m.account_id = a.id
    WHERE lower(a.email) = lower($2) AND m.created_at > now() - interval '1 day'
) < $3

-- name: take
-- The next mails to send; they are this process's for $2 seconds, then somebody else may try.
WITH due AS MATERIALIZED (
    SELECT id FROM mails WHERE state = 'pending' AND due_at <= now()
    ORDER BY due_at LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE mails m SET due_at = now() + make_interval(secs => $2), attempts = attempts + 1
FROM due, accounts a
WHERE m.id = due.id AND a.id = m.account_id
RETURNING m.id, m.account_id, m.attempts, a.email, a.email_verified_at IS NOT NULL AS verified,
    EXISTS (
        SELECT FROM accounts o
        WHERE lower(o.email) = lower(a.email) AND o.email_verified_at IS NOT NULL
            AND o.id <> a.id
    ) AS taken

-- name: settle
-- What became of a mail for good.
UPDATE mails SET state = $2, last_error = $3 WHERE id = $1 AND state = 'pending'

-- name: again
-- A mail that could not be sent now: again after $3 seconds.
UPDATE mails SET last_error = $2, due_at = now() + make_interval(secs => $3)
WHERE id = $1 AND state = 'pending'

-- name: backlog
-- For how long the oldest mail has waited.
SELECT COALESCE(EXTRACT(epoch FROM now() - min(created_at)), 0)::double precision
FROM mails WHERE state = 'pending'

-- name: prune
-- Forget old mails.
DELETE FROM mails WHERE id IN (
    SELECT id FROM mails WHERE created_at < now() - make_interval(days => $1)
    ORDER BY created_at LIMIT $2
)
