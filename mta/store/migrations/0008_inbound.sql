-- A name belongs to one organization: two may not receive the same mail.
CREATE TABLE inbound_domains (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    found TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    verified_at INTEGER,
    last_checked_at INTEGER
);
CREATE INDEX inbound_domains_by_organization ON inbound_domains (organization_id, id);

-- The raw message is a body like any other; `headers` and `attachments` are what was read in it.
CREATE TABLE inbound_messages (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    body_id TEXT NOT NULL,
    reverse_path TEXT NOT NULL,
    recipients TEXT NOT NULL,
    from_address TEXT NOT NULL,
    subject TEXT NOT NULL,
    header_message_id TEXT NOT NULL,
    text TEXT,
    html TEXT,
    headers TEXT NOT NULL,
    attachments TEXT NOT NULL,
    authentication TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX inbound_messages_by_organization ON inbound_messages (organization_id, id);
CREATE INDEX inbound_messages_by_body ON inbound_messages (body_id);

-- What a submitter is still to be told (RFC 3461): written with the settlement, deleted with the notice's own message.
CREATE TABLE notices (
    id TEXT PRIMARY KEY,
    message_id TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    action TEXT NOT NULL,
    status TEXT NOT NULL,
    diagnostic TEXT NOT NULL,
    host TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX bounces_by_type ON bounces (organization_id, test, type, id);
CREATE INDEX suppressions_by_reason ON suppressions (organization_id, test, reason, id);
