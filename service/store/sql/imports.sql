-- name: create
-- A new import; its chunks follow in the same transaction.
INSERT INTO contact_imports (account_id, group_id, columns) VALUES ($1, $2, $3) RETURNING id

-- name: put_chunk
-- The next rows of the file.
INSERT INTO contact_import_chunks (import_id, number, body) VALUES ($1, $2, $3)

-- name: received
-- All rows are here.
UPDATE contact_imports SET rows = $2 WHERE id = $1
RETURNING id, group_id, state, error, rows, done, created, updated, rejected, created_at,
    completed_at

-- name: one
-- An import of this account.
SELECT id, group_id, state, error, rows, done, created, updated, rejected, created_at,
    completed_at
FROM contact_imports WHERE account_id = $1 AND id = $2

-- name: page
-- The imports of an account, newest first.
SELECT id, group_id, state, error, rows, done, created, updated, rejected, created_at,
    completed_at
FROM contact_imports
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many imports there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM contact_imports WHERE account_id = $1 LIMIT $2) i

-- name: errors
-- The rows that were refused, from a line on.
SELECT line, phone, code, detail FROM contact_import_errors
WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3

-- name: open
-- How many imports of an account are not worked off, counted up to a limit.
SELECT count(*) FROM (
    SELECT FROM contact_imports WHERE account_id = $1 AND state IN ('queued', 'running') LIMIT $2
) i

-- name: take
-- The import whose turn it is: of each account its oldest, and of those the one that was worked on
-- least recently. Nobody else works on it until the transaction ends.
SELECT i.id, i.account_id, i.group_id, i.columns FROM contact_imports i
WHERE i.state IN ('queued', 'running') AND NOT EXISTS (
    SELECT FROM contact_imports older
    WHERE older.account_id = i.account_id AND older.id < i.id
        AND older.state IN ('queued', 'running')
)
ORDER BY i.worked_at, i.id LIMIT 1 FOR UPDATE OF i SKIP LOCKED

-- name: next_chunk
-- Take out its next chunk.
DELETE FROM contact_import_chunks
WHERE import_id = $1 AND number = (
    SELECT min(number) FROM contact_import_chunks WHERE import_id = $1
)
RETURNING body

-- name: upsert
-- Create or update contacts by phone; null leaves a field as it is. Whether each was created.
INSERT INTO contacts AS c (account_id, phone, name, external_id, attributes)
SELECT $1, n.phone, n.name, n.external_id, COALESCE(n.attributes, '{}')
FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[])
    AS n (phone, name, external_id, attributes)
ORDER BY n.phone
ON CONFLICT (account_id, phone) DO UPDATE SET
    name = COALESCE(EXCLUDED.name, c.name),
    external_id = COALESCE(EXCLUDED.external_id, c.external_id),
    attributes = CASE WHEN $6 THEN EXCLUDED.attributes ELSE c.attributes END,
    updated_at = now()
RETURNING id, xmax = 0 AS created

-- name: put_errors
-- Note the rows that were refused.
INSERT INTO contact_import_errors (import_id, line, phone, code, detail)
SELECT $1, e.line, e.phone, e.code, e.detail
FROM unnest($2::int[], $3::text[], $4::text[], $5::text[]) AS e (line, phone, code, detail)

-- name: advance
-- Count a chunk; with the last one the import is complete.
UPDATE contact_imports i SET
    done = done + $2, created = created + $3, updated = updated + $4, rejected = rejected + $5,
    state = CASE WHEN open.chunks THEN 'running' ELSE 'completed' END,
    worked_at = clock_timestamp(),
    completed_at = CASE WHEN NOT open.chunks THEN now() END
FROM (SELECT EXISTS (SELECT FROM contact_import_chunks WHERE import_id = $1) AS chunks) open
WHERE i.id = $1
RETURNING i.state

-- name: fail
-- An import that cannot go on; what it did stays.
WITH dropped AS (
    DELETE FROM contact_import_chunks WHERE import_id = $1
)
UPDATE contact_imports SET state = 'failed', error = $2, completed_at = now() WHERE id = $1

-- name: forget
-- Drop one import that ended so many seconds ago, with the rows it refused.
DELETE FROM contact_imports WHERE id = (
    SELECT id FROM contact_imports WHERE completed_at < now() - make_interval(secs => $1)
    ORDER BY completed_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id
