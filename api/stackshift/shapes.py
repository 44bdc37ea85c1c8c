"""What StackShift Mail calls things: envelope, lists, errors, and the table of its status names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Meta

from mta.errors import InvalidInput, PosthouseError
from mta.model import DeliveryStatus as D
from mta.model import MessageStatus as M

T = TypeVar("T")


class Shape(msgspec.Struct, rename="camel", kw_only=True):
    """An object of this surface: camelCase on the wire."""


class Paging(Shape):
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: str | None = None


class Listed(Shape, Generic[T]):
    """A page, newest first; `nextCursor` asks for the next one and is null at the end."""

    data: list[T]
    next_cursor: str | None = None


# A message's status here; `held` waits, so it is deferred, and who cancels wants no mail, so it failed with its reason.
MESSAGE_STATUS: Final[Mapping[M, str]] = {
    M.SCHEDULED: "queued",
    M.HELD: "deferred",
    M.SENDING: "sending",
    M.QUEUED: "queued",
    M.DEFERRED: "deferred",
    M.SENT: "sent",
    M.BOUNCED: "bounced",
    M.FAILED: "failed",
    M.SUPPRESSED: "suppressed",
    M.CANCELLED: "failed",
}
RECIPIENT_STATUS: Final[Mapping[D, str]] = {
    D.QUEUED: "queued",
    D.SENDING: "sending",
    D.DEFERRED: "delayed",
    D.HELD: "delayed",
    D.DELIVERED: "delivered",
    D.BOUNCED: "bounced",
    D.FAILED: "failed",
    D.SUPPRESSED: "suppressed",
    D.CANCELLED: "failed",
    D.COMPLAINED: "complained",
}
STATUS_ALIASES: Final = {"mta_accepted": "sent"}  # newer clients say what `sent` means


def envelope(value: Any) -> Any:
    return {"success": True, "data": value}


def envelope_schema(schema: Any) -> Any:
    return {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"const": True}, "data": schema},
    }


ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["success", "message", "error"],
    "properties": {
        "success": {"const": False},
        "message": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object", "properties": {"field": {"type": "string"}}},
            },
        },
    },
}


def error(problem: PosthouseError, status: int) -> dict[str, Any]:
    details = dict(problem.details)
    if problem.field:
        details["field"] = problem.field
    return {
        "success": False,
        "message": problem.message,
        "error": {"code": problem.code, "message": problem.message, "details": details},
    }


def statuses(name: str | None) -> tuple[M, ...]:
    """Ours that show as this one; none for None. Raises InvalidInput."""
    if name is None:
        return ()
    wanted = STATUS_ALIASES.get(name, name)
    found = tuple(ours for ours, shown in MESSAGE_STATUS.items() if shown == wanted)
    if not found:
        known = ", ".join(dict.fromkeys([*MESSAGE_STATUS.values(), *STATUS_ALIASES]))
        raise InvalidInput(f'"{name[:100]}" is no status; there are {known}.', field="status")
    return found
