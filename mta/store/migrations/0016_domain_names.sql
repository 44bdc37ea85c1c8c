-- Domains by name, deleted ones too: whose keys and wishes the mail in the queue still needs.
CREATE INDEX domains_by_any_name ON domains (organization_id, name, id);
