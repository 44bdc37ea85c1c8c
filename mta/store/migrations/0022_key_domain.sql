-- The one sending domain that a key is for; '' is all of them.
ALTER TABLE api_keys ADD COLUMN domain TEXT NOT NULL DEFAULT '';
