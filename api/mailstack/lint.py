"""POST /v1/emails/lint: what is wrong with a message before it is sent. Nothing is."""

from __future__ import annotations

from typing import Any

from api.compose import SEND_BYTES
from api.mailstack.shapes import Shape
from api.routing import Call, Routes
from mta.control.rendering import Source
from mta.protocol.lint import Finding

routes = Routes("emails")


class LintRequest(Shape):
    """The words of a message as POST /emails takes them; all its other fields may be there too."""

    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template_id: str | None = None
    variables: dict[str, Any] | None = None
    stream: str = "transactional"


class FindingShape(Shape):
    """`severity` is error, warning or info; `part` is subject, html, text or data; `line` counts from 1 in it."""

    code: str
    severity: str
    part: str
    line: int | None
    message: str
    advice: str


class LintShape(Shape):
    """`ok`: there is no error among the findings."""

    ok: bool
    findings: list[FindingShape]


@routes.post("/emails/lint", scope="emails:send", limit=SEND_BYTES)
async def lint(call: Call, body: LintRequest) -> LintShape:
    """Find what will not work in clients or look like spam, with what to do about it; nothing is sent."""
    templates = call.control.templates
    if body.template_id is not None:
        found = await templates.diagnose(call.principal, body.template_id, body.variables or {}, None, body.stream)
    else:
        source = Source(body.subject or "", body.html, body.text)
        found = await templates.diagnose_words(call.principal, source, body.variables, body.stream)
    return LintShape(ok=all(each.severity != "error" for each in found), findings=[_finding(each) for each in found])


def _finding(finding: Finding) -> FindingShape:
    return FindingShape(
        code=finding.code,
        severity=finding.severity,
        part=finding.part,
        line=finding.line,
        message=finding.message,
        advice=finding.advice,
    )
