-- migrate:up

-- The trace that a message or campaign was accepted in, and that its events go on with (W3C Trace
-- Context); written with the row and never changed.
ALTER TABLE messages ADD COLUMN traceparent text;
ALTER TABLE campaigns ADD COLUMN traceparent text;
ALTER TABLE webhook_deliveries ADD COLUMN traceparent text;

-- migrate:down
