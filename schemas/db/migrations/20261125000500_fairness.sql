-- migrate:up

-- Whose turn it is: the campaign, or 0 for the account's own messages. The flows of a device take
-- turns, so each is found by its head however many wait in the others.
ALTER TABLE parked ADD COLUMN flow bigint NOT NULL DEFAULT 0;
DROP INDEX parked_due;
CREATE INDEX parked_due ON parked (device_id, priority, flow, not_before, message_id);

-- migrate:down
