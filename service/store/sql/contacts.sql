-- name: upsert
-- Create or update a contact by its phone; null leaves a field as it is, attributes are replaced
-- as a whole. `created` tells which it was, `opted_out_now` whether that is new.
INSERT INTO contacts AS c (account_id, phone, name, external_id, attributes, opted_out_at)
VALUES ($1, $2, $3, $4, COALESCE($5::jsonb, '{}'), CASE WHEN $6::boolean THEN now() END)
ON CONFLICT (account_id, phone) DO UPDATE SET
    name = COALESCE(EXCLUDED.name, c.name),
    external_id = COALESCE(EXCLUDED.external_id, c.external_id),
    attributes = COALESCE($5::jsonb, c.attributes),
    opted_out_at = CASE
        WHEN $6 IS NULL THEN c.opted_out_at
        WHEN $6 THEN COALESCE(c.opted_out_at, now())
    END,
    updated_at = now()
RETURNING id, phone, name, external_id, attributes, opted_out_at, created_at, updated_at,
    xmax = 0 AS created, COALESCE(opted_out_at = now(), false) AS opted_out_now

-- name: one
-- A contact of this account.
SELECT id, phone, name, external_id, attributes, opted_out_at, created_at, updated_at
FROM contacts WHERE account_id = $1 AND id = $2

-- name: update
-- Change the fields that are named in $3.
UPDATE contacts SET
    phone = CASE WHEN 'phone' = ANY($3::text[]) THEN $4 ELSE phone END,
    name = CASE WHEN 'name' = ANY($3) THEN $5 ELSE name END,
    external_id = CASE WHEN 'external_id' = ANY($3) THEN $6 ELSE external_id END,
    attributes = CASE WHEN 'attributes' = ANY($3) THEN COALESCE($7::jsonb, '{}') ELSE attributes END,
    opted_out_at = CASE
        WHEN NOT 'opted_out' = ANY($3) THEN opted_out_at
        WHEN $8::boolean THEN COALESCE(opted_out_at, now())
    END,
    updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING id, phone, name, external_id, attributes, opted_out_at, created_at, updated_at,
    COALESCE(opted_out_at = now(), false) AS opted_out_now

-- name: delete
-- Forget a contact; messages to it stay.
DELETE FROM contacts WHERE account_id = $1 AND id = $2 RETURNING id

-- name: page
-- The contacts of an account, newest first.
SELECT id, phone, name, external_id, attributes, opted_out_at, created_at, updated_at
FROM contacts
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: page_external
-- Those with an external id.
SELECT id, phone, name, external_id, attributes, opted_out_at, created_at, updated_at
FROM contacts
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2) AND external_id = $5
    AND ($6::text IS NULL
        OR search_text LIKE lower($6) AND (position(E'\n' IN $6) = 0 OR name ILIKE $6))
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: page_search
-- Those whose name or phone contains a text, which comes as a pattern. `search_text` has both with
-- a line feed between: a text with one can only be found in a name, and is looked for there.
SELECT id, phone, name, external_id, attributes, opted_out_at, created_at, updated_at
FROM contacts
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
    AND search_text LIKE lower($5) AND (position(E'\n' IN $5) = 0 OR name ILIKE $5)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM contacts WHERE account_id = $1 LIMIT $2) c

-- name: count_external
-- How many with an external id.
SELECT count(*) FROM (
    SELECT FROM contacts WHERE account_id = $1 AND external_id = $3
        AND ($4::text IS NULL
            OR search_text LIKE lower($4) AND (position(E'\n' IN $4) = 0 OR name ILIKE $4))
    LIMIT $2
) c

-- name: count_search
-- How many contain a text.
SELECT count(*) FROM (
    SELECT FROM contacts WHERE account_id = $1
        AND search_text LIKE lower($3) AND (position(E'\n' IN $3) = 0 OR name ILIKE $3)
    LIMIT $2
) c
