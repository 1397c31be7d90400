-- name: create_account
-- A new account without credits, unless its e-mail has one.
INSERT INTO accounts (name, email, email_verified_at)
SELECT $1, $2, CASE WHEN $3::boolean THEN now() END
WHERE NOT EXISTS (SELECT FROM accounts WHERE lower(email) = lower($2))
RETURNING id, name, email, email_verified_at, balance, created_at

-- name: sign_up
-- A new account of somebody who says that the e-mail is theirs; others may have said so too.
INSERT INTO accounts (name, email) VALUES ($1, $2)
RETURNING id, name, email, email_verified_at, balance, created_at

-- name: accounts
-- Every account.
SELECT id, name, email, email_verified_at, balance, created_at FROM accounts ORDER BY id

-- name: verify_account
-- Take the owner's e-mail as verified; the first time counts.
UPDATE accounts SET email_verified_at = COALESCE(email_verified_at, now()) WHERE id = $1
RETURNING id, name, email, email_verified_at, balance, created_at

-- name: create_key
-- A new key, of which only the hash is kept.
INSERT INTO api_keys (account_id, name, hash, expires_at)
SELECT id, $2, $3, $4 FROM accounts WHERE id = $1
RETURNING id, account_id, name, expires_at, last_used_at, revoked_at, created_at

-- name: keys
-- The keys of an account.
SELECT id, account_id, name, expires_at, last_used_at, revoked_at, created_at
FROM api_keys WHERE account_id = $1 ORDER BY id

-- name: revoke_key
-- A key that must not be used any more; the first time counts.
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE id = $1
RETURNING id, account_id, name, expires_at, last_used_at, revoked_at, created_at

-- name: authenticate
-- Whose key this is, unless it was revoked or its time is over.
SELECT k.id AS key_id, k.account_id, a.email_verified_at IS NOT NULL AS email_verified
FROM api_keys k JOIN accounts a ON a.id = k.account_id
WHERE k.hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())

-- name: touch_keys
-- Note that keys were used, each at most once a minute; one that another process notes is left.
UPDATE api_keys SET last_used_at = now()
WHERE id IN (
    SELECT id FROM api_keys
    WHERE id = ANY($1::bigint[])
        AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
    FOR NO KEY UPDATE SKIP LOCKED
)

-- name: grant
-- Give credits to an account.
WITH account AS (
    UPDATE accounts SET balance = balance + $2 WHERE id = $1 RETURNING id, balance
)
INSERT INTO ledger (account_id, type, count, note, balance_after)
SELECT id, 'grant', $2, $3, balance FROM account
RETURNING id, type, amount, count, message_id, campaign_id, note, balance_after, created_at

-- name: credits
-- What an account can reserve, and what is reserved: by the sum of its first entries, and the rest.
SELECT a.id AS account_id, a.balance,
    COALESCE(s.reserved, 0) + COALESCE((
        SELECT sum(CASE l.type WHEN 'reserve' THEN l.count ELSE -l.count END)
        FROM ledger l
        WHERE l.account_id = a.id AND l.id > COALESCE(s.up_to_id, 0)
            AND l.type IN ('reserve', 'settle', 'release')
    ), 0)::bigint AS reserved
FROM accounts a LEFT JOIN ledger_sums s ON s.account_id = a.id
WHERE a.id = $1

-- name: installation
-- What every process must agree on.
SELECT shards, secret FROM installation

-- name: install
-- Fix the number of shards, once, with a lease for each.
WITH made AS (
    INSERT INTO installation (shards) VALUES ($1) ON CONFLICT DO NOTHING RETURNING shards
)
INSERT INTO shard_leases (shard) SELECT generate_series(0, shards - 1) FROM made

-- name: account
-- One account.
SELECT id, name, email, email_verified_at, balance, created_at FROM accounts WHERE id = $1

-- name: key
-- One key.
SELECT id, account_id, name, expires_at, last_used_at, revoked_at, created_at
FROM api_keys WHERE id = $1

-- name: ledger
-- The ledger of an account, newest first.
SELECT id, type, amount, count, message_id, campaign_id, note, balance_after, created_at
FROM ledger
WHERE account_id = $1 AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3 OFFSET $4

-- name: count_ledger
-- How many entries there are, counted up to a limit.
SELECT count(*) FROM (SELECT FROM ledger WHERE account_id = $1 LIMIT $2) l
