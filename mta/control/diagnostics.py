"""What is wrong with a template's words and the data that fills them: the lint of the mail, and its variables.

Called in a thread by `control.templates`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mta.control import rendering
from mta.control.rendering import Source
from mta.protocol.lint import Finding, Mail, lint


def findings_of(source: Source, data: Mapping[str, Any] | None, stream: str) -> tuple[Finding, ...]:
    """The worst first; `data` None: there are no variables. Raises what rendering raises."""
    if data is None:
        return lint(Mail(source.subject, source.html, source.text, stream))
    variables = rendering.check(source)
    mail = rendering.render(source, data)
    findings = [
        Finding(
            "variable_missing",
            "error",
            "data",
            f"The data lacks {name}.",
            "Give it a value, or a default in the template: {{ name | default: 'friend' }}.",
        )
        for name in mail.missing
    ]
    roots = {re.split(r"[.\[]", name, maxsplit=1)[0] for name in variables}
    findings += [
        Finding(
            "variable_unused",
            "info",
            "data",
            f"The template does not use {name[:100]}.",
            "Leave it out of the data, or check its spelling in the template.",
        )
        for name in data
        if name not in roots
    ]
    text = mail.text if source.text is not None else None
    found = lint(Mail(mail.subject, mail.html, text, stream))
    order = ("error", "warning", "info")
    return tuple(sorted([*findings, *found], key=lambda finding: order.index(finding.severity)))
