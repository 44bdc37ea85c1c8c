-- Times are epoch milliseconds, JSON is TEXT, flags are 0 or 1. Every list has the index that serves it.

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    tier TEXT NOT NULL,
    settings TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    test INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
);
CREATE INDEX api_keys_by_organization ON api_keys (organization_id, id);

CREATE TABLE domains (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    trusted INTEGER NOT NULL DEFAULT 0,
    challenge TEXT NOT NULL,
    checks TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    verified_at INTEGER,
    last_checked_at INTEGER,
    deleted_at INTEGER
);
CREATE UNIQUE INDEX domains_by_name ON domains (organization_id, name) WHERE deleted_at IS NULL;
CREATE INDEX domains_by_organization ON domains (organization_id, id) WHERE deleted_at IS NULL;

CREATE TABLE dkim_keys (
    id TEXT PRIMARY KEY,
    domain_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    selector TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    sealed BLOB NOT NULL,
    dns_value TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
);
CREATE INDEX dkim_keys_by_domain ON dkim_keys (domain_id, state);

CREATE TABLE bodies (
    id TEXT PRIMARY KEY,
    head BLOB NOT NULL,
    size INTEGER NOT NULL,
    body_hash BLOB NOT NULL,
    eight_bit INTEGER NOT NULL,
    longest_line INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    purged_at INTEGER
);

CREATE TABLE body_chunks (
    body_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (body_id, n)
);

CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    body_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    status TEXT NOT NULL,
    test INTEGER NOT NULL,
    source TEXT NOT NULL,
    stream TEXT NOT NULL,
    from_address TEXT NOT NULL,
    sender TEXT NOT NULL,
    to_addresses TEXT NOT NULL,
    cc TEXT NOT NULL,
    bcc TEXT NOT NULL,
    reply_to TEXT NOT NULL,
    subject TEXT NOT NULL,
    header_message_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    options TEXT NOT NULL,
    reverse_path TEXT,
    template_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    scheduled_at INTEGER,
    sent_at INTEGER
) WITHOUT ROWID;
CREATE INDEX messages_by_organization ON messages (organization_id, test, id);
CREATE INDEX messages_by_status ON messages (organization_id, test, status, id);
CREATE INDEX messages_by_sender ON messages (organization_id, test, from_address, id);
CREATE INDEX messages_by_body ON messages (body_id);

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    message_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    recipient_key TEXT NOT NULL,
    domain TEXT NOT NULL,
    lane INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER,
    expires_at INTEGER NOT NULL,
    notify TEXT NOT NULL DEFAULT '',
    orcpt TEXT,
    code INTEGER,
    enhanced TEXT,
    reply TEXT,
    reason TEXT,
    host TEXT,
    delay_noticed_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deliveries_by_message ON deliveries (message_id, status);
CREATE INDEX deliveries_by_recipient ON deliveries (organization_id, test, recipient_key, message_id);
CREATE INDEX deliveries_pending ON deliveries (domain, lane, next_at) WHERE status IN ('queued', 'deferred');
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE status IN ('queued', 'deferred');
CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE status IN ('queued', 'deferred');
CREATE INDEX deliveries_sending ON deliveries (id) WHERE status = 'sending';
CREATE INDEX deliveries_live ON deliveries (status, id) WHERE status IN ('queued', 'sending', 'deferred', 'held');

CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    delivery_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    host TEXT,
    address TEXT,
    source_address TEXT,
    tls TEXT,
    code INTEGER,
    enhanced TEXT,
    reply TEXT NOT NULL,
    dialogue TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX attempts_by_message ON attempts (message_id, id);

CREATE TABLE bounces (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    message_id TEXT,
    delivery_id TEXT,
    email TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    category TEXT NOT NULL,
    status TEXT,
    code INTEGER,
    diagnostic TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX bounces_by_organization ON bounces (organization_id, test, id);
CREATE INDEX bounces_by_email ON bounces (organization_id, test, email, id);
CREATE INDEX bounces_by_message ON bounces (message_id, id) WHERE message_id IS NOT NULL;

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    type TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    message_id TEXT,
    recipient TEXT,
    data TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX events_by_organization ON events (organization_id, test, id);
CREATE INDEX events_by_type ON events (organization_id, test, type, id);
CREATE INDEX events_by_message ON events (message_id, id) WHERE message_id IS NOT NULL;
CREATE INDEX events_by_resource ON events (organization_id, resource_type, resource_id, id);

CREATE TABLE suppressions (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    email TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    stream TEXT NOT NULL DEFAULT '',
    metadata TEXT NOT NULL DEFAULT '{}',
    message_id TEXT,
    created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX suppressions_by_email ON suppressions (organization_id, test, email, stream);
CREATE INDEX suppressions_by_organization ON suppressions (organization_id, test, id);

CREATE TABLE idempotency (
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    message_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, test, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Hourly roll-ups: limits, reputation and analytics read these, never the messages.
CREATE TABLE counters (
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    domain TEXT NOT NULL,
    template_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (organization_id, test, hour, domain, template_id, name)
) WITHOUT ROWID;

-- What was captured instead of sent: development mode and test keys. The body is the message's own.
CREATE TABLE captures (
    delivery_id TEXT PRIMARY KEY,
    message_id TEXT NOT NULL,
    reverse_path TEXT NOT NULL,
    head BLOB NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX captures_by_message ON captures (message_id);
