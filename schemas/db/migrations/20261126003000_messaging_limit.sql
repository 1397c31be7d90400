-- migrate:up

-- How many people a device may write to first within a day: as many as its owner wants, or fewer
-- where its provider allows fewer.
ALTER TABLE devices ADD COLUMN recipients_per_day integer GENERATED ALWAYS AS (
    LEAST(new_recipients_per_day, (standing ->> 'recipients_per_day')::integer)
) STORED;

-- The claim that met a recipient as a new one; null where only the gap between messages is kept,
-- as with who wrote first. Until now everybody counted.
ALTER TABLE budget_recipients ADD COLUMN counted_by bigint DEFAULT 0;
ALTER TABLE budget_recipients ALTER COLUMN counted_by DROP DEFAULT;

-- With more room than before, what waits for a day's budget is looked at now.
CREATE FUNCTION look_at_recipients() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE parked p SET not_before = now()
    FROM (
        SELECT message_id FROM parked
        WHERE device_id = NEW.id AND reason = 'daily_cap' AND not_before > now()
        LIMIT 10000 FOR NO KEY UPDATE SKIP LOCKED
    ) w
    WHERE p.message_id = w.message_id;
    RETURN NULL;
END $$;
CREATE TRIGGER devices_have_room AFTER UPDATE OF new_recipients_per_day, standing ON devices
    FOR EACH ROW
    WHEN (OLD.recipients_per_day < COALESCE(NEW.recipients_per_day, 2147483647))
    EXECUTE FUNCTION look_at_recipients();
CREATE TRIGGER devices_limit_changed BEFORE UPDATE OF standing ON devices
    FOR EACH ROW
    WHEN (OLD.standing ->> 'recipients_per_day' IS DISTINCT FROM NEW.standing ->> 'recipients_per_day')
    EXECUTE FUNCTION forget_used_up_budget();

-- migrate:down
