-- migrate:up

-- What the first entries of an account's ledger come to, up to one of them, so that nobody has to
-- read them all for what is reserved. `since_id` is the entry that it was extended from.
CREATE TABLE ledger_sums (
    account_id bigint PRIMARY KEY REFERENCES accounts,
    since_id bigint NOT NULL,
    up_to_id bigint NOT NULL,
    reserved bigint NOT NULL
) WITH (fillfactor = 50);

-- migrate:down
