-- name: claim
-- Take queued messages for one attempt each, and say of every row it held what became of it.
-- Only the owner of a shard's current epoch gets any. A row that another transaction holds is
-- left out, as waiting for it would hold up the whole group. Nothing is claimed that is parked
-- for later, expired, opted out of, or whose device, account or campaign is held, paused or
-- cancelled. Budgets over more than a minute are counted here, longer by $8: so long may pass from
-- the claim to its call. A message of a device that has some is `counted` until they have spoken,
-- in the order of $1; for all others there is nothing to count.
WITH own AS (
    SELECT l.shard, l.epoch
    FROM unnest($5::int[], $6::bigint[]) AS o (shard, epoch)
    JOIN shard_leases l ON l.shard = o.shard AND l.epoch = o.epoch AND l.owner = $4
), held AS MATERIALIZED (
    SELECT m.id, m.account_id, m.device_id, m.campaign_id, m.template_id, m.phone, m.priority,
        m.expires_at
    FROM messages m
    WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
        AND m.status IN ('queued', 'scheduled')
    ORDER BY m.id
    FOR NO KEY UPDATE SKIP LOCKED
), judged AS MATERIALIZED (
    SELECT h.id, h.device_id, h.campaign_id, h.phone, h.priority, h.expires_at, own.shard,
        own.epoch, own.epoch + d.fence AS call_epoch, array_position($1::bigint[], h.id) AS place,
        CASE
            WHEN k.status = 'cancelled' THEN 'cancelled'
            WHEN h.expires_at <= now() THEN 'expired'
            WHEN c.opted_out_at IS NOT NULL THEN 'opted_out'
            WHEN p.not_before > now() THEN 'parked'
            WHEN d.deleted_at IS NOT NULL THEN 'no_device'
            WHEN d.paused OR k.status = 'paused' THEN 'paused'
            WHEN d.state NOT IN ('ready', 'throttled') THEN 'not_ready'
            WHEN GREATEST(d.hold_until, a.hold_until, n.hold_until) > now() THEN 'held'
            WHEN q.until IS NOT NULL THEN 'quiet_hours'
            WHEN num_nonnulls(d.per_hour, d.per_day, d.pair_seconds, d.recipients_per_day,
                d.warm_up_days) > 0 THEN 'counted'
            ELSE 'claimed'
        END AS verdict,
        GREATEST(d.hold_until, a.hold_until, n.hold_until, q.until) AS hold_until,
        d.per_second, d.per_minute, d.jitter_seconds, d.xmin AS version
    FROM held h
    JOIN devices d ON d.id = h.device_id
    JOIN own ON own.shard = d.shard
    JOIN accounts a ON a.id = h.account_id
    LEFT JOIN contacts c ON c.account_id = h.account_id AND c.phone = h.phone
    LEFT JOIN campaigns k ON k.id = h.campaign_id
    LEFT JOIN parked p ON p.message_id = h.id
    LEFT JOIN LATERAL (
        SELECT max(x.hold_until) AS hold_until FROM holds x
        WHERE x.device_id = h.device_id
            AND x.name = ANY(ARRAY[h.phone, 'template:' || h.template_id])
    ) n ON true
    LEFT JOIN LATERAL (
        SELECT COALESCE(
            quiet_until(d.quiet_start, d.quiet_end, d.quiet_timezone, now()),
            quiet_until(d.quiet_start, d.quiet_end, d.quiet_timezone, now() + $8)
        ) AS until
    ) q ON d.quiet_start IS NOT NULL
), uses AS MATERIALIZED (
    SELECT u.device_id, u.calls, u.first_at
    FROM device_uses u
    WHERE u.device_id IN (SELECT device_id FROM judged WHERE verdict = 'counted')
    FOR NO KEY UPDATE SKIP LOCKED
), groups AS MATERIALIZED (
    SELECT g.name, g.recipients
    FROM budget_groups g
    WHERE g.name IN (SELECT d.budget_group FROM devices d JOIN uses u ON u.device_id = d.id)
    FOR NO KEY UPDATE SKIP LOCKED
), forgotten AS (
    -- those of this claim stay: they are written again below
    DELETE FROM budget_recipients r USING groups g CROSS JOIN LATERAL (
        SELECT o.phone FROM budget_recipients o
        WHERE o.budget_group = g.name AND o.forget_at <= now()
        ORDER BY o.forget_at LIMIT 2000
    ) o
    WHERE r.budget_group = g.name AND r.phone = o.phone AND NOT r.phone IN (SELECT phone FROM judged)
    RETURNING r.budget_group, r.counted_by IS NOT NULL AS counted
), room AS MATERIALIZED (
    SELECT d.id AS device_id, d.budget_group, d.per_hour, d.recipients_per_day,
        NULLIF(d.pair_seconds, 0) * interval '1 second' + $8 AS pair, u.calls, u.first_at, cap.per_day,
        num_nonnulls(d.per_hour, d.per_day, d.warm_up_days) > 0 AS counts_calls,
        d.per_hour - u.calls + COALESCE(hour.calls, u.calls) AS hour_left,
        cap.per_day - u.calls + COALESCE(day.calls, u.calls) AS day_left,
        d.recipients_per_day - g.recipients + (SELECT count(*) FROM forgotten f
            WHERE f.budget_group = g.name AND f.counted) AS recipients_left
    FROM uses u
    JOIN devices d ON d.id = u.device_id
    JOIN groups g ON g.name = d.budget_group
    CROSS JOIN LATERAL (
        SELECT daily_cap(d.per_day, d.warm_up_days, u.first_at, now()) AS per_day
    ) cap
    LEFT JOIN LATERAL (
        SELECT k.calls FROM device_use_marks k
        WHERE k.device_id = d.id AND k.at > now() - interval '1 hour 30 seconds' - $8
        ORDER BY k.at LIMIT 1
    ) hour ON d.per_hour IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT k.calls FROM device_use_marks k
        WHERE k.device_id = d.id AND k.at > now() - interval '24 hours 30 seconds' - $8
        ORDER BY k.at LIMIT 1
    ) day ON cap.per_day IS NOT NULL
), paired AS (
    -- Of the messages to one recipient only the first can go. Who wrote within a day counts for
    -- nothing, as providers have it.
    SELECT j.id, j.campaign_id, j.phone, j.priority, j.expires_at, j.shard, j.epoch, j.call_epoch,
        j.per_second, j.per_minute, j.jitter_seconds, j.version, j.place, room.*,
        room.recipients_per_day IS NOT NULL AND c.phone IS NULL AS counts,
        room.recipients_per_day IS NULL OR c.phone IS NOT NULL OR r.counted_by IS NOT NULL AS known,
        GREATEST(r.last_at + room.pair, now())
            + room.pair * (row_number() OVER recipient - 1) AS pair_at,
        count(*) FILTER (WHERE c.phone IS NULL) OVER recipient AS nth
    FROM judged j
    JOIN room ON room.device_id = j.device_id
    LEFT JOIN budget_recipients r ON r.budget_group = room.budget_group AND r.phone = j.phone
    LEFT JOIN conversations c ON c.device_id = j.device_id AND c.phone = j.phone
        AND c.heard_at > now() - interval '24 hours' + $8
    WHERE j.verdict = 'counted'
    WINDOW recipient AS (
        PARTITION BY room.budget_group, j.phone ORDER BY j.place ROWS UNBOUNDED PRECEDING)
), ranked AS (
    SELECT p.*, COALESCE(p.pair_at <= now(), true) AS apart,
        count(*) FILTER (WHERE NOT p.known AND p.nth = 1)
            OVER (PARTITION BY p.budget_group ORDER BY p.place) AS nth_recipient
    FROM paired p
), fitting AS (
    SELECT r.*, r.known
        OR min(r.nth_recipient) FILTER (WHERE NOT r.known)
            OVER (PARTITION BY r.budget_group, r.phone) <= r.recipients_left AS fits
    FROM ranked r
), spoken AS MATERIALIZED (
    SELECT f.*, CASE
        WHEN NOT f.apart THEN 'pair'
        WHEN NOT f.fits THEN 'new_recipients'
        WHEN f.hour_left < count(*) FILTER (WHERE f.apart AND f.fits) OVER calls THEN 'device_rate'
        WHEN f.day_left < count(*) FILTER (WHERE f.apart AND f.fits) OVER calls THEN 'daily_cap'
        ELSE 'claimed' END AS verdict
    FROM fitting f
    WINDOW calls AS (PARTITION BY f.device_id ORDER BY f.place)
), counts AS MATERIALIZED (
    SELECT s.device_id, s.budget_group, s.counts_calls, s.per_hour, s.per_day, s.calls,
        s.first_at, count(*) FILTER (WHERE s.verdict = 'claimed') AS called,
        bool_or(s.verdict = 'device_rate') AS hour_over, bool_or(s.verdict = 'daily_cap') AS day_over
    FROM spoken s
    GROUP BY s.device_id, s.budget_group, s.counts_calls, s.per_hour, s.per_day, s.calls, s.first_at
), used AS (
    UPDATE device_uses u SET calls = u.calls + c.called, first_at = COALESCE(u.first_at, now())
    FROM counts c WHERE u.device_id = c.device_id AND c.counts_calls AND c.called > 0
), marked AS (
    INSERT INTO device_use_marks (device_id, at, calls)
    SELECT c.device_id, span.at, c.calls
    FROM counts c
    CROSS JOIN (SELECT date_bin('30 seconds', now(), 'epoch') AS at) span
    WHERE c.counts_calls AND c.called > 0 AND NOT EXISTS (
        SELECT FROM device_use_marks k WHERE k.device_id = c.device_id AND k.at >= span.at)
    -- whoever claimed at the same moment may have made it after this statement began
    ON CONFLICT DO NOTHING
), unmarked AS (
    DELETE FROM device_use_marks k USING counts c
    WHERE k.device_id = c.device_id AND k.at < now() - interval '24 hours 5 minutes'
), met AS (
    INSERT INTO budget_recipients AS b (budget_group, phone, last_at, forget_at, counted_by)
    SELECT s.budget_group, s.phone, now(), now() + max(GREATEST(s.pair,
        CASE WHEN s.counts THEN interval '24 hours' + $8 END)),
        CASE WHEN bool_or(s.counts) THEN $7::bigint END
    FROM spoken s
    WHERE s.verdict = 'claimed' AND (s.counts OR s.pair IS NOT NULL)
    GROUP BY s.budget_group, s.phone
    ON CONFLICT (budget_group, phone) DO UPDATE SET
        last_at = EXCLUDED.last_at, forget_at = GREATEST(b.forget_at, EXCLUDED.forget_at),
        counted_by = COALESCE(b.counted_by, EXCLUDED.counted_by)
    RETURNING budget_group, counted_by = $7 AS fresh
), remembered AS (
    UPDATE budget_groups g SET recipients = g.recipients + n.more
    FROM (
        SELECT budget_group, sum(more) AS more FROM (
            SELECT budget_group, -count(*) AS more FROM forgotten WHERE counted
            GROUP BY budget_group
            UNION ALL
            SELECT budget_group, count(*) FROM met WHERE fresh GROUP BY budget_group
        ) each GROUP BY budget_group
    ) n WHERE g.name = n.budget_group AND n.more <> 0
), opens AS MATERIALIZED (
    -- when a window has room again: the newest mark that the calls of a full budget came after
    SELECT c.device_id, hour.at + interval '1 hour 30 seconds' + $8 AS hour_at,
        LEAST(day.at + interval '24 hours 30 seconds' + $8, CASE
            WHEN d.warm_up_days * interval '1 day' > now() - c.first_at THEN c.first_at
                + interval '1 day' * (floor(EXTRACT(epoch FROM now() - c.first_at) / 86400) + 1)
        END) AS day_at
    FROM counts c
    JOIN devices d ON d.id = c.device_id
    CROSS JOIN (SELECT date_bin('30 seconds', now(), 'epoch') AS at) span
    LEFT JOIN LATERAL (
        SELECT CASE WHEN c.called >= c.per_hour THEN span.at ELSE COALESCE((
            SELECT max(k.at) FROM device_use_marks k
            WHERE k.device_id = c.device_id AND k.calls <= c.calls + c.called - c.per_hour
        ), span.at) END AS at
    ) hour ON c.hour_over
    LEFT JOIN LATERAL (
        SELECT CASE WHEN c.called >= c.per_day THEN span.at ELSE COALESCE((
            SELECT max(k.at) FROM device_use_marks k
            WHERE k.device_id = c.device_id AND k.calls <= c.calls + c.called - c.per_day
        ), span.at) END AS at
    ) day ON c.day_over
    WHERE c.hour_over OR c.day_over
), settled AS MATERIALIZED (
    -- not by a join of all with those that were counted, which could be done pair by pair
    SELECT j.id, j.device_id, j.campaign_id, j.priority, j.expires_at, j.shard, j.epoch,
        j.call_epoch, j.per_second, j.per_minute, j.jitter_seconds, NULL::xid AS version,
        CASE j.verdict WHEN 'counted' THEN 'locked' ELSE j.verdict END AS verdict, j.hold_until
    FROM judged j
    WHERE j.verdict <> 'counted' OR NOT j.device_id IN (SELECT device_id FROM room)
    UNION ALL
    SELECT s.id, s.device_id, s.campaign_id, s.priority, s.expires_at, s.shard, s.epoch,
        s.call_epoch, s.per_second, s.per_minute, s.jitter_seconds, s.version, s.verdict,
        CASE s.verdict
            WHEN 'pair' THEN s.pair_at
            WHEN 'device_rate' THEN o.hour_at
            WHEN 'daily_cap' THEN o.day_at
            WHEN 'new_recipients' THEN COALESCE((
                -- when as many have been forgotten as are to come before this one; those of this
                -- claim are not seen yet
                SELECT b.forget_at FROM budget_recipients b
                WHERE b.budget_group = s.budget_group AND b.counted_by IS NOT NULL
                ORDER BY b.forget_at
                OFFSET GREATEST(s.nth_recipient - GREATEST(s.recipients_left, 0) - 1, 0) LIMIT 1
            ), now() + interval '24 hours' + $8)
        END
    FROM spoken s
    LEFT JOIN opens o ON o.device_id = s.device_id
), taken AS (
    UPDATE messages m SET status = 'sending', attempt = m.attempt + 1, claim = $7
    WHERE m.id = ANY(ARRAY(SELECT id FROM settled WHERE verdict = 'claimed'))
        AND m.id BETWEEN $2 AND $3
    RETURNING m.id, m.attempt, m.attempts, m.phone, m.body, m.options,
        GREATEST(m.created_at, m.send_at) AS due_at, m.traceparent
), noted AS (
    INSERT INTO claims (id, shard, epoch, message_ids)
    SELECT $7, j.shard, j.epoch, array_agg(j.id)
    FROM settled j WHERE j.verdict = 'claimed' GROUP BY j.shard, j.epoch
), unparked AS (
    DELETE FROM parked p USING taken t WHERE p.message_id = t.id
), parking AS (
    INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
    -- where the device waits as a whole a message keeps its place, due as soon as that is over
    SELECT j.id, j.device_id, j.priority, COALESCE(j.campaign_id, 0),
        GREATEST(LEAST(CASE WHEN j.verdict IN ('quiet_hours', 'device_rate', 'daily_cap') THEN now()
            ELSE COALESCE(j.hold_until, now()) END, j.expires_at), now()),
        CASE j.verdict WHEN 'new_recipients' THEN 'daily_cap' ELSE j.verdict END
    FROM settled j WHERE j.verdict IN ('paused', 'not_ready', 'held', 'quiet_hours', 'pair',
        'device_rate', 'daily_cap', 'new_recipients')
    ON CONFLICT (message_id) DO UPDATE SET reason = EXCLUDED.reason,
        not_before = CASE WHEN EXCLUDED.not_before > now()
            THEN GREATEST(parked.not_before, EXCLUDED.not_before) ELSE parked.not_before END
)
-- In full, as then each is not compared with every other: such a join is one by hash or merge.
SELECT j.id, j.verdict, t.attempt, t.attempts, t.phone, t.body, t.options, t.due_at, j.per_second,
    j.per_minute, j.jitter_seconds, j.call_epoch, t.traceparent, j.version::text,
    EXTRACT(epoch FROM j.hold_until - now())::double precision AS hold_seconds
