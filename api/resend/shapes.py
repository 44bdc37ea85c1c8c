"""What Resend calls things: objects in snake_case that name their kind, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from mta.errors import InvalidInput, PosthouseError

T = TypeVar("T")
Limit = Annotated[int, Meta(ge=1, le=100)]


class Shape(msgspec.Struct, kw_only=True):
    """An object of this surface: snake_case on the wire."""


class Paging(Shape):
    """`after` asks for what is older than that id."""

    limit: Limit = 100
    after: str | None = None
    before: str | None = None


class Listed(Shape, Generic[T], kw_only=True):
    """A page, newest first; `has_more`: ask for the next with `after` the last one's id."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[T]


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


def older_than(query: Paging) -> str | None:
    """The cursor of a page. Raises InvalidInput where it goes the other way."""
    if query.before is not None:
        raise InvalidInput(
            "before: lists go from the newest to the oldest here, so page through them with after.", field="before"
        )
    return query.after
