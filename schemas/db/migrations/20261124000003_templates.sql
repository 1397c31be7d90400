-- migrate:up

ALTER TABLE templates ADD COLUMN media jsonb, ADD COLUMN meta jsonb;
CREATE INDEX templates_account ON templates (account_id, id);

-- migrate:down
