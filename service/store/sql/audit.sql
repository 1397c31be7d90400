-- name: audit
-- Every account whose books do not agree: the ledger with the balance, or with its messages.
WITH books AS (
    SELECT account_id,
        sum(amount) FILTER (WHERE book = 'available') AS available,
        sum(amount) FILTER (WHERE book = 'reserved') AS reserved,
        sum(amount) FILTER (WHERE book = 'spent') AS spent
    FROM ledger_postings GROUP BY account_id
), held AS (
    SELECT account_id, sum(reserved) AS reserved, sum(spent) AS spent
    FROM (
        SELECT account_id, count(*) FILTER (WHERE credit = 'reserved') AS reserved,
            count(*) FILTER (WHERE credit = 'settled') AS spent
        FROM messages GROUP BY account_id
        UNION ALL
        -- recipients of campaigns that are not messages yet
        SELECT account_id, sum(pending), 0 FROM campaigns GROUP BY account_id
    ) h GROUP BY account_id
)
SELECT a.id AS account_id, a.balance,
    COALESCE(b.available, 0)::bigint AS ledger_available,
    COALESCE(b.reserved, 0)::bigint AS ledger_reserved,
    COALESCE(h.reserved, 0)::bigint AS messages_reserved,
    COALESCE(b.spent, 0)::bigint AS ledger_spent,
    COALESCE(h.spent, 0)::bigint AS messages_spent
FROM accounts a
LEFT JOIN books b ON b.account_id = a.id
LEFT JOIN held h ON h.account_id = a.id
WHERE a.balance <> COALESCE(b.available, 0)
    OR COALESCE(b.reserved, 0) <> COALESCE(h.reserved, 0)
    OR COALESCE(b.spent, 0) <> COALESCE(h.spent, 0)
ORDER BY a.id
