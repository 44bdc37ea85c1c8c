"""/templates: named mail with variables, by id or alias; a change is a draft until it is published."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType, field

from api.resend.shapes import Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment, moment_or_none
from mta.control.rendering import Source
from mta.control.template_changes import ACTIVE, TemplateView
from mta.control.templates import Changes
from mta.model import Defaults, Variable

routes = Routes("templates")

TEMPLATE_BYTES: Final = 4_000_000  # of a request
Status = Literal["draft", "published"]


class VariableFields(Shape):
    """What a message has to give, of that type; where it does not, the fallback is taken, if there is one."""

    key: str
    type: Literal["string", "number"]
    fallback_value: str | int | float | None = None


class TemplateFields(Shape):
    """`alias` names it beside its id. `from`, `subject` and `reply_to` stand where the message says nothing else.

    Without a `text`, one is made of the HTML; an empty one is none.
    """

    name: str | UnsetType = UNSET
    html: str | UnsetType = UNSET
    alias: str | UnsetType = UNSET
    from_: str | UnsetType | None = field(name="from", default=UNSET)
    subject: str | UnsetType | None = UNSET
    reply_to: list[str] | str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET
    variables: list[VariableFields] | UnsetType | None = UNSET


class TemplateRequest(TemplateFields, kw_only=True):
    name: str
    html: str


class TemplateSummary(Shape):
    id: str
    name: str
    alias: str
    status: Status
    published_at: str | None
    created_at: str
    updated_at: str


class TemplateShape(TemplateSummary, kw_only=True):
    """As it was last written; `has_unpublished_versions`: what is sent is older."""

    object: Literal["template"] = "template"
    current_version_id: str
    has_unpublished_versions: bool
    from_: str | None = field(name="from")
    subject: str | None
    reply_to: list[str]
    html: str | None
    text: str | None
    variables: list[VariableFields]


class Named(Shape, kw_only=True):
    object: Literal["template"] = "template"
    id: str


class Deleted(Named, kw_only=True):
    deleted: bool = True


@routes.post("/templates", scope="templates:write", status=201, limit=TEMPLATE_BYTES)
async def create(call: Call, body: TemplateRequest) -> Named:
    """Add a template; it is a draft until it is published."""
    changes = _changes(body)
    made = await call.control.templates.create(
        call.principal,
        name=body.name,
        slug=changes.get("slug"),
        source=Source(changes.get("subject", ""), body.html, changes.get("text")),
        draft=True,
        defaults=Defaults(changes.get("author", ""), changes.get("reply_to", ()), changes.get("variables", ())),
    )
    return Named(id=made.template.id)


@routes.get("/templates", scope="templates:read")
async def list_(call: Call, query: Paging) -> Listed[TemplateSummary]:
    """Templates, newest first."""
    page = await call.control.templates.page(call.principal, limit=query.limit, cursor=older_than(query))
    return listed([TemplateSummary(**_facts(view)) for view in page.items], page.next_cursor is not None)


@routes.get("/templates/{id}", scope="templates:read")
async def get(call: Call, id: str) -> TemplateShape:
    """One template as it was last written, by its id or alias."""
    return _template(await call.control.templates.get(call.principal, id))


@routes.patch("/templates/{id}", scope="templates:write", limit=TEMPLATE_BYTES)
async def update(call: Call, id: str, body: TemplateFields) -> Named:
    """Change it; what is left out stays. The published version is sent until this one is published."""
    view = await call.control.templates.update(call.principal, id, _changes(body), activate=False)
    return Named(id=view.template.id)


@routes.post("/templates/{id}/publish", scope="templates:write")
async def publish(call: Call, id: str) -> Named:
    """Send it as it was last written from now on."""
    return Named(id=(await call.control.templates.publish(call.principal, id)).template.id)


@routes.post("/templates/{id}/duplicate", scope="templates:write", status=201)
async def duplicate(call: Call, id: str) -> Named:
    """Make a draft that says the same, under an alias of its own."""
    return Named(id=(await call.control.templates.duplicate(call.principal, id)).template.id)


@routes.delete("/templates/{id}", scope="templates:write", status=200)
async def remove(call: Call, id: str) -> Deleted:
    """Delete it; messages that were made of it stay, and its alias is free again."""
    found = (await call.control.templates.get(call.principal, id)).template
    await call.control.templates.delete(call.principal, found.id)
    return Deleted(id=found.id)


def _changes(given: TemplateFields) -> Changes:
    """In our words. What may be null is empty then."""
    words = {"name": given.name, "html": given.html, "slug": given.alias, "text": given.text}
    changes: Changes = {**{name: value for name, value in words.items() if value is not UNSET}}  # type: ignore[typeddict-item]
    if given.subject is not UNSET:
        changes["subject"] = given.subject or ""
    if given.from_ is not UNSET:
        changes["author"] = given.from_ or ""
    if given.reply_to is not UNSET:
        changes["reply_to"] = tuple([given.reply_to] if isinstance(given.reply_to, str) else given.reply_to or ())
    if given.variables is not UNSET:
        changes["variables"] = tuple(
            Variable(each.key, each.type, each.fallback_value) for each in given.variables or ()
        )
    return changes


def _facts(view: TemplateView) -> dict[str, Any]:
    template = view.template
    return {
        "id": template.id,
        "name": template.name,
        "alias": template.slug,
        "status": "published" if template.status == ACTIVE else "draft",
        "published_at": moment_or_none(template.published_at),
        "created_at": moment(template.created_at),
        "updated_at": moment(template.updated_at),
    }


def _template(view: TemplateView) -> TemplateShape:
    newest = view.versions[0]
    defaults = newest.defaults
    return TemplateShape(
        **_facts(view),
        current_version_id=newest.id,
        has_unpublished_versions=view.template.status != ACTIVE or newest.id != view.active.id,
        from_=defaults.author or None,
        subject=newest.subject or None,
        reply_to=list(defaults.reply_to),
        html=newest.html,
        text=newest.text,
        variables=[
            VariableFields(key=each.key, type=each.type, fallback_value=each.fallback)  # type: ignore[arg-type]
            for each in defaults.variables
        ],
    )
