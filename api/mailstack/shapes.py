"""What MailStack calls things: objects in camelCase, lists as bare arrays, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mta.errors import PosthouseError


class Shape(msgspec.Struct, rename="camel", kw_only=True):
    """An object of this surface: camelCase on the wire."""


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
    return shown | ({"field": problem.field} if problem.field else {})
