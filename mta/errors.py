"""The one error tree: every error says what is wrong and what to do, and carries a stable code for machines.

Surfaces translate these into their own shapes (an SMTP reply, an HTTP error body); nothing else is caught at their edge
but `Exception`, which is our own trouble and becomes a temporary failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PosthouseError(Exception):
    """Something a caller did, or a state the system is in, that the caller should hear about.

    `code` is stable and for machines, `message` is a sentence for a person, `field` names the input that is wrong
    (dotted path) and `details` holds values a client may want to show.
    """

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.field = field
        self.details = dict(details or {})


class InvalidInput(PosthouseError):
    """The input breaks a rule: permanent for SMTP (5xx), 400 for HTTP."""

    code = "validation_error"


class Unprocessable(InvalidInput):
    """Well-formed, but cannot be done with these values: 422 for HTTP."""

    code = "unprocessable"


class Unauthenticated(PosthouseError):
    """No key, or one we do not know: 535 for SMTP, 401 for HTTP."""

    code = "unauthorized"


class Forbidden(PosthouseError):
    """Known, but may not do this: 550 5.7.1 for SMTP, 403 for HTTP."""

    code = "forbidden"


class NotFound(PosthouseError):
    """There is none, or it is another organization's: 404 for HTTP."""

    code = "not_found"


class Conflict(PosthouseError):
    """It contradicts what is there already: 409 for HTTP."""

    code = "conflict"


class PaymentRequired(PosthouseError):
    """An allowance or a spend cap is used up: 402 for HTTP, 452 for SMTP."""

    code = "payment_required"


class LimitReached(PosthouseError):
    """Too much for now: 451/452 for SMTP, 429 for HTTP with Retry-After in seconds."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: int, **more: Any) -> None:
        super().__init__(message, **more)
        self.retry_after = retry_after


class TooLarge(PosthouseError):
    """Larger than the message size limit: 552 for SMTP, 413 for HTTP."""

    code = "too_large"


class Unavailable(PosthouseError):
    """Our own trouble (database, shutdown): always temporary, 451 for SMTP, 503 for HTTP."""

    code = "unavailable"


class StorageFull(Unavailable):
    """No room to make a message durable: 452 4.3.1 for SMTP, 507 for HTTP."""

    code = "insufficient_storage"


class ConfigError(PosthouseError):
    """The configuration cannot be used; the message names file, line and key."""

    code = "config_error"
