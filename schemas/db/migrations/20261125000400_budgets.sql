-- migrate:up

ALTER TABLE devices
    -- devices of one portfolio share the budget of recipients
    ADD COLUMN budget_group text NOT NULL GENERATED ALWAYS AS (
        COALESCE('portfolio:' || portfolio, 'device:' || id::text)
    ) STORED,
    -- a budget that is counted here is used up until then: the device waits as a whole
    ADD COLUMN budget_until timestamptz,
    ADD COLUMN budget_reason text,
    -- an unknown zone would make every claim of the device's shard fail
    ADD CONSTRAINT devices_quiet_timezone
        CHECK (timestamp '2026-01-01' AT TIME ZONE quiet_timezone IS DISTINCT FROM '-infinity');

-- How often a device was called, ever; kept while a budget over more than a minute counts it.
CREATE TABLE device_uses (
    device_id bigint PRIMARY KEY,
    calls bigint NOT NULL DEFAULT 0,
    first_at timestamptz
) WITH (fillfactor = 50);

-- How often it had been called when a span of thirty seconds began in which it was called. With
-- the count of now, one of them tells how often it was called since: a window of any length is one
-- look-up. Never changed, and never earlier than the last one, whatever the clock does.
CREATE TABLE device_use_marks (
    device_id bigint NOT NULL,
    at timestamptz NOT NULL,
    calls bigint NOT NULL,
    PRIMARY KEY (device_id, at)
);

-- How many recipients a budget group remembers: rows of budget_recipients, counted.
CREATE TABLE budget_groups (
    name text PRIMARY KEY,
    recipients bigint NOT NULL DEFAULT 0 CHECK (recipients >= 0)
) WITH (fillfactor = 50);

-- To whom a budget group sent last when, as long as a budget wants to know.
CREATE TABLE budget_recipients (
    budget_group text NOT NULL,
    phone text NOT NULL,
    last_at timestamptz NOT NULL,
    forget_at timestamptz NOT NULL,
    PRIMARY KEY (budget_group, phone)
);
CREATE INDEX budget_recipients_age ON budget_recipients (budget_group, forget_at);

-- A claim holds the rows that it counts in, so they are there from the beginning.
CREATE FUNCTION count_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO device_uses (device_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    INSERT INTO budget_groups (name) VALUES (NEW.budget_group) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER devices_counted AFTER INSERT OR UPDATE OF portfolio ON devices
    FOR EACH ROW EXECUTE FUNCTION count_device();
INSERT INTO device_uses (device_id) SELECT id FROM devices;
INSERT INTO budget_groups (name) SELECT DISTINCT budget_group FROM devices;

-- Budgets that are changed are looked at anew.
CREATE FUNCTION forget_used_up_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.budget_until := NULL;
    NEW.budget_reason := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER devices_budget_changed
    BEFORE UPDATE OF per_hour, per_day, new_recipients_per_day, warm_up_days, portfolio ON devices
    FOR EACH ROW EXECUTE FUNCTION forget_used_up_budget();

-- When the quiet hours that a moment lies in end; NULL outside of them. They begin and end at a time
-- of day in their zone, Malaysia's unless given; an end that is not after the beginning is one of
-- the next day, and equal ones are none. A time that a change of clocks leaves out or repeats is
-- read in standard time.
CREATE FUNCTION quiet_until(starts time, ends time, zone text, at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT max(q.until)
    FROM (SELECT COALESCE(zone, 'Asia/Kuala_Lumpur') AS name) z
    CROSS JOIN LATERAL (SELECT (at AT TIME ZONE z.name)::date AS day) today
    CROSS JOIN LATERAL (VALUES (today.day - 1), (today.day)) d (day)
    CROSS JOIN LATERAL (
        SELECT (d.day + starts) AT TIME ZONE z.name AS since,
            (d.day + CASE WHEN ends <= starts THEN 1 ELSE 0 END + ends) AT TIME ZONE z.name AS until
    ) q
    WHERE starts <> ends AND q.since <= at AND at < q.until
$$;

-- What keeps a device as a whole from sending, and until when (NULL is until somebody acts); of
-- several the last to end. No row when nothing does.
CREATE FUNCTION device_wait(d devices) RETURNS TABLE (reason text, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT w.reason, NULLIF(w.until, 'infinity')
    FROM (VALUES
        (1, 'paused', CASE WHEN d.paused THEN 'infinity'::timestamptz END),
        (2, 'not_ready', CASE WHEN d.state NOT IN ('ready', 'throttled') THEN 'infinity'::timestamptz END),
        (3, 'quiet_hours', CASE WHEN d.quiet_start IS NOT NULL
            THEN quiet_until(d.quiet_start, d.quiet_end, d.quiet_timezone, now()) END),
        (4, d.budget_reason, d.budget_until),
        (5, CASE WHEN d.factor_until > now() THEN 'throttled' ELSE 'held' END, d.hold_until)
    ) w (n, reason, until)
    WHERE w.until > now()
    ORDER BY w.until DESC, w.n LIMIT 1
$$;

-- How many messages a day a device may send at this moment; NULL is no limit. While it warms up, it
-- begins with 20 and grows by the same factor each day, so that the day after the last one has the
-- full number: its limit, or 1000 without one. The first day begins with its first message.
CREATE FUNCTION daily_cap(per_day integer, warm_up_days integer, first_at timestamptz, at timestamptz)
RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN warm_up_days IS NULL OR a.days >= warm_up_days THEN per_day
        ELSE LEAST(f.calls, floor(
            20.0 * power(GREATEST(f.calls / 20.0, 1.0), a.days / warm_up_days) + 1e-9
        ))::integer
    END
    FROM (SELECT COALESCE(per_day, 1000) AS calls) f
    CROSS JOIN (
        SELECT GREATEST(floor(EXTRACT(epoch FROM at - COALESCE(first_at, at)) / 86400), 0) AS days
    ) a
$$;

-- migrate:down
