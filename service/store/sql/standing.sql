-- name: stand
-- What its provider says of a device; an older word changes nothing. Its phone is noted where none
-- is known.
UPDATE devices SET
    standing = COALESCE(standing, '{}') || $3::jsonb || jsonb_build_object('at', $2::timestamptz),
    phone = COALESCE(phone, $4)
WHERE id = $1 AND deleted_at IS NULL
    AND COALESCE((standing ->> 'at')::timestamptz <= $2, true)

-- name: stand_templates
-- What providers say of templates of their own; an older word changes nothing.
INSERT INTO template_standings AS s (device_id, name, language, status, reason, at)
SELECT DISTINCT ON (n.device_id, n.name, n.language)
    n.device_id, n.name, n.language, n.status, n.reason, n.at
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
    AS n (device_id, name, language, status, reason, at)
ORDER BY n.device_id, n.name, n.language, n.at DESC
ON CONFLICT (device_id, name, language) DO UPDATE SET
    status = EXCLUDED.status, reason = EXCLUDED.reason, at = EXCLUDED.at
WHERE s.at <= EXCLUDED.at

-- name: release
-- Let go on what waits for a template: those whose twin it is are held no more, and their messages
-- come up now.
WITH twins AS (
    SELECT t.id FROM devices d JOIN templates t ON t.account_id = d.account_id
    WHERE d.id = $1 AND t.meta ->> 'name' = $2 AND t.meta ->> 'language' = $3
), held AS (
    DELETE FROM holds h USING twins t
    WHERE h.device_id = $1 AND h.name = 'template:' || t.id
), waiting AS (
    SELECT p.message_id FROM parked p JOIN messages m ON m.id = ANY(array_append('{}', p.message_id))
    WHERE p.device_id = $1 AND p.reason = 'held' AND p.not_before > now()
        AND m.template_id IN (SELECT id FROM twins)
    LIMIT $4
)
UPDATE parked p SET not_before = now() FROM waiting w WHERE p.message_id = w.message_id
