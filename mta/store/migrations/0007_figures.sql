-- Counters by what they are asked for: all of an organization ('', ''), a domain, a template, or both. Every figure is
-- then one range of hours, however many domains and templates there are.
CREATE TABLE counters_by_hour (
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    domain TEXT NOT NULL,
    template_id TEXT NOT NULL,
    hour INTEGER NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (organization_id, test, domain, template_id, hour, name)
) WITHOUT ROWID;
INSERT INTO counters_by_hour (organization_id, test, domain, template_id, hour, name, value)
    SELECT organization_id, test, '', '', hour, name, sum(value) FROM counters GROUP BY organization_id, test, hour, name
    UNION ALL
    SELECT organization_id, test, domain, '', hour, name, sum(value) FROM counters
    GROUP BY organization_id, test, domain, hour, name
    UNION ALL
    SELECT organization_id, test, '', template_id, hour, name, sum(value) FROM counters WHERE template_id <> ''
    GROUP BY organization_id, test, template_id, hour, name
    UNION ALL
    SELECT organization_id, test, domain, template_id, hour, name, value FROM counters WHERE template_id <> '';
DROP TABLE counters;
ALTER TABLE counters_by_hour RENAME TO counters;

-- What is sent from one domain is counted apart where that domain is throttled; '' is the whole organization.
CREATE TABLE sending_by_domain (
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    domain TEXT NOT NULL,
    minute INTEGER NOT NULL,
    minute_used INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    hour_used INTEGER NOT NULL,
    day INTEGER NOT NULL,
    day_used INTEGER NOT NULL,
    PRIMARY KEY (organization_id, test, domain)
) WITHOUT ROWID;
INSERT INTO sending_by_domain
    SELECT organization_id, test, '', minute, minute_used, hour, hour_used, day, day_used FROM sending;
DROP TABLE sending;
ALTER TABLE sending_by_domain RENAME TO sending;

-- What the last judgement of reputation said: of an organization (domain ''), of a domain.
CREATE TABLE standings (
    organization_id TEXT NOT NULL,
    test INTEGER NOT NULL,
    domain TEXT NOT NULL,
    status TEXT NOT NULL,
    score INTEGER NOT NULL,
    bounce_rate REAL NOT NULL,
    deferral_rate REAL NOT NULL,
    suppression_rate REAL NOT NULL,
    complaint_rate REAL NOT NULL,
    deliveries INTEGER NOT NULL,
    cleared_at INTEGER,
    changed_at INTEGER,
    PRIMARY KEY (organization_id, test, domain)
) WITHOUT ROWID;
