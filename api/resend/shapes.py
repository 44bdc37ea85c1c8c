"""What Resend calls things: objects in snake_case that name their kind, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mta.errors import PosthouseError


class Shape(msgspec.Struct, kw_only=True):
    """An object of this surface: snake_case on the wire."""


ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["statusCode", "name", "message"],
    "properties": {
        "statusCode": {"type": "integer"},
        "name": {"type": "string"},
        "message": {"type": "string"},
    },
}
# By status; what is more particular stands before it.
NAMES: Final[Mapping[int, str]] = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    413: "validation_error",
    415: "validation_error",
    422: "validation_error",
    429: "rate_limit_exceeded",
}


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    name = NAMES.get(status, problem.code if status < 500 else "application_error")
    return {"statusCode": status, "name": name, "message": problem.message}
