-- migrate:up

-- Tells which devices speak to their provider under one credential, and nothing else of it.
ALTER TABLE devices ADD COLUMN credential text;
CREATE INDEX devices_credential ON devices (credential) WHERE credential IS NOT NULL;

-- The provider's last word on templates of its own, as a device heard it.
CREATE TABLE template_standings (
    device_id bigint NOT NULL,
    name text NOT NULL,
    language text NOT NULL,
    status text NOT NULL,
    reason text,
    at timestamptz NOT NULL,
    PRIMARY KEY (device_id, name, language)
);

-- What is known of the twin of a template: the last word that any device of the account heard.
CREATE FUNCTION template_standing(account bigint, meta jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('status', s.status, 'reason', s.reason, 'at', s.at)
    FROM devices d JOIN template_standings s ON s.device_id = d.id
    WHERE d.account_id = account AND d.deleted_at IS NULL
        AND s.name = meta ->> 'name' AND s.language = meta ->> 'language'
    ORDER BY s.at DESC LIMIT 1
$$;

-- migrate:down
