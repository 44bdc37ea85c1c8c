-- When a source address was first used, and how many messages it sent to each site in the hours that still count.
CREATE TABLE warmup_sources (
    source TEXT PRIMARY KEY,
    first_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE warmup_sent (
    hour INTEGER NOT NULL,
    source TEXT NOT NULL,
    site TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (hour, source, site)
) WITHOUT ROWID;