FROM settled j FULL JOIN taken t ON t.id = j.id
WHERE t.id IS NOT NULL OR j.verdict <> 'claimed'

-- name: give_back
-- Return what was claimed and never called; only the claim that took a row can return it. It is
-- parked in the same statement, as nothing else may point to it any more.
WITH back AS (
    UPDATE messages m SET status = 'queued', claim = NULL
    WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
        AND m.claim = $4 AND m.status = 'sending'
    RETURNING m.id, m.device_id, m.priority, m.campaign_id, m.created_at, m.send_at
)
INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
SELECT id, device_id, priority, COALESCE(campaign_id, 0), GREATEST(created_at, send_at), 'behind'
FROM back
ON CONFLICT (message_id) DO NOTHING

-- name: forget_claim
-- Drop the note of a claim of which nothing is left to record.
DELETE FROM claims WHERE id = $1

-- name: unclaimed
-- Of ids a claim did not answer for: those that still wait, because their row was locked then.
SELECT id FROM messages
WHERE id = ANY($1::bigint[]) AND id BETWEEN $2 AND $3 AND status IN ('queued', 'scheduled')

-- name: unpark_gone
-- Drop the parked rows of messages that no longer wait. The rows are held meanwhile: one that comes
-- back to wait at this moment keeps its parked row.
WITH gone AS MATERIALIZED (
    SELECT id FROM messages
    WHERE id = ANY($1::bigint[]) AND id BETWEEN $2 AND $3
        AND status NOT IN ('queued', 'scheduled')
    FOR SHARE SKIP LOCKED
)
DELETE FROM parked p USING gone WHERE p.message_id = gone.id

