-- name: keep
-- Count what providers said that nothing reads, and keep the last of each kind.
INSERT INTO unread_callbacks AS u (device_id, kind, count, first_at, last_at, body)
SELECT n.device_id, n.kind, count(*), min(n.at), max(n.at),
    (array_agg(n.body ORDER BY n.at DESC))[1]
FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::timestamptz[])
    AS n (device_id, kind, body, at)
GROUP BY n.device_id, n.kind ORDER BY n.device_id, n.kind
ON CONFLICT (device_id, kind) DO UPDATE SET
    count = u.count + EXCLUDED.count, last_at = GREATEST(u.last_at, EXCLUDED.last_at),
    body = EXCLUDED.body

-- name: all_of
-- What came to a device, or to any, the latest first.
SELECT u.device_id, d.driver, u.kind, u.count, u.first_at, u.last_at, u.body
FROM unread_callbacks u JOIN devices d ON d.id = u.device_id
WHERE $1::bigint IS NULL OR u.device_id = $1
ORDER BY u.last_at DESC, u.device_id, u.kind

-- name: forget
-- What did not come again for long enough.
DELETE FROM unread_callbacks WHERE last_at < now() - make_interval(days => $1)
