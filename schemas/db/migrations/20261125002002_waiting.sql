-- migrate:up

-- Why a message waits and until when at the earliest, of what was known at this moment: its campaign
-- is paused, its own time has not come, its device may not send, or others of its flow stand before
-- it, of whom no more than `most` are counted; each takes as long as the pace of the device tells.
CREATE FUNCTION message_wait(p parked, d devices, campaign_status text, most integer)
RETURNS TABLE (reason text, until timestamptz) LANGUAGE sql STABLE AS $$
    SELECT
        CASE
            WHEN campaign_status = 'paused' THEN 'paused'
            WHEN p.not_before > COALESCE(w.until, CASE WHEN w.reason IS NULL THEN now() END)
                THEN p.reason
            WHEN w.reason IS NOT NULL THEN w.reason
            WHEN before.messages > 0 OR pace.seconds IS NULL THEN 'behind'
            ELSE 'device_rate'
        END,
        CASE WHEN campaign_status IS DISTINCT FROM 'paused' AND (w.until IS NOT NULL OR w.reason IS NULL)
            THEN NULLIF(GREATEST(p.not_before, w.until, now())
                + COALESCE(before.messages * pace.seconds, 0) * interval '1 second', now())
        END
    FROM (SELECT GREATEST(1 / d.per_second, 60.0 / d.per_minute) AS seconds) pace
    LEFT JOIN LATERAL device_wait(d) w ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS messages FROM (
            SELECT FROM parked q
            WHERE q.device_id = p.device_id AND q.priority = p.priority AND q.flow = p.flow
                AND (q.not_before, q.message_id) < (p.not_before, p.message_id)
                AND p.not_before <= now()
            LIMIT most
        ) counted
    ) before
$$;

-- migrate:down
