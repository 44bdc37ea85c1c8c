"""/templates and /send-template: named mail with variables, by id or slug, in versions."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field

from api import compose
from api.addresses import One, Several
from api.compose import SEND_BYTES, Filling, Letter, idempotency_header
from api.routing import Call, Routes
from api.shapes import Diagnostics, Simulation, Tracking, diagnosed
from api.stackshift.send import SendFields, Sent, letter_of, sent, with_key
from api.stackshift.shapes import MESSAGE_STATUS, Listed, Paging, Shape
from api.times import moment
from mta.control.rendering import Source
from mta.control.template_changes import TemplateView
from mta.control.templates import Changes
from mta.model import TemplateVersion

routes = Routes("templates")

TEMPLATE_BYTES = 4_000_000  # of a request


class TemplateRequest(Shape):
    name: str
    slug: str
    subject: str
    description: str = ""
    html: str | None = None
    text: str | None = None


class TemplateChange(Shape):
    """What is left out stays; `subject`, `html` and `text` make a new version, which is active at once."""

    name: str | UnsetType = UNSET
    slug: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    html: str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET


class TemplateQuery(Paging):
    status: str | None = None
    search: str = ""


class VersionShape(Shape):
    """`variables` are what it takes from the data, like `user.name`."""

    id: str
    version_number: int
    subject: str
    html: str | None
    text: str | None
    variables: list[str]
    active: bool
    created_at: str


class TemplateShape(Shape):
    id: str
    slug: str
    name: str
    description: str
    status: str
    subject: str
    active_version_id: str
    active_version: VersionShape
    created_at: str
    updated_at: str


class TemplateDetail(TemplateShape):
    """With its newest 50 versions."""

    versions: list[VersionShape]


class PreviewRequest(Shape):
    data: dict[str, Any] = field(default_factory=dict)
    version_id: str | None = None


class Preview(Shape):
    subject: str
    html: str | None
    text: str | None
    missing_variables: list[str]


class DiagnosticsRequest(PreviewRequest):
    stream: str = "transactional"


class TestRequest(PreviewRequest, kw_only=True):
    to: Several
    from_: One | None = field(name="from", default=None)
    simulation: Simulation | None = None


class TestSent(Shape):
    message_id: str
    status: str


class SendTemplateRequest(SendFields, kw_only=True):
    """`template` is an id or a slug. Without `from`: no-reply@ the first verified domain."""

    template: str
    data: dict[str, Any] = field(default_factory=dict)
    version_id: str | None = None
    from_: One | None = field(name="from", default=None)


@routes.post("/templates", scope="templates:write", status=201, limit=TEMPLATE_BYTES)
async def create(call: Call, body: TemplateRequest) -> TemplateDetail:
    """Add a template with its first version."""
    source = Source(body.subject, body.html, body.text)
    return _detail(
        await call.control.templates.create(
            call.principal, name=body.name, slug=body.slug, description=body.description, source=source
        )
    )


@routes.get("/templates", scope="templates:read")
async def list_(call: Call, query: TemplateQuery) -> Listed[TemplateShape]:
    """Templates, newest first; without a status all but the deleted."""
    page = await call.control.templates.page(
        call.principal, limit=query.limit, cursor=query.cursor, status=query.status, search=query.search
    )
    return Listed(data=[TemplateShape(**_fields(view)) for view in page.items], next_cursor=page.next_cursor)


@routes.get("/templates/{id}", scope="templates:read")
async def get(call: Call, id: str) -> TemplateDetail:
    """One template with its newest versions."""
    return _detail(await call.control.templates.get(call.principal, id))


@routes.patch("/templates/{id}", scope="templates:write", limit=TEMPLATE_BYTES)
async def update(call: Call, id: str, body: TemplateChange) -> TemplateDetail:
    """Change a template; `status` archived keeps it from being sent."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    return _detail(await call.control.templates.update(call.principal, id, Changes(**given)))  # type: ignore[typeddict-item]


