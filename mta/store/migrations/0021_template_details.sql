-- The line that a mailbox shows beside the subject, and what an editor keeps with a template.
ALTER TABLE template_versions ADD COLUMN preheader TEXT NOT NULL DEFAULT '';
ALTER TABLE templates ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
