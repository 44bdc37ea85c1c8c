-- Where an organization wants its events. `event_types` are the names it asked for, `matches` ours that they mean.
-- The back-off belongs to the endpoint: `failures` in a row, `failing_since`, and `next_at` until when it is left alone.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    format TEXT NOT NULL,
    event_types TEXT NOT NULL,
    matches TEXT NOT NULL,
    secret BLOB NOT NULL,
    old_secret BLOB,
    old_secret_until INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failing_since INTEGER,
    next_at INTEGER NOT NULL,
    last_success_at INTEGER,
    last_failure_at INTEGER,
    created_at INTEGER NOT NULL
);
CREATE INDEX webhooks_by_organization ON webhooks (organization_id, test, id);
CREATE INDEX webhooks_active ON webhooks (organization_id, test) WHERE status = 'active';

-- The outbox: an event that has to reach a webhook. `position` is the order in which the events were stored.
CREATE TABLE webhook_deliveries (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    webhook_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    resource TEXT NOT NULL,
    replay TEXT,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX webhook_deliveries_by_id ON webhook_deliveries (id);
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_by_status ON webhook_deliveries (webhook_id, status, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_at, position) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_in_order ON webhook_deliveries (webhook_id, resource, position) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_replay ON webhook_deliveries (replay, position) WHERE replay IS NOT NULL;
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (updated_at) WHERE status <> 'pending';

CREATE TABLE webhook_attempts (
    id TEXT PRIMARY KEY,
    delivery_id TEXT NOT NULL,
    webhook_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status_code INTEGER,
    cause TEXT,
    error TEXT NOT NULL,
    response TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhook_attempts_by_delivery ON webhook_attempts (delivery_id, id);
CREATE INDEX webhook_attempts_by_webhook ON webhook_attempts (webhook_id, id);
