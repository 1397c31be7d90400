-- migrate:up

-- Trusted extensions, part of PostgreSQL's contrib: whoever owns the database may create them.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

CREATE INDEX contacts_account ON contacts (account_id, id);
CREATE INDEX contacts_external ON contacts (account_id, external_id, id)
    WHERE external_id IS NOT NULL;
-- The account stands in it too, so that nobody's search reads what only others have.
CREATE INDEX contacts_search ON contacts
    USING gin (account_id, (COALESCE(name, '') || E'\n' || phone) gin_trgm_ops);

CREATE TABLE contact_groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    name text NOT NULL,
    description text,
    -- how many members it has; kept by the triggers below
    contacts bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX contact_groups_account ON contact_groups (account_id, id);

CREATE TABLE contact_group_members (
    group_id bigint NOT NULL REFERENCES contact_groups ON DELETE CASCADE,
    contact_id bigint NOT NULL REFERENCES contacts ON DELETE CASCADE,
    PRIMARY KEY (group_id, contact_id)
);
CREATE INDEX contact_group_members_contact ON contact_group_members (contact_id);

-- Groups are locked after the contacts and the members, in ascending order.
CREATE FUNCTION count_group_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM contact_groups WHERE id IN (SELECT group_id FROM changed)
        ORDER BY id FOR NO KEY UPDATE;
    UPDATE contact_groups g
        SET contacts = g.contacts + CASE TG_OP WHEN 'INSERT' THEN c.members ELSE -c.members END
        FROM (SELECT group_id, count(*) AS members FROM changed GROUP BY group_id) c
        WHERE g.id = c.group_id;
    RETURN NULL;
END $$;
CREATE TRIGGER contact_group_members_added AFTER INSERT ON contact_group_members
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_group_members();
CREATE TRIGGER contact_group_members_removed AFTER DELETE ON contact_group_members
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_group_members();

-- A file of contacts on its way in: durable before it is answered, then worked off in chunks.
CREATE TABLE contact_imports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    -- no foreign key: who deletes a group must not wait for its import, nor the other way round
    group_id bigint,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'completed', 'failed')),
    error text,
    columns text[] NOT NULL,
    -- data rows received, and worked off
    rows integer NOT NULL DEFAULT 0,
    done integer NOT NULL DEFAULT 0,
    created integer NOT NULL DEFAULT 0,
    updated integer NOT NULL DEFAULT 0,
    rejected integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- when its last chunk was worked off, else when it came
    worked_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);
CREATE INDEX contact_imports_account ON contact_imports (account_id, id);
CREATE INDEX contact_imports_ended ON contact_imports (completed_at)
    WHERE completed_at IS NOT NULL;
CREATE INDEX contact_imports_open ON contact_imports (account_id, id)
    WHERE state IN ('queued', 'running');

-- The rows of a file, a bounded number in each chunk: [[line, [cell, ...]], ...] as JSON. Bytes,
-- as jsonb cannot hold the NULs that a file may have.
CREATE TABLE contact_import_chunks (
    import_id bigint NOT NULL REFERENCES contact_imports ON DELETE CASCADE,
    number integer NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (import_id, number)
);

CREATE TABLE contact_import_errors (
    import_id bigint NOT NULL REFERENCES contact_imports ON DELETE CASCADE,
    line integer NOT NULL,
    phone text,
    code text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (import_id, line)
);

-- Where to look for messages that did not go the usual way: all that ever had such a status, its
-- present one is in messages. An index of messages that holds the status would cost every update.
CREATE TABLE message_exceptions (
    account_id bigint NOT NULL,
    status message_status NOT NULL,
    message_id bigint NOT NULL,
    PRIMARY KEY (account_id, status, message_id)
);
INSERT INTO message_exceptions (account_id, status, message_id)
    SELECT account_id, status, id FROM messages
    WHERE status IN ('unconfirmed', 'failed', 'cancelled', 'expired', 'skipped');
CREATE FUNCTION note_message_exception() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO message_exceptions VALUES (NEW.account_id, NEW.status, NEW.id)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_exception AFTER INSERT OR UPDATE OF status ON messages
    FOR EACH ROW WHEN (NEW.status IN ('unconfirmed', 'failed', 'cancelled', 'expired', 'skipped'))
    EXECUTE FUNCTION note_message_exception();

-- migrate:down
