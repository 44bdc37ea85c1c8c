-- Streams that an organization made beside the two that everybody has (mta/policy/streams.py).
CREATE TABLE streams (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX streams_by_slug ON streams (organization_id, slug);
CREATE INDEX streams_by_organization ON streams (organization_id, id);
