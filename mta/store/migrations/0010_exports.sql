-- What was asked to be written out; the lines themselves are a file in data_dir/exports.
CREATE TABLE exports (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    kind TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    lines INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX exports_by_organization ON exports (organization_id, test, id);
CREATE INDEX exports_unfinished ON exports (id) WHERE status IN ('pending', 'processing');
CREATE INDEX exports_expiring ON exports (expires_at) WHERE expires_at IS NOT NULL;
