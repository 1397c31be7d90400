-- name: create
-- A new template; nothing when the account has one with this slug.
INSERT INTO templates (account_id, name, slug, body, is_active, media, meta)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb)
ON CONFLICT (account_id, slug) DO NOTHING
RETURNING id, name, slug, body, is_active, media, meta, created_at, updated_at,
    template_standing(account_id, meta) AS standing

-- name: slugs
-- The slugs of an account that begin with this one.
SELECT slug FROM templates WHERE account_id = $1 AND starts_with(slug, $2)

-- name: one
-- A template of this account.
SELECT id, name, slug, body, is_active, media, meta, created_at, updated_at,
    template_standing(account_id, meta) AS standing
FROM templates WHERE account_id = $1 AND id = $2

-- name: page
-- The templates of an account, newest first.
SELECT id, name, slug, body, is_active, media, meta, created_at, updated_at,
    template_standing(account_id, meta) AS standing
FROM templates
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2) AND (is_active OR NOT $5)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many templates there are, counted up to a limit.
SELECT count(*) FROM (
    SELECT FROM templates WHERE account_id = $1 AND (is_active OR NOT $3) LIMIT $2
) t

-- name: update
-- Change the fields that are named in $3.
UPDATE templates SET
    name = CASE WHEN 'name' = ANY($3::text[]) THEN $4 ELSE name END,
    slug = CASE WHEN 'slug' = ANY($3) THEN $5 ELSE slug END,
    body = CASE WHEN 'body' = ANY($3) THEN $6 ELSE body END,
    is_active = CASE WHEN 'is_active' = ANY($3) THEN $7 ELSE is_active END,
    media = CASE WHEN 'media' = ANY($3) THEN $8::jsonb ELSE media END,
    meta = CASE WHEN 'meta' = ANY($3) THEN $9::jsonb ELSE meta END,
    updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING id, name, slug, body, is_active, media, meta, created_at, updated_at,
    template_standing(account_id, meta) AS standing

-- name: delete
-- Forget a template; messages made from it stay.
DELETE FROM templates WHERE account_id = $1 AND id = $2 RETURNING id
