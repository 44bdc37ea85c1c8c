"""What MailStack calls things: objects in camelCase, lists as bare arrays, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from api.mailstack.names import FIELDS
from mta.errors import PosthouseError


class Shape(msgspec.Struct, rename="camel", kw_only=True):
    """An object of this surface: camelCase on the wire."""


class Listing(Shape):
    """A list is a bare array, newest first; the id of its last object is the `cursor` of the next page."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class Done(Shape):
    """What is left to say of a thing that is gone."""

    status: Literal["ok"] = "ok"


ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {"type": "string", "description": "a stable code"},
        "message": {"type": "string"},
        "field": {"type": "string"},
    },
}


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    shown = {"error": problem.code, "message": problem.message}
    return shown | ({"field": FIELDS.get(problem.field, problem.field)} if problem.field else {})
