-- What was sent instead of the message's own body, where a recipient has a copy of its own.
ALTER TABLE captures ADD COLUMN body BLOB;

-- Opens and clicks as they come in, until it is judged whether a person was behind them.
CREATE TABLE visits (
    id TEXT PRIMARY KEY,
    delivery_id TEXT NOT NULL,
    url TEXT NOT NULL,
    at INTEGER NOT NULL,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL,
    prefetch INTEGER NOT NULL
) WITHOUT ROWID;

-- What became of one recipient's copy: how often it was opened and its links followed, by people and by programs.
CREATE TABLE engagements (
    delivery_id TEXT PRIMARY KEY,
    message_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    delivered_at INTEGER,
    opens INTEGER NOT NULL,
    automated_opens INTEGER NOT NULL,
    first_open_at INTEGER,
    clicks INTEGER NOT NULL,
    automated_clicks INTEGER NOT NULL,
    first_click_at INTEGER,
    last_at INTEGER NOT NULL,
    last_click_at INTEGER,
    last_url TEXT NOT NULL,
    events INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX engagements_by_message ON engagements (message_id, delivery_id);

-- The same by link.
CREATE TABLE followed_links (
    delivery_id TEXT NOT NULL,
    url TEXT NOT NULL,
    message_id TEXT NOT NULL,
    clicks INTEGER NOT NULL,
    automated_clicks INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, url)
) WITHOUT ROWID;
CREATE INDEX followed_links_by_message ON followed_links (message_id, url);
