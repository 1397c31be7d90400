-- name: count
-- How many event messages of an account there are from a time on and before another, up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM events WHERE account_id = $1 AND at >= $2 AND at < $3 LIMIT $4
) e

-- name: page
-- The next event messages of an account in a range of time, in the order they were told.
SELECT id, account_id, at, routing_key, type, body, correlation_id FROM events
WHERE account_id = $1 AND at >= $2 AND at < $3 AND (at, id) > ($4, $5)
ORDER BY at, id LIMIT $6

-- name: forget
-- Drop what is too old among the first so many.
DELETE FROM events WHERE id IN (
    SELECT id FROM (SELECT id, at FROM events ORDER BY id LIMIT $2) e
    WHERE at < now() - make_interval(days => $1)
)
