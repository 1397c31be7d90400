-- name: create
-- A new group.
INSERT INTO contact_groups (account_id, name, description) VALUES ($1, $2, $3)
RETURNING id, name, description, contacts, created_at, updated_at

-- name: one
-- A group of this account.
SELECT id, name, description, contacts, created_at, updated_at
FROM contact_groups WHERE account_id = $1 AND id = $2

-- name: hold
-- A group of this account, which stays until the transaction ends.
SELECT id FROM contact_groups WHERE account_id = $1 AND id = $2 FOR KEY SHARE

-- name: page
-- The groups of an account, newest first.
SELECT id, name, description, contacts, created_at, updated_at
FROM contact_groups
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many groups there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM contact_groups WHERE account_id = $1 LIMIT $2) g

-- name: update
-- Change the fields that are named in $3.
UPDATE contact_groups SET
    name = CASE WHEN 'name' = ANY($3::text[]) THEN $4 ELSE name END,
    description = CASE WHEN 'description' = ANY($3) THEN $5 ELSE description END,
    updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING id, name, description, contacts, created_at, updated_at

-- name: delete
-- Forget a group; its contacts stay.
DELETE FROM contact_groups WHERE account_id = $1 AND id = $2 RETURNING id

-- name: known
-- Which of these are contacts of this account; they stay until the transaction ends.
SELECT id FROM contacts WHERE account_id = $1 AND id = ANY($2::bigint[])
ORDER BY id FOR KEY SHARE

-- name: add
-- Put contacts into a group; those that are in it already stay.
WITH added AS (
    INSERT INTO contact_group_members (group_id, contact_id)
    SELECT $1, id FROM unnest($2::bigint[]) AS c (id) ORDER BY id
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM added

-- name: remove
-- Take contacts out of a group.
WITH removed AS (
    DELETE FROM contact_group_members WHERE group_id = $1 AND contact_id = ANY($2::bigint[])
    RETURNING 1
)
SELECT count(*) FROM removed

-- name: members
-- The contacts of a group, newest first.
SELECT c.id, c.phone, c.name, c.external_id, c.attributes, c.opted_out_at, c.created_at,
    c.updated_at
FROM contact_group_members m JOIN contacts c ON c.id = m.contact_id
WHERE m.group_id = $1 AND ($2::bigint IS NULL OR m.contact_id < $2)
ORDER BY m.contact_id DESC LIMIT $3 OFFSET $4
