-- name: create
-- A new group.
INSERT INTO contact_groups (account_id, name, description) VALUES ($1, $2, $3)
RETURNING id, name, description, 0::bigint AS contacts, created_at, updated_at

-- name: one
-- A group of this account, and how many contacts it has.
SELECT g.id, g.name, g.description, g.created_at, g.updated_at,
    (SELECT count(*) FROM contact_group_members m WHERE m.group_id = g.id) AS contacts
FROM contact_groups g WHERE g.account_id = $1 AND g.id = $2

-- name: page
-- The groups of an account, newest first.
SELECT g.id, g.name, g.description, g.created_at, g.updated_at,
    (SELECT count(*) FROM contact_group_members m WHERE m.group_id = g.id) AS contacts
FROM contact_groups g
WHERE g.account_id = $1 AND ($2::bigint IS NULL OR g.id < $2)
ORDER BY g.id DESC LIMIT $3 OFFSET $4

-- name: count
-- How many groups there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM contact_groups WHERE account_id = $1 LIMIT $2) g

-- name: update
-- Change the fields that are named in $3.
UPDATE contact_groups g SET
    name = CASE WHEN 'name' = ANY($3::text[]) THEN $4 ELSE name END,
    description = CASE WHEN 'description' = ANY($3) THEN $5 ELSE description END,
    updated_at = now()
WHERE account_id = $1 AND id = $2
RETURNING id, name, description, created_at, updated_at,
    (SELECT count(*) FROM contact_group_members m WHERE m.group_id = g.id) AS contacts

-- name: delete
-- Forget a group; its contacts stay.
DELETE FROM contact_groups WHERE account_id = $1 AND id = $2 RETURNING id

-- name: known
-- Which of these are contacts of this account.
SELECT id FROM contacts WHERE account_id = $1 AND id = ANY($2::bigint[])

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

-- name: count_members
-- How many contacts a group has, counted up to a limit.
SELECT count(*) FROM (SELECT FROM contact_group_members WHERE group_id = $1 LIMIT $2) m
