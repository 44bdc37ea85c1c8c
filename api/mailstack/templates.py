"""/v1/templates: named mail with variables, in versions; a change is a draft until it is published."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType, field

from api.mailstack.names import TEMPLATE_STATUS
from api.mailstack.shapes import Done, Listing, Shape
from api.routing import Call, Routes
from api.times import moment
from mta.control.rendering import Source
from mta.control.template_changes import TemplateView
from mta.control.templates import Changes

routes = Routes("templates")

TEMPLATE_BYTES: Final = 4_000_000  # of a request


class TemplateRequest(Shape):
    name: str
    subject: str
    html: str | None = None
    text: str | None = None
    description: str = ""


class TemplateChange(Shape):
    """What is left out stays. `subject`, `html` and `text` make a new version, which is sent once it is published."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    html: str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET


class TemplateShape(Shape):
    """`status` is Draft, Published or Archived; of its versions the newest has the number `version`, and
    `publishedVersion` is the one that is sent: null before the first is published."""

    id: str
    name: str
    description: str
    status: str
    subject: str
    version: int
    published_version: int | None
    variables: list[str]
    created_at: str
    updated_at: str


class TemplateDetail(TemplateShape):
    """With the words of its newest version."""

    html: str | None
    text: str | None


class PreviewRequest(Shape):
    variables: dict[str, Any] = field(default_factory=dict)


class Preview(Shape):
    subject: str
    html: str | None
    text: str | None
    missing_variables: list[str]


@routes.get("/templates", scope="templates:read")
async def list_(call: Call, query: Listing) -> list[TemplateShape]:
    """Templates, newest first."""
    page = await call.control.templates.page(call.principal, limit=query.limit, cursor=query.cursor)
    return [TemplateShape(**_facts(view)) for view in page.items]


@routes.post("/templates", scope="templates:write", status=201, limit=TEMPLATE_BYTES)
async def create(call: Call, body: TemplateRequest) -> TemplateDetail:
    """Add a template; it is a draft until it is published."""
    source = Source(body.subject, body.html, body.text)
    made = await call.control.templates.create(
        call.principal, name=body.name, description=body.description, source=source, draft=True
    )
    return _detail(made)


@routes.get("/templates/{id}", scope="templates:read")
async def get(call: Call, id: str) -> TemplateDetail:
    """One template as it was last written, published or not."""
    return _detail(await call.control.templates.get(call.principal, id))


@routes.put("/templates/{id}", scope="templates:write", limit=TEMPLATE_BYTES)
async def update(call: Call, id: str, body: TemplateChange) -> TemplateDetail:
    """Change it; other words are a new version, and the published one is sent until they are published."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    changes = Changes(**given)  # type: ignore[typeddict-item]
    return _detail(await call.control.templates.update(call.principal, id, changes, activate=False))


@routes.delete("/templates/{id}", scope="templates:write", status=200)
async def delete(call: Call, id: str) -> Done:
    """Delete it; messages that were made of it stay."""
    await call.control.templates.delete(call.principal, id)
    return Done()


@routes.post("/templates/{id}/publish", scope="templates:write")
async def publish(call: Call, id: str) -> TemplateDetail:
    """Send its newest version from now on."""
    return _detail(await call.control.templates.publish(call.principal, id))


@routes.post("/templates/{id}/preview", scope="templates:read")
async def preview(call: Call, id: str, body: PreviewRequest) -> Preview:
    """Show what its newest version makes of these variables; what they lack is empty, and named."""
    view = await call.control.templates.get(call.principal, id)
    made = await call.control.templates.preview(call.principal, id, body.variables, view.versions[0].id)
    return Preview(subject=made.subject, html=made.html, text=made.text, missing_variables=list(made.missing))


def _facts(view: TemplateView) -> dict[str, Any]:
    template, newest = view.template, view.versions[0]
    return {
        "id": template.id,
        "name": template.name,
        "description": template.description,
        "status": TEMPLATE_STATUS[template.status],
        "subject": newest.subject,
        "version": newest.number,
        "published_version": None if template.status == "draft" else view.active.number,
        "variables": list(newest.variables),
        "created_at": moment(template.created_at),
        "updated_at": moment(template.updated_at),
    }


def _detail(view: TemplateView) -> TemplateDetail:
    return TemplateDetail(**_facts(view), html=view.versions[0].html, text=view.versions[0].text)
