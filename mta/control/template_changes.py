"""What happens to templates in the store: each change as one function in the writer, with its events."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from mta.errors import Conflict, InvalidInput, NotFound
from mta.model import Template, TemplateVersion
from mta.store import audit, events, templates
from mta.store.sqlite import Tx

ACTIVE, DRAFT, ARCHIVED, DELETED = "active", "draft", "archived", "deleted"
MAX_DETAILS: Final = 500_000  # bytes of JSON
_SLUG = re.compile(r"(?!tpl_)[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class TemplateView:
    """A template with its active version and its newest ones: in a list the newest alone."""

    template: Template
    active: TemplateVersion
    versions: tuple[TemplateVersion, ...] = ()


def check(template: Template) -> None:
    """Raises InvalidInput."""
    if not _SLUG.fullmatch(template.slug):
        raise InvalidInput(
            f'"{template.slug[:100]}" is no slug: use up to 100 lower-case letters, digits, ".", "-" and "_", a letter or '
            'digit first and last, and not "tpl_" at the beginning.',
            code="invalid_slug",
            field="slug",
        )
    if not 0 < len(template.name) <= 200:
        raise InvalidInput("A template's name has 1 to 200 characters.", field="name")
    if len(template.description) > 2000:
        raise InvalidInput("A template's description has at most 2000 characters.", field="description")
    if len(json.dumps(dict(template.details))) > MAX_DETAILS:
        raise InvalidInput(f"What is kept beside a template has at most {MAX_DETAILS} bytes.", field="details")
    if template.status not in (ACTIVE, DRAFT, ARCHIVED):
        raise InvalidInput('The status is "active", "draft" or "archived"; DELETE deletes it.', field="status")


def named(tx: Tx, organization_id: str, key: str) -> Template:
    """By its id or its slug. Raises NotFound."""
    found = templates.by_id(tx, key) if key.startswith("tpl_") else templates.by_slug(tx, organization_id, key)
    if found is None or found.organization_id != organization_id:
        raise NotFound(f"There is no template {key[:100]}.")
    return found


def version_of(tx: Tx, template: Template, id: str) -> TemplateVersion:
    """Raises NotFound."""
    found = templates.version_by_id(tx, template.id, id)
    if found is None:
        raise NotFound(f"Template {template.slug} has no version {id[:100]}.")
    return found


def active_of(tx: Tx, template: Template) -> TemplateVersion:
    return version_of(tx, template, template.active_version_id)


def add(tx: Tx, made: Template, version: TemplateVersion) -> None:
    """Raises Conflict where the slug is taken."""
    _refuse_taken(tx, made)
    templates.add(tx, made)
    templates.add_version(tx, version)
    _tell(tx, made, "template.created", made.created_at, version_id=version.id)
    _tell(tx, made, "template.version.created", made.created_at, version_id=version.id, number=version.number)


def update(tx: Tx, before: TemplateView, changed: Template, version: TemplateVersion | None) -> None:
    """Raises Conflict where the slug is taken, or somebody else changed the template meanwhile."""
    newest = templates.versions(tx, changed.id, 1)
    if templates.by_id(tx, changed.id) != before.template or newest[0].id != before.versions[0].id:
        raise Conflict(f"Template {before.template.slug} was changed at the same moment; look at it and try again.")
    _refuse_taken(tx, changed)
    if version is not None:
        templates.add_version(tx, version)
        _tell(tx, changed, "template.version.created", changed.updated_at, version_id=version.id, number=version.number)
    templates.update(tx, _published(before.template, changed))
    _tell(tx, changed, "template.updated", changed.updated_at, changed=_differing(before.template, changed))


def delete(tx: Tx, organization_id: str, key: str, now: int) -> None:
    """Its slug is free again. Raises NotFound."""
    found = named(tx, organization_id, key)
    templates.update(tx, replace(found, status=DELETED, updated_at=now))
    _tell(tx, found, "template.deleted", now)
    audit.add(tx, found.organization_id, "template.deleted", found.id, slug=found.slug)


def activate(tx: Tx, organization_id: str, key: str, version_id: str, now: int) -> None:
    """Raises NotFound."""
    found = named(tx, organization_id, key)
    chosen = version_of(tx, found, version_id)
    if chosen.id != found.active_version_id:
        templates.update(tx, _published(found, replace(found, active_version_id=chosen.id, updated_at=now)))
        _tell(tx, found, "template.updated", now, version_id=chosen.id, changed=["active_version"])


def publish(tx: Tx, organization_id: str, key: str, now: int) -> None:
    """Its newest version is the active one, and it is sent from now on. Raises NotFound."""
    found = named(tx, organization_id, key)
    newest = templates.versions(tx, found.id, 1)[0]
    published = replace(found, active_version_id=newest.id, status=ACTIVE)
    if published != found:
        templates.update(tx, _published(found, replace(published, updated_at=now)))
        _tell(tx, found, "template.updated", now, version_id=newest.id, changed=_differing(found, published))


def _published(before: Template, changed: Template) -> Template:
    """With the time, where another version is sent from now on, or any at all."""
    sent = (changed.status, changed.active_version_id)
    if changed.status != ACTIVE or sent == (before.status, before.active_version_id):
        return changed
    return replace(changed, published_at=changed.updated_at)


def _refuse_taken(tx: Tx, template: Template) -> None:
    found = templates.by_slug(tx, template.organization_id, template.slug)
    if found is not None and found.id != template.id:
        raise Conflict(
            f"The slug {template.slug} is taken by template {found.id}; choose another, or change that one.",
            code="template_exists",
            field="slug",
        )


def _differing(before: Template, after: Template) -> list[str]:
    names = ("name", "slug", "description", "status", "active_version_id", "details")
    return [name for name in names if getattr(after, name) != getattr(before, name)]


def _tell(tx: Tx, template: Template, type: str, now: int, **data: Any) -> None:
    data = {"slug": template.slug, **data}
    events.add(tx, template.organization_id, type, "template", template.id, data=data, at=now)