-- name: park
-- Let messages wait: whoever is parked already stays as it is. A message that expires first
-- comes back at that moment, to be marked. Without a time it keeps its place in its flow.
INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason)
SELECT m.id, m.device_id, m.priority, COALESCE(m.campaign_id, 0),
    LEAST(COALESCE(n.not_before, GREATEST(m.created_at, m.send_at)), m.expires_at), n.reason
FROM unnest($1::bigint[], $4::timestamptz[], $5::text[]) AS n (id, not_before, reason)
JOIN messages m ON m.id = n.id
WHERE m.id BETWEEN $2 AND $3 AND m.status IN ('queued', 'scheduled')
ON CONFLICT (message_id) DO NOTHING

-- name: due
-- The heads of the flows of these devices, as many of each as its share of the room. The flows are
-- found by leaping from one to the next in the index, however many messages wait in each; those
-- that need nothing or whose campaign is paused are left out.
WITH RECURSIVE flows AS (
    SELECT w.device_id, w.room, f.priority, f.flow
    FROM unnest($1::bigint[], $2::int[]) AS w (device_id, room)
    CROSS JOIN LATERAL (
        SELECT priority, flow FROM parked
        WHERE device_id = w.device_id ORDER BY priority, flow LIMIT 1
    ) f
    UNION ALL
    SELECT w.device_id, w.room, f.priority, f.flow
    FROM flows w
    CROSS JOIN LATERAL (
        SELECT priority, flow FROM parked
        WHERE device_id = w.device_id AND (priority, flow) > (w.priority, w.flow)
        ORDER BY priority, flow LIMIT 1
    ) f
), wanted AS (
    SELECT f.device_id, f.priority, f.flow,
        GREATEST(1, f.room / count(*) OVER (PARTITION BY f.device_id, f.priority)) AS most
    FROM flows f
    WHERE NOT EXISTS (
        SELECT FROM unnest($3::bigint[], $4::int[], $5::bigint[]) AS s (device_id, priority, flow)
        WHERE (s.device_id, s.priority, s.flow) = (f.device_id, f.priority, f.flow)
    ) AND (SELECT k.status FROM campaigns k WHERE k.id = f.flow) IS DISTINCT FROM 'paused'
)
SELECT w.device_id, w.priority, w.flow, w.most, p.message_id
FROM wanted w
CROSS JOIN LATERAL (
    SELECT message_id, not_before FROM parked
    WHERE device_id = w.device_id AND priority = w.priority AND flow = w.flow
        AND not_before <= now()
    ORDER BY not_before, message_id LIMIT w.most
) p
ORDER BY w.device_id, w.priority, w.flow, p.not_before, p.message_id