@routes.delete("/templates/{id}", scope="templates:write")
async def delete(call: Call, id: str) -> None:
    """Delete a template; its slug is free again."""
    await call.control.templates.delete(call.principal, id)


@routes.get("/templates/{id}/versions", scope="templates:read")
async def versions(call: Call, id: str, query: Paging) -> Listed[VersionShape]:
    """A template's versions, newest first."""
    view = await call.control.templates.get(call.principal, id)
    page = await call.control.templates.versions(call.principal, id, limit=query.limit, cursor=query.cursor)
    active = view.template.active_version_id
    return Listed(data=[_version(each, active) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/templates/{id}/versions/{version_id}", scope="templates:read")
async def version(call: Call, id: str, version_id: str) -> VersionShape:
    """One version."""
    view = await call.control.templates.get(call.principal, id)
    found = await call.control.templates.version(call.principal, id, version_id)
    return _version(found, view.template.active_version_id)


@routes.post("/templates/{id}/versions/{version_id}/activate", scope="templates:write")
async def activate(call: Call, id: str, version_id: str) -> TemplateDetail:
    """Send that version from now on."""
    return _detail(await call.control.templates.activate(call.principal, id, version_id))


@routes.post("/templates/{id}/preview", scope="templates:read")
async def preview(call: Call, id: str, body: PreviewRequest) -> Preview:
    """Show what would be sent; variables that the data lacks are empty, and named."""
    made = await call.control.templates.preview(call.principal, id, body.data, body.version_id)
    return Preview(subject=made.subject, html=made.html, text=made.text, missing_variables=list(made.missing))


@routes.post("/templates/{id}/diagnostics", scope="templates:read")
async def diagnostics(call: Call, id: str, body: DiagnosticsRequest) -> Diagnostics:
    """Find what will not work in clients or look like spam, with what to do about it."""
    found = await call.control.templates.diagnose(call.principal, id, body.data, body.version_id, body.stream)
    return diagnosed(found)


@routes.post("/templates/{id}/test-send", scope="emails:send", status=202)
async def test_send(call: Call, id: str, body: TestRequest) -> TestSent:
    """Send a template to try it; it is not tracked."""
    template = Filling(id, body.data, body.version_id)
    fields = SendFields(to=body.to, simulation=body.simulation, tracking=Tracking(opens=False, clicks=False))
    accepted = await compose.send(call, letter_of(fields, body.from_, template=template))
    await call.control.templates.tell_test_sent(call.principal, id, accepted.message_id, body.version_id)
    return TestSent(message_id=accepted.message_id, status=MESSAGE_STATUS[accepted.status])


@routes.post("/send-template", scope="emails:send", status=202, limit=SEND_BYTES)
async def send_template(call: Call, body: SendTemplateRequest) -> Sent:
    """Accept a message made of a template; missing variables are named and nothing is queued."""
    return sent(await compose.send(call, with_key(template_letter(body), idempotency_header(call))))


def template_letter(body: SendTemplateRequest, scheduled_at: int | None = None) -> Letter:
    return letter_of(
        body, body.from_, template=Filling(body.template, body.data, body.version_id), scheduled_at=scheduled_at
    )


def _version(version: TemplateVersion, active_id: str) -> VersionShape:
    return VersionShape(
        id=version.id,
        version_number=version.number,
        subject=version.subject,
        html=version.html,
        text=version.text,
        variables=list(version.variables),
        active=version.id == active_id,
        created_at=moment(version.created_at),
    )


def _fields(view: TemplateView) -> dict[str, Any]:
    template = view.template
    return {
        "id": template.id,
        "slug": template.slug,
        "name": template.name,
        "description": template.description,
        "status": template.status,
        "subject": view.active.subject,
        "active_version_id": template.active_version_id,
        "active_version": _version(view.active, template.active_version_id),
        "created_at": moment(template.created_at),
        "updated_at": moment(template.updated_at),
    }


def _detail(view: TemplateView) -> TemplateDetail:
    active = view.template.active_version_id
    return TemplateDetail(**_fields(view), versions=[_version(each, active) for each in view.versions])
