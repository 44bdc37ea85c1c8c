-- What its owner chose for a sending domain: return path, tracking, TLS (`DomainSettings`). Absent: the default.
ALTER TABLE domains ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
