"""A database with a million contacts and a million messages of one account among a hundred."""

from __future__ import annotations

ACCOUNTS = 100
ROWS = 1_000_000
#: of each other account
OTHERS_ROWS = 10_000
_ALL = ROWS + (ACCOUNTS - 1) * OTHERS_ROWS

#: Account 1 is the large one; the rows of all lie among one another, as they would have come.
FILL = f"""
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
INSERT INTO accounts (name, email, email_verified_at, balance)
    SELECT 'Account ' || n, n || '@example.com', now(), 0 FROM generate_series(1, {ACCOUNTS}) n;
INSERT INTO devices (account_id, name, driver, state, shard)
    SELECT id, 'Simulated', 'simulator', 'ready', 0 FROM accounts ORDER BY id;
CREATE TEMP TABLE crowd AS
    SELECT row_number() OVER (ORDER BY hashint8(n)) AS place, n,
        CASE WHEN n <= {ROWS} THEN 1 ELSE 2 + n % {ACCOUNTS - 1} END AS account_id
    FROM generate_series(1, {_ALL}) n;
INSERT INTO contacts (account_id, phone, name, external_id)
    SELECT account_id, '+6012' || lpad(n::text, 7, '0'),
        (ARRAY['Aminah', 'Tan', 'Siti', 'Kumar', 'Farid', 'Mei Ling', 'Raj', 'Nurul', 'Wong',
            'Lim', 'Azlan', 'Devi', 'Chong', 'Hafiz', 'Priya', 'Zulkifli', 'Grace'])[1 + n % 17]
        || ' ' || (ARRAY['binti Ali', 'Wei Ming', 'a/l Samy', 'Abdullah', 'Ibrahim', 'Lee',
            'Osman', 'Rahman', 'Goh', 'Krishnan', 'Yusof', 'Ng', 'Ismail'])[1 + n % 13]
        || ' ' || n, 'crm-' || n
    FROM crowd ORDER BY place;
-- Nearly all came to their end, the newest few hundred are on their way, and here and there one
-- did not arrive.
INSERT INTO messages (account_id, device_id, phone, body, status, credit, priority, failed_at,
        sent_at, error_code)
    SELECT account_id, account_id, '+6012' || lpad((n % 200000)::text, 7, '0'), 'hello',
        status, CASE WHEN status < 'sent' THEN 'reserved' ELSE 'settled' END::message_credit,
        1, CASE WHEN status = 'failed' THEN now() END,
        CASE WHEN status >= 'sent' THEN now() END,
        CASE status WHEN 'failed' THEN 'not_on_whatsapp' WHEN 'expired' THEN 'expired' END
    FROM (
        SELECT *, CASE
            WHEN place > {_ALL - 400} THEN 'queued'
            WHEN n % 4000 = 7 AND place < {_ALL // 2} THEN 'failed'
            WHEN n % 50000 = 8 AND place < {_ALL // 10} THEN 'expired'
            WHEN n % 3 = 0 THEN 'read'
            ELSE 'delivered' END::message_status AS status
        FROM crowd ORDER BY place
    ) c ORDER BY place;
DROP TABLE crowd;
ANALYZE;
"""
