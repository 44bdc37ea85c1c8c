"""Templates and their versions at rest."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from mta.model import Defaults, Template, TemplateVersion, Variable
from mta.store.sqlite import Row, Tx, from_json, to_json

COLUMNS = "id, organization_id, slug, name, description, status, active_version_id, created_at, updated_at, details, published_at"
ADD = f"""
    INSERT INTO templates ({COLUMNS}, words)
    VALUES (:id, :organization_id, :slug, :name, :description, :status, :active_version_id, :now, :now, :details,
        :published_at, :words)"""
BY_ID = f"SELECT {COLUMNS} FROM templates WHERE id = :id AND status <> 'deleted'"
BY_SLUG = f"""
    SELECT {COLUMNS} FROM templates WHERE organization_id = :organization_id AND slug = :slug AND status <> 'deleted'"""
_TAIL = "AND (:search = '' OR instr(words, :search) > 0) ORDER BY id DESC LIMIT :limit"
_PAGE = f"SELECT {COLUMNS} FROM templates WHERE organization_id = :organization_id AND id < :before"
PAGE = f"{_PAGE} AND status <> 'deleted' {_TAIL}"
PAGE_BY_STATUS = f"{_PAGE} AND status = :status {_TAIL}"
UPDATE = """
    UPDATE templates SET slug = :slug, name = :name, description = :description, status = :status,
        active_version_id = :active_version_id, updated_at = :now, details = :details, published_at = :published_at,
        words = :words
    WHERE id = :id"""

_VERSION = "id, template_id, number, subject, html, text, variables, created_at, preheader, defaults"
ADD_VERSION = f"""
    INSERT INTO template_versions ({_VERSION})
    VALUES (:id, :template_id, :number, :subject, :html, :text, :variables, :now, :preheader, :defaults)"""
VERSION = f"SELECT {_VERSION} FROM template_versions WHERE id = :id AND template_id = :template_id"
VERSIONS = f"""
    SELECT {_VERSION} FROM template_versions WHERE template_id = :template_id AND number < :before
    ORDER BY number DESC LIMIT :limit"""
LAST = "~"  # sorts after every id
MAX_NUMBER = 2**62


def template(row: Row) -> Template:
    return Template(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], from_json(row[9]), row[10])


def version(row: Row) -> TemplateVersion:
    id, template_id, number, subject, html, text, variables, created_at, preheader, defaults = row
    names, kept = tuple(json.loads(variables)), _defaults(json.loads(defaults))
    return TemplateVersion(id, template_id, number, subject, html, text, names, created_at, preheader, kept)


def _defaults(kept: dict[str, Any]) -> Defaults:
    if not kept:
        return Defaults()
    variables = tuple(Variable(**each) for each in kept["variables"])
    return Defaults(kept["author"], tuple(kept["reply_to"]), variables)


def add(tx: Tx, made: Template) -> None:
    tx.run(
        ADD,
        id=made.id,
        organization_id=made.organization_id,
        slug=made.slug,
        name=made.name,
        description=made.description,
        status=made.status,
        active_version_id=made.active_version_id,
        now=made.created_at,
        details=to_json(dict(made.details)),
        published_at=made.published_at,
        words=_words(made),
    )


def update(tx: Tx, changed: Template) -> None:
    tx.run(
        UPDATE,
        id=changed.id,
        slug=changed.slug,
        name=changed.name,
        description=changed.description,
        status=changed.status,
        active_version_id=changed.active_version_id,
        now=changed.updated_at,
        details=to_json(dict(changed.details)),
        published_at=changed.published_at,
        words=_words(changed),
    )


def by_id(tx: Tx, id: str) -> Template | None:
    """None also where it was deleted."""
    row = tx.one(BY_ID, id=id)
    return template(row) if row else None


def by_slug(tx: Tx, organization_id: str, slug: str) -> Template | None:
    row = tx.one(BY_SLUG, organization_id=organization_id, slug=slug)
    return template(row) if row else None


def page(
    tx: Tx, organization_id: str, limit: int, *, before: str = LAST, status: str | None = None, search: str = ""
) -> list[Template]:
    """Newest first; without a status all but the deleted. `search` is found in slug, name and description."""
    sql, extra = (PAGE, {}) if status is None else (PAGE_BY_STATUS, {"status": status})
    rows = tx.all(sql, organization_id=organization_id, before=before, search=search.casefold(), limit=limit, **extra)
    return [template(row) for row in rows]


def add_version(tx: Tx, made: TemplateVersion) -> None:
    tx.run(
        ADD_VERSION,
        id=made.id,
        template_id=made.template_id,
        number=made.number,
        subject=made.subject,
        html=made.html,
        text=made.text,
        variables=json.dumps(made.variables),
        now=made.created_at,
        preheader=made.preheader,
        defaults=json.dumps(dataclasses.asdict(made.defaults)),
    )


def version_by_id(tx: Tx, template_id: str, id: str) -> TemplateVersion | None:
    row = tx.one(VERSION, id=id, template_id=template_id)
    return version(row) if row else None


def versions(tx: Tx, template_id: str, limit: int, before: int = MAX_NUMBER) -> list[TemplateVersion]:
    """Newest first, numbers below `before`."""
    return [version(row) for row in tx.all(VERSIONS, template_id=template_id, before=before, limit=limit)]


def _words(made: Template) -> str:
    """What search looks into: SQLite folds the case of ASCII only."""
    return f"{made.slug}\n{made.name}\n{made.description}".casefold()
