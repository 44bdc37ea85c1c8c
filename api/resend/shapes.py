"""What Resend calls things: objects in snake_case that name their kind, lists, and the table of its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from api.errors import MissingField
from api.errors import status_of as our_status_of
from mta.errors import InvalidInput, PosthouseError

T = TypeVar("T")
MOUNT: Final = "/resend"
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
# Our code -> Resend's status and name. Its clients choose their exceptions by these two.
BY_CODE: Final[Mapping[str, tuple[int, str]]] = {
    "api_key_missing": (401, "missing_api_key"),
    "scope_missing": (401, "restricted_api_key"),
    "scope_forbidden": (401, "restricted_api_key"),
    "domain_not_verified": (403, "validation_error"),
    "content_missing": (422, "missing_required_field"),
    "subject_missing": (422, "missing_required_field"),
    "template_draft": (422, "validation_error"),
    "template_archived": (422, "validation_error"),
    "invalid_attachment": (422, "invalid_attachment"),
    "attachment_unavailable": (422, "invalid_attachment"),
    "invalid_idempotency_key": (400, "invalid_idempotency_key"),
    "idempotency_conflict": (409, "invalid_idempotent_request"),
    "day_limit_reached": (429, "daily_quota_exceeded"),
}
# Our status, where the table above has nothing. A spend cap that is reached is their quota.
BY_STATUS: Final[Mapping[int, tuple[int, str]]] = {
    400: (400, "validation_error"),
    401: (403, "invalid_api_key"),
    402: (429, "monthly_quota_exceeded"),
    403: (403, "validation_error"),
    404: (404, "not_found"),
    405: (405, "method_not_allowed"),
    409: (409, "validation_error"),
    413: (413, "validation_error"),
    415: (415, "validation_error"),
    422: (422, "validation_error"),
    429: (429, "rate_limit_exceeded"),
}


def status_of(problem: PosthouseError) -> int:
    return _named(problem)[0]


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    return {"statusCode": status, "name": _named(problem)[1], "message": problem.message}


def older_than(query: Paging) -> str | None:
    """The cursor of a page. Raises InvalidInput where it goes the other way."""
    if query.before is not None:
        raise InvalidInput(
            "before: lists go from the newest to the oldest here, so page through them with after.", field="before"
        )
    return query.after


def listed(found: Sequence[T], more: bool) -> Listed[T]:
    return Listed(has_more=more, data=list(found))


def _named(problem: PosthouseError) -> tuple[int, str]:
    if problem.code in BY_CODE:
        return BY_CODE[problem.code]
    if isinstance(problem, MissingField):
        return 422, "missing_required_field"
    status = our_status_of(problem)
    return BY_STATUS.get(status, (status, "application_error"))
