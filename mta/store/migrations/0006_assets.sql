-- Files that an organization keeps here to attach them. Rows of 256 KiB, like those of bodies.
CREATE TABLE assets (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    filename TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    folder TEXT NOT NULL,
    visibility TEXT NOT NULL,
    cache_control TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX assets_by_organization ON assets (organization_id, id);

CREATE TABLE asset_chunks (
    asset_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (asset_id, n)
);