-- name: devices
-- The devices of these shards, with what their lanes need; a deleted one stays until its messages
-- have been marked.
SELECT d.id, d.driver, d.shard, d.per_second, d.per_minute, d.jitter_seconds,
    d.deleted_at IS NOT NULL
        OR (w.reason IS NULL AND COALESCE(a.hold_until <= now(), true)) AS open,
    GREATEST(EXTRACT(epoch FROM d.factor_until - now()), 0)::double precision AS slow_seconds
FROM devices d
JOIN accounts a ON a.id = d.account_id
LEFT JOIN LATERAL device_wait(d) w ON true
WHERE d.shard = ANY($1::int[])

-- name: hold_device
-- Keep a device from sending until then.
UPDATE devices SET hold_until = GREATEST(hold_until, now() + make_interval(secs => $2))
WHERE id = $1

-- name: budget_used_up
-- Keep a device from sending until a budget that is used up has room again; not if the device was
-- changed since that was found out, as it may have more room now.
UPDATE devices SET budget_until = now() + make_interval(secs => $2), budget_reason = $3
WHERE id = $1 AND xmin::text = $4

-- name: slow_device
-- The provider throttled a device: a part of its rate is left, and grows back until then.
UPDATE devices SET rate_factor = $2, factor_until = now() + make_interval(secs => $3)
WHERE id = $1

-- name: orphans
-- Claims of these shards that nobody is working on: a former owner left them behind, or they were
-- committed when the present one had given up waiting for the answer.
SELECT c.id, c.shard, c.epoch, c.message_ids
FROM claims c
JOIN unnest($1::int[], $2::bigint[]) AS o (shard, epoch) ON o.shard = c.shard
WHERE c.epoch <= o.epoch AND NOT c.id = ANY($3::bigint[])
ORDER BY c.claimed_at LIMIT 100

-- name: orphaned_messages
-- Which messages of such a claim nobody has an outcome for, and whether their driver repeats.
SELECT m.id, m.attempt, d.driver
FROM messages m JOIN devices d ON d.id = m.device_id
WHERE m.id = ANY($1::bigint[]) AND m.id BETWEEN $2 AND $3
    AND m.claim = $4 AND m.status = 'sending'
