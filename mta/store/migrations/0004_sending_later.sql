-- Messages with a time of their own, and batches with what became of each item.
CREATE INDEX messages_scheduled ON messages (organization_id, test, id) WHERE scheduled_at IS NOT NULL;

CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    total INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    scheduled_at INTEGER,
    created_at INTEGER NOT NULL,
    cancelled_at INTEGER
) WITHOUT ROWID;
CREATE INDEX batches_by_organization ON batches (organization_id, test, id);

CREATE TABLE batch_items (
    batch_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    message_id TEXT,
    code TEXT,
    error TEXT,
    field TEXT,
    PRIMARY KEY (batch_id, n)
) WITHOUT ROWID;
