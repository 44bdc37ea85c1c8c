"""Objects that StackShift Mail and MailStack write the same way, in camelCase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from mta.protocol.lint import Finding


class Camel(msgspec.Struct, rename="camel", kw_only=True):
    """camelCase on the wire."""


class Tracking(Camel):
    opens: bool | None = None
    clicks: bool | None = None


class Simulation(Camel):
    """Only with a test key: what the simulated recipient's server does."""

    scenario: Literal["delivered", "delayed", "bounced", "complained"]


class FindingShape(Camel):
    """`severity` is error, warning or info; `part` is subject, html, text or data; `line` counts from 1 in it."""

    code: str
    severity: str
    part: str
    line: int | None
    message: str
    advice: str


class Diagnostics(Camel):
    """`ok`: there is no error among the findings."""

    ok: bool
    findings: list[FindingShape]


def diagnosed(found: Sequence[Finding]) -> Diagnostics:
    """The worst first, as they are found."""
    findings = [
        FindingShape(
            code=each.code,
            severity=each.severity,
            part=each.part,
            line=each.line,
            message=each.message,
            advice=each.advice,
        )
        for each in found
    ]
    return Diagnostics(ok=all(each.severity != "error" for each in found), findings=findings)
