-- A template is a name for a line of versions, one of which is active. Versions never change.
CREATE TABLE templates (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    words TEXT NOT NULL,
    status TEXT NOT NULL,
    active_version_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX templates_by_slug ON templates (organization_id, slug) WHERE status <> 'deleted';
CREATE INDEX templates_by_organization ON templates (organization_id, id) WHERE status <> 'deleted';
CREATE INDEX templates_by_status ON templates (organization_id, status, id);

CREATE TABLE template_versions (
    id TEXT PRIMARY KEY,
    template_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    subject TEXT NOT NULL,
    html TEXT,
    text TEXT,
    variables TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX template_versions_by_number ON template_versions (template_id, number);
