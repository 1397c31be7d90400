-- migrate:up

-- A portfolio is named by its account: the same name of another account is another portfolio.
ALTER TABLE devices DROP COLUMN budget_group;
ALTER TABLE devices ADD COLUMN budget_group text NOT NULL GENERATED ALWAYS AS (
    COALESCE('portfolio:' || account_id::text || ':' || portfolio, 'device:' || id::text)
) STORED;
INSERT INTO budget_groups (name) SELECT DISTINCT budget_group FROM devices ON CONFLICT DO NOTHING;
INSERT INTO budget_recipients (budget_group, phone, last_at, forget_at)
SELECT DISTINCT d.budget_group, r.phone, r.last_at, r.forget_at
FROM devices d JOIN budget_recipients r ON r.budget_group = 'portfolio:' || d.portfolio
ON CONFLICT DO NOTHING;
DELETE FROM budget_recipients r
WHERE NOT EXISTS (SELECT FROM devices d WHERE d.budget_group = r.budget_group);
DELETE FROM budget_groups g
WHERE NOT EXISTS (SELECT FROM devices d WHERE d.budget_group = g.name);
UPDATE budget_groups g SET recipients = n.recipients
FROM (SELECT budget_group, count(*) AS recipients FROM budget_recipients GROUP BY 1) n
WHERE n.budget_group = g.name;
