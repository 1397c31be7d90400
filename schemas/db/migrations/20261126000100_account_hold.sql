-- migrate:up

-- What keeps a device as a whole from sending, and until when (NULL is until somebody acts); of
-- several the last to end. No row when nothing does. An account may be held as a whole as well.
CREATE OR REPLACE FUNCTION device_wait(d devices) RETURNS TABLE (reason text, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT w.reason, NULLIF(w.until, 'infinity')
    FROM (VALUES
        (1, 'paused', CASE WHEN d.paused THEN 'infinity'::timestamptz END),
        (2, 'not_ready', CASE WHEN d.state NOT IN ('ready', 'throttled') THEN 'infinity'::timestamptz END),
        (3, 'quiet_hours', CASE WHEN d.quiet_start IS NOT NULL
            THEN quiet_until(d.quiet_start, d.quiet_end, d.quiet_timezone, now()) END),
        (4, d.budget_reason, d.budget_until),
        (5, CASE WHEN d.factor_until > now() THEN 'throttled' ELSE 'held' END, d.hold_until),
        (6, 'held', (SELECT a.hold_until FROM accounts a WHERE a.id = d.account_id))
    ) w (n, reason, until)
    WHERE w.until > now()
    ORDER BY w.until DESC, w.n LIMIT 1
$$;

-- migrate:down
