"""The examples of docs/api: what a block of a page asks, and what the blocks under it say.

    ```http
    GET /v1/mail/messages            a block has one or more requests, a line each;
    GET /v1/mail/messages/{id}       an id is {id} or one that looks real

    POST /v1/mail/webhooks/{id}/replay
    Idempotency-Key: a-1             a request may have headers, and after an empty line a body of any kind
    ```

A ```json block under it is the JSON body, where the block's last request takes one, and the next one is the answer.
A request that takes no body, or whose body stands in its own block, is followed by its answer, if by anything.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGES = sorted((Path(__file__).resolve().parent.parent.parent / "docs" / "api").glob("*.md"))
_BLOCK = re.compile(r"^(#+ )|^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_ASKS = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)$")


@dataclass(frozen=True)
class Example:
    """One request of a page. `told` are the JSON blocks under it: its body, if it takes one, and its answer."""

    page: str
    method: str
    path: str
    headers: dict[str, str]
    content: bytes | None
    told: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page}: {self.method} {self.path}"


def examples_of(page: Path) -> list[Example]:
    """Raises ValueError where a block cannot be read."""
    found: list[Example] = []
    open_for_json = False
    for heading, language, text in _BLOCK.findall(page.read_text()):
        if heading or language not in ("http", "json"):
            open_for_json = False
        elif language == "http":
            found += _requests(page.stem, text)
            open_for_json = True
        else:
            value = json.loads(text)
            if open_for_json:
                found[-1].told.append(value)
    return found


def _requests(page: str, text: str) -> list[Example]:
    found: list[Example] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if asks := _ASKS.match(line):
            found.append(Example(page, asks[1], asks[2], {}, None))
        elif line and found:
            name, _, value = line.partition(":")
            found[-1].headers[name] = value.strip()
        elif not line and not any(_ASKS.match(later) for later in lines[number:]):
            body = "\r\n".join(lines[number + 1 :]) + "\r\n"
            found[-1] = Example(page, found[-1].method, found[-1].path, found[-1].headers, body.encode())
            break
    if not found:
        raise ValueError(f"{page}: an http block without a request: {text!r}")
    return found
