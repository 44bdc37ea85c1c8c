-- What other domains demand of those who send to them (MTA-STS).

CREATE TABLE sts_policies (
    domain TEXT PRIMARY KEY,
    record_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    hosts TEXT NOT NULL,
    max_age_s INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sts_policies_by_expiry ON sts_policies (expires_at);
