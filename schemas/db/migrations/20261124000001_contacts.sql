-- migrate:up

-- A trusted extension: whoever owns the database may create it.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE INDEX contacts_account ON contacts (account_id, id);
CREATE INDEX contacts_external ON contacts (account_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX contacts_search ON contacts
    USING gin ((COALESCE(name, '') || E'\n' || phone) gin_trgm_ops);

CREATE TABLE contact_groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    name text NOT NULL,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX contact_groups_account ON contact_groups (account_id, id);

CREATE TABLE contact_group_members (
    group_id bigint NOT NULL REFERENCES contact_groups ON DELETE CASCADE,
    contact_id bigint NOT NULL REFERENCES contacts ON DELETE CASCADE,
    PRIMARY KEY (group_id, contact_id)
);
CREATE INDEX contact_group_members_contact ON contact_group_members (contact_id);

-- A file of contacts on its way in: durable before it is answered, then worked off in chunks.
CREATE TABLE contact_imports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    group_id bigint REFERENCES contact_groups ON DELETE SET NULL,
    state text NOT NULL DEFAULT 'receiving'
        CHECK (state IN ('receiving', 'queued', 'running', 'completed', 'failed')),
    error text,
    columns text[] NOT NULL DEFAULT '{}',
    -- data rows received, and worked off
    rows integer NOT NULL DEFAULT 0,
    done integer NOT NULL DEFAULT 0,
    created integer NOT NULL DEFAULT 0,
    updated integer NOT NULL DEFAULT 0,
    rejected integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);
CREATE INDEX contact_imports_account ON contact_imports (account_id, id);
CREATE INDEX contact_imports_waiting ON contact_imports (id)
    WHERE state IN ('receiving', 'queued', 'running');

-- The rows of a file, a bounded number in each chunk: [[line, [cell, ...]], ...]
CREATE TABLE contact_import_chunks (
    import_id bigint NOT NULL REFERENCES contact_imports ON DELETE CASCADE,
    number integer NOT NULL,
    body jsonb NOT NULL,
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

-- migrate:down
