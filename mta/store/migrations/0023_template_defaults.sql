-- Who a template's mail is from, where answers go, its variables with their fallbacks; and since when it is sent.
ALTER TABLE template_versions ADD COLUMN defaults TEXT NOT NULL DEFAULT '{}';
ALTER TABLE templates ADD COLUMN published_at INTEGER;
UPDATE templates SET published_at = (SELECT created_at FROM template_versions WHERE id = active_version_id)
WHERE status <> 'draft';
