-- What an organization has sent in the minute, hour and day (UTC) that runs: one row that starts again by itself.
CREATE TABLE sending (
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    minute_used INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    hour_used INTEGER NOT NULL,
    day INTEGER NOT NULL,
    day_used INTEGER NOT NULL,
    PRIMARY KEY (organization_id, test)
) WITHOUT ROWID;
