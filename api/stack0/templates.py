"""/templates: named mail with variables, by id or slug."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType, field

from api.routing import Call, Routes
from api.stack0.shapes import Done, Environment, Paging, Shape
from api.times import moment
from mta.control.rendering import Source
from mta.control.template_changes import ACTIVE, ARCHIVED, TemplateView
from mta.control.templates import Changes

routes = Routes("templates")

TEMPLATE_BYTES = 4_000_000  # of a request


class TemplateFields(Shape):
    """What a template may have; a template is the same in both environments.

    `previewText` is shown beside the subject in a list of mail: it becomes the first words of the HTML, hidden.
    `mailyJson` and `variablesSchema` are kept for the editor, and given back as they came.
    """

    name: str | UnsetType = UNSET
    slug: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    subject: str | UnsetType = UNSET
    preview_text: str | UnsetType | None = UNSET
    html: str | UnsetType = UNSET
    text: str | UnsetType | None = UNSET
    maily_json: dict[str, Any] | UnsetType | None = UNSET
    variables_schema: dict[str, Any] | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


class TemplateRequest(TemplateFields, kw_only=True):
    name: str
    slug: str
    subject: str
    html: str
    environment: Environment | None = None


class TemplateQuery(Paging):
    is_active: bool | None = None
    search: str = ""
    environment: Environment | None = None


class TemplateShape(Shape, kw_only=True):
    id: str
    organization_id: str
    environment: str
    created_by_user_id: None = None
    name: str
    slug: str
    description: str | None
    subject: str
    preview_text: str | None
    html: str
    text: str | None
    maily_json: dict[str, Any] | None
    variables_schema: dict[str, Any] | None
    is_active: bool
    created_at: str
    updated_at: str


class TemplateList(Shape):
    templates: list[TemplateShape]
    total: int
    limit: int
    offset: int


class PreviewRequest(Shape):
    variables: dict[str, Any] = field(default_factory=dict)


class Preview(Shape):
    subject: str
    html: str
    text: str | None


@routes.get("/templates", scope="templates:read")
async def list_(call: Call, query: TemplateQuery) -> TemplateList:
    """Templates, newest first; `search` is a part of name, slug or description."""
    found, total = await call.control.templates.found(
        call.principal, query.offset, query.limit, active=query.is_active, search=query.search
    )
    return TemplateList(
        templates=[_shape(call, view) for view in found], total=total, limit=query.limit, offset=query.offset
    )


@routes.post("/templates", scope="templates:write", limit=TEMPLATE_BYTES)
async def create(call: Call, body: TemplateRequest) -> TemplateShape:
    """Add a template."""
    changes = _changes(body)
    source = Source(body.subject, body.html, changes.get("text"), changes.get("preheader", ""))
    view = await call.control.templates.create(
        call.principal,
        name=body.name,
        slug=body.slug,
        source=source,
        description=changes.get("description", ""),
        draft=body.is_active is False,
        details=_details({}, body),
    )
    return _shape(call, view)


@routes.get("/templates/{id}", scope="templates:read")
@routes.get("/templates/slug/{id}", scope="templates:read")
async def get(call: Call, id: str) -> TemplateShape:
    """One template, by its id or slug."""
    return _shape(call, await call.control.templates.get(call.principal, id))


@routes.put("/templates/{id}", scope="templates:write", limit=TEMPLATE_BYTES)
async def update(call: Call, id: str, body: TemplateFields) -> TemplateShape:
    """Change a template; what is left out stays. One that is not active is not sent."""
    changes = _changes(body)
    before = await call.control.templates.get(call.principal, id)
    changes["details"] = _details(dict(before.template.details), body)
    return _shape(call, await call.control.templates.update(call.principal, id, changes))


@routes.delete("/templates/{id}", scope="templates:write", status=200)
async def delete(call: Call, id: str) -> Done:
    """Delete a template; its slug is free again."""
    await call.control.templates.delete(call.principal, id)
    return Done()


@routes.post("/templates/{id}/preview", scope="templates:read")
async def preview(call: Call, id: str, body: PreviewRequest) -> Preview:
    """Show what would be sent; what the variables lack is empty."""
    made = await call.control.templates.preview(call.principal, id, body.variables)
    return Preview(subject=made.subject, html=made.html or "", text=made.text)


def _changes(given: TemplateFields) -> Changes:
    """In our words. What may be null is empty then."""
    changes = Changes()
    if given.name is not UNSET:
        changes["name"] = given.name
    if given.slug is not UNSET:
        changes["slug"] = given.slug
    if given.description is not UNSET:
        changes["description"] = given.description or ""
    if given.is_active is not UNSET:
        changes["status"] = ACTIVE if given.is_active else ARCHIVED
    if given.subject is not UNSET:
        changes["subject"] = given.subject
    if given.html is not UNSET:
        changes["html"] = given.html
    if given.text is not UNSET:
        changes["text"] = given.text
    if given.preview_text is not UNSET:
        changes["preheader"] = given.preview_text or ""
    return changes


def _details(kept: dict[str, Any], given: TemplateFields) -> dict[str, Any]:
    for name in ("maily_json", "variables_schema"):
        if (value := getattr(given, name)) is not UNSET:
            kept[name] = value
    return kept


def _shape(call: Call, view: TemplateView) -> TemplateShape:
    template, version = view.template, view.active
    return TemplateShape(
        id=template.id,
        organization_id=template.organization_id,
        environment="sandbox" if call.principal.test else "production",
        name=template.name,
        slug=template.slug,
        description=template.description or None,
        subject=version.subject,
        preview_text=version.preheader or None,
        html=version.html or "",
        text=version.text,
        maily_json=template.details.get("maily_json"),
        variables_schema=template.details.get("variables_schema"),
        is_active=template.status == ACTIVE,
        created_at=moment(template.created_at),
        updated_at=moment(template.updated_at),
    )
