-- migrate:up

-- Several accounts may name the same address, as only its mail can tell whose it is; one of them
-- gets it.
DROP INDEX accounts_email;
CREATE INDEX accounts_email ON accounts (lower(email));
CREATE UNIQUE INDEX accounts_verified_email ON accounts (lower(email))
    WHERE email_verified_at IS NOT NULL;

-- Mails that ask an owner to verify an address; text and token are made when one is sent.
CREATE TABLE mails (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'sent', 'dropped', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    -- the next try while pending
    due_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mails_due ON mails (due_at) WHERE state = 'pending';
CREATE INDEX mails_account ON mails (account_id, created_at);
CREATE INDEX mails_age ON mails (created_at);

-- migrate:down
