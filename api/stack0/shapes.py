"""What Stack0 calls things: objects in camelCase, its environments, and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from api import errors
from api.routing import Call
from api.stack0.names import FIELDS
from mta.errors import Forbidden, PaymentRequired, PosthouseError

Environment = Annotated[
    Literal["sandbox", "production"],
    Meta(description="sandbox: captured, not sent, as with a test key; without it what the key is for"),
]


class Shape(msgspec.Struct, rename="camel", kw_only=True):
    """An object of this surface: camelCase on the wire."""


class Paging(Shape):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0


class Done(Shape):
    success: bool = True


ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["error", "code", "message"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "issues": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "message"],
                        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        },
        "code": {"type": "string"},
        "message": {"type": "string"},
    },
}
# By status; what is more particular stands in CODES. What Stack0 has no word for keeps ours.
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
CODES: Final[Mapping[str, str]] = {"domain_not_verified": "DOMAIN_NOT_VERIFIED"}
QUOTA_CODES: Final = frozenset({"allowance_exhausted", "spend_cap_reached"})  # ours that are QUOTA_EXCEEDED


def status_of(problem: PosthouseError) -> int:
    """Stack0 says 400 where a quota is used up."""
    return 400 if isinstance(problem, PaymentRequired) else errors.status_of(problem)


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    """As the documentation has it, under `error`; its clients read `code` and `message` beside that."""
    shown: dict[str, Any] = {"code": _code(problem, status), "message": problem.message}
    field = FIELDS.get(problem.field or "", problem.field)
    issues = {"issues": [{"field": field, "message": problem.message}]} if field else {}
    return {"error": shown | issues, **shown}


def _code(problem: PosthouseError, status: int) -> str:
    if isinstance(problem, PaymentRequired):
        return "QUOTA_EXCEEDED"
    if status >= 500:
        return "INTERNAL_ERROR"
    return CODES.get(problem.code) or STATUS_CODES.get(status) or problem.code


def within(call: Call, environment: Environment | None) -> Call:
    """The call as one of that environment. Raises Forbidden: a test key never sends real mail."""
    if environment == "production" and call.principal.test:
        raise Forbidden("This is a test key: it works in the sandbox only. Use a live key for production.")
    if environment == "sandbox":
        return replace(call, principal=replace(call.principal, test=True))
    return call
