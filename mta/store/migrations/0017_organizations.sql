-- Who did what to an organization: a key's id, "operator" or "posthouse" (we ourselves).
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    details TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX audit_by_organization ON audit (organization_id, id);

ALTER TABLE organizations ADD COLUMN deleted_at INTEGER;

-- The calendar month (UTC, year * 12 + month - 1) beside the minute, hour and day: what usage is held against. The month
-- that runs begins with what the hourly counters know of it.
ALTER TABLE sending ADD COLUMN month INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sending ADD COLUMN month_used INTEGER NOT NULL DEFAULT 0;
UPDATE sending SET
    month = CAST(strftime('%Y', 'now') AS INTEGER) * 12 + CAST(strftime('%m', 'now') AS INTEGER) - 1,
    month_used = COALESCE((
        SELECT sum(value) FROM counters c
        WHERE c.organization_id = sending.organization_id AND c.test = sending.test AND c.domain = sending.domain
          AND c.template_id = '' AND c.name = 'queued'
          AND c.hour >= CAST(strftime('%s', 'now', 'start of month') AS INTEGER) / 3600), 0);
