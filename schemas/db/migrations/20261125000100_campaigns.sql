-- migrate:up

CREATE TABLE campaigns (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    name text NOT NULL,
    -- the text, and the template it was taken from, as they were then
    body text NOT NULL,
    template_id bigint,
    template jsonb,
    device_id bigint NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 2),
    delivery message_delivery NOT NULL,
    -- whether a recipient for whom a value is missing is passed over
    skip_missing boolean NOT NULL,
    reference text,
    status text NOT NULL
        CHECK (status IN ('scheduled', 'dispatching', 'paused', 'completed', 'cancelled')),
    send_at timestamptz,
    expires_at timestamptz,
    total integer NOT NULL DEFAULT 0,
    -- recipients in the chunks that are left: each pending one holds a credit, the unfit were known
    -- as such from the beginning and cost none
    pending integer NOT NULL DEFAULT 0 CHECK (pending >= 0),
    unfit integer NOT NULL DEFAULT 0 CHECK (unfit >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz,
    -- when its last chunk was worked off, else when it came
    worked_at timestamptz NOT NULL DEFAULT now(),
    -- nothing is to be done for it before then
    rests_until timestamptz,
    -- once cancelled: how far the look for messages that wait has come
    walked_id bigint NOT NULL DEFAULT 0,
    -- nothing is left to be done
    closed_at timestamptz
) WITH (fillfactor = 50);
CREATE INDEX campaigns_account ON campaigns (account_id, id);
CREATE INDEX campaigns_open ON campaigns (account_id, worked_at) WHERE closed_at IS NULL;

-- Who gets a campaign, as they were when it was made, a bounded number in each chunk: one array a
-- column, names and values only as far as the text needs them. A reason says who is not sent to.
CREATE TABLE campaign_chunks (
    campaign_id bigint NOT NULL REFERENCES campaigns,
    number integer NOT NULL,
    contact_ids bigint[] NOT NULL,
    phones text[] NOT NULL,
    names text[],
    external_ids text[],
    attributes jsonb[],
    reasons text[] NOT NULL,
    PRIMARY KEY (campaign_id, number)
);

-- One message a phone, across the partitions of messages; forgotten when the campaign is closed.
CREATE TABLE campaign_recipients (
    campaign_id bigint NOT NULL,
    phone text NOT NULL,
    PRIMARY KEY (campaign_id, phone)
);

-- How many messages of a campaign have this status and credit: the sum of all changes. Writers only
-- add rows, so that none waits for another; they are folded beside it.
CREATE TABLE campaign_counts (
    campaign_id bigint NOT NULL,
    status message_status NOT NULL,
    credit message_credit,
    change integer NOT NULL,
    folded boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX campaign_counts_campaign ON campaign_counts (campaign_id);
CREATE INDEX campaign_counts_unfolded ON campaign_counts (campaign_id) WHERE NOT folded;

CREATE FUNCTION count_campaign_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO campaign_counts (campaign_id, status, credit, change)
            SELECT campaign_id, status, credit, count(*) FROM made
            WHERE campaign_id IS NOT NULL GROUP BY campaign_id, status, credit;
    ELSE
        INSERT INTO campaign_counts (campaign_id, status, credit, change)
            SELECT campaign_id, status, credit, sum(change) FROM (
                SELECT campaign_id, status, credit, 1 AS change FROM made
                    WHERE campaign_id IS NOT NULL
                UNION ALL
                SELECT campaign_id, status, credit, -1 FROM unmade WHERE campaign_id IS NOT NULL
            ) c
            GROUP BY campaign_id, status, credit HAVING sum(change) <> 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER messages_made AFTER INSERT ON messages
    REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION count_campaign_messages();
CREATE TRIGGER messages_changed AFTER UPDATE ON messages
    REFERENCING OLD TABLE AS unmade NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION count_campaign_messages();

-- Campaigns with what is counted of them, as JSON objects by status and by credit.
CREATE VIEW counted_campaigns AS
SELECT c.id, c.account_id, c.name, c.status, c.body, c.template, c.device_id, c.priority,
    c.reference, c.send_at, c.expires_at, c.total, c.pending, c.unfit, c.created_at, c.started_at,
    c.completed_at,
    (SELECT COALESCE(jsonb_object_agg(n.status, n.count), '{}') FROM (
        SELECT k.status, sum(k.change) AS count FROM campaign_counts k
        WHERE k.campaign_id = c.id GROUP BY k.status
    ) n) AS statuses,
    (SELECT COALESCE(jsonb_object_agg(n.credit, n.count), '{}') FROM (
        SELECT k.credit, sum(k.change) AS count FROM campaign_counts k
        WHERE k.campaign_id = c.id AND k.credit IS NOT NULL GROUP BY k.credit
    ) n) AS credits
FROM campaigns c;

-- The contacts that a campaign names by group and ids, once each, with the reason for those who
-- are not sent to; `required` are the names that must have a value.
CREATE FUNCTION campaign_contacts(
    account bigint, named_group bigint, named bigint[], required text[]
) RETURNS TABLE (
    id bigint, phone text, name text, external_id text, attributes jsonb, reason text
) LANGUAGE sql STABLE AS $$
    SELECT c.id, c.phone, c.name, c.external_id, c.attributes,
        CASE
            WHEN c.opted_out_at IS NOT NULL THEN 'opted_out'
            WHEN EXISTS (
                SELECT FROM unnest(required) AS r (name)
                WHERE COALESCE(
                    CASE r.name WHEN 'name' THEN c.name WHEN 'external_id' THEN c.external_id
                        WHEN 'phone' THEN c.phone ELSE c.attributes ->> r.name END,
                    '') = ''
            ) THEN 'missing_variables'
        END
    FROM contacts c
    WHERE c.account_id = account AND c.id IN (
        SELECT m.contact_id FROM contact_group_members m WHERE m.group_id = named_group
        UNION ALL
        SELECT unnest(named)
    )
$$;

-- Recipients that were never paid for have no credit to show.
ALTER TABLE messages ALTER COLUMN credit DROP NOT NULL;

-- migrate:down
