-- name: may
-- Whether commands of this user may name the account; and then, whether its owner's e-mail is
-- verified.
SELECT a.email_verified_at IS NOT NULL AS verified
FROM upstreams u JOIN accounts a ON a.id = u.account_id
WHERE u.user_name = $1 AND u.account_id = $2

-- name: add
-- Let commands of this user name the account; no row without such an account.
INSERT INTO upstreams (user_name, account_id)
SELECT $1, id FROM accounts WHERE id = $2
ON CONFLICT (user_name, account_id) DO UPDATE SET user_name = EXCLUDED.user_name
RETURNING user_name, account_id, created_at

-- name: remove
-- Commands of this user may name the account no longer.
DELETE FROM upstreams WHERE user_name = $1 AND account_id = $2
RETURNING user_name, account_id, created_at

-- name: all
-- Every user and the accounts that its commands may name.
SELECT u.user_name, u.account_id, a.name AS account, u.created_at
FROM upstreams u JOIN accounts a ON a.id = u.account_id
ORDER BY u.user_name, u.account_id

-- name: users
-- Every user whose commands may name an account.
SELECT DISTINCT user_name FROM upstreams

-- name: put_answer
-- Hand over the answer to a command.
INSERT INTO outbox (exchange, routing_key, type, body, correlation_id, traceparent)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id
