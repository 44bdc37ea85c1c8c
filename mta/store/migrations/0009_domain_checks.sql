-- When a sending domain is looked up in the DNS again; 0: at once.
ALTER TABLE domains ADD COLUMN next_check_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX domains_due ON domains (next_check_at) WHERE deleted_at IS NULL;
CREATE INDEX domains_by_owner ON domains (name, status) WHERE deleted_at IS NULL;
CREATE INDEX domains_deleted ON domains (deleted_at) WHERE deleted_at IS NOT NULL;
