"""The one table from our errors to HTTP, and the errors that only HTTP has. Each surface gives the body its shape."""

from __future__ import annotations

from typing import Final

import structlog

from mta import errors

log = structlog.get_logger("api")


class MethodNotAllowed(errors.PosthouseError):
    """The path is there, for other methods: 405, with Allow."""

    code = "method_not_allowed"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This path answers {', '.join(allowed)} only.")
        self.allowed = allowed


class UnsupportedMedia(errors.PosthouseError):
    """The body is not JSON: 415."""

    code = "unsupported_media_type"


class MissingField(errors.InvalidInput):
    """A body without a field that it needs."""


# The first that fits holds.
STATUSES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (errors.Unprocessable, 422),
    (errors.InvalidInput, 400),
    (errors.Unauthenticated, 401),
    (errors.PaymentRequired, 402),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (MethodNotAllowed, 405),
    (errors.Conflict, 409),
    (errors.TooLarge, 413),
    (UnsupportedMedia, 415),
    (errors.LimitReached, 429),
    (errors.StorageFull, 507),
    (errors.Unavailable, 503),
)
DOCUMENTED: Final = {
    "400": "The request breaks a rule; `code` and `field` say which.",
    "401": "No API key, or one that is not good.",
    "402": "An allowance or a spend cap is used up.",
    "403": "The key may not do this.",
    "404": "There is none, or it is another organization's.",
    "409": "It contradicts what is there.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "Well-formed, but it cannot be done with these values.",
    "429": "Too much for now; Retry-After says when (seconds).",
    "503": "Temporary trouble on our side; try again.",
    "507": "The server's disk is full; nothing was accepted.",
}


def as_posthouse(error: Exception) -> errors.PosthouseError:
    """Our own trouble becomes a temporary failure that gives nothing away; the log has the rest."""
    if isinstance(error, errors.PosthouseError) and status_of(error) != 500:
        return error
    log.error("request failed", exc_info=error)
    return errors.PosthouseError("Something went wrong on our side; it has been logged.", code="internal_error")


def status_of(error: Exception) -> int:
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def headers_of(error: errors.PosthouseError) -> dict[str, str]:
    """What HTTP wants beside the status (RFC 9110 §10.2.3, §11.6.1, §15.5.6)."""
    if isinstance(error, errors.LimitReached):
        return {"Retry-After": str(max(1, error.retry_after))}
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="posthouse"'}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, errors.Unavailable):
        return {"Retry-After": "5"}
    return {}
