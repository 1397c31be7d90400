-- migrate:up

-- What a search looks in, in small letters: a text too short for the index is looked for in every
-- contact, and to fold a million of them each time is most of the work. Rewrites the table.
ALTER TABLE contacts ADD COLUMN search_text text NOT NULL
    GENERATED ALWAYS AS (lower(COALESCE(name, '') || E'\n' || phone)) STORED;

DROP INDEX contacts_search;
CREATE INDEX contacts_search ON contacts USING gin (account_id, search_text gin_trgm_ops);

-- migrate:down
