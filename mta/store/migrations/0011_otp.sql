-- One-time codes. Only a keyed hash of a code is here; the code is in the mail, and that is deleted when it has gone out.
CREATE TABLE otp_challenges (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    purpose TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    hash BLOB NOT NULL,
    code_length INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    sent_at INTEGER,
    verified_at INTEGER
) WITHOUT ROWID;
CREATE INDEX otp_by_organization ON otp_challenges (organization_id, test, id);
CREATE INDEX otp_by_status ON otp_challenges (organization_id, test, status, id);
CREATE INDEX otp_by_address ON otp_challenges (organization_id, test, email_key, purpose, id);
CREATE UNIQUE INDEX otp_by_message ON otp_challenges (message_id);
CREATE INDEX otp_open ON otp_challenges (expires_at) WHERE status IN ('created', 'sent');
