"""POST /v1/emails/lint: what is wrong with a message before it is sent. Nothing is."""

from __future__ import annotations

from typing import Any

from api.compose import SEND_BYTES
from api.mailstack.shapes import Shape
from api.routing import Call, Routes
from api.shapes import Diagnostics, diagnosed
from mta.control.rendering import Source

routes = Routes("emails")


class LintRequest(Shape):
    """The words of a message as POST /emails takes them; all its other fields may be there too."""

    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template_id: str | None = None
    variables: dict[str, Any] | None = None
    stream: str = "transactional"


@routes.post("/emails/lint", scope="emails:send", limit=SEND_BYTES)
async def lint(call: Call, body: LintRequest) -> Diagnostics:
    """Find what will not work in clients or look like spam, with what to do about it; nothing is sent."""
    templates = call.control.templates
    if body.template_id is not None:
        found = await templates.diagnose(call.principal, body.template_id, body.variables or {}, None, body.stream)
    else:
        source = Source(body.subject or "", body.html, body.text)
        found = await templates.diagnose_words(call.principal, source, body.variables, body.stream)
    return diagnosed(found)
