"""What Stack0 calls things: objects in camelCase, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mta.errors import PosthouseError


class Shape(msgspec.Struct, rename="camel", kw_only=True):
    """An object of this surface: camelCase on the wire."""


ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": "string"},
            },
        }
    },
}
# By status; what is more particular stands in CODES.
STATUS_CODES: Final[Mapping[int, str]] = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    413: "VALIDATION_ERROR",
    415: "VALIDATION_ERROR",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
}


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    code = STATUS_CODES.get(status, problem.code.upper() if status < 500 else "INTERNAL_ERROR")
    shown = {"code": code, "message": problem.message}
    return {"error": shown | ({"field": problem.field} if problem.field else {})}
