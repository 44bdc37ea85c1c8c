"""Links out of a stream: who leaves which stream of whose mail, in a token that nobody can make up.

Put into List-Unsubscribe when a broadcast is accepted (RFC 2369, RFC 8058), read when the link or its mailto is used.
The token says everything, so that a link works for as long as a mailbox keeps the message.
"""

from __future__ import annotations

from dataclasses import dataclass

from mta.protocol.token import seal, unseal

_KIND = b"posthouse-unsub"
_SEPARATOR = "\n"
KEY = "unsubscribe"  # label of the key that is derived for these tokens
PATH = "/t/unsubscribe"  # of the page, before the token
MAILBOX = "unsubscribe"  # whom to write to, the token in the subject
MAX_TOKEN = 1024  # characters; a longer text is not looked at


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a token says; `email` is an address key, `message_id` the message that carried the link."""

    organization_id: str
    test: bool
    stream: str
    email: str
    message_id: str


def encode(subscription: Subscription, key: bytes) -> str:
    """URL-safe letters, also fit for a mail's subject; `key` has 16 to 64 octets."""
    parts = (
        subscription.organization_id,
        "1" if subscription.test else "",
        subscription.stream,
        subscription.email,
        subscription.message_id,
    )
    return seal(_SEPARATOR.join(parts).encode(), key, _KIND)


def decode(token: str, key: bytes) -> Subscription | None:
    """None where the token is not ours."""
    payload = unseal(token, key, _KIND) if len(token) <= MAX_TOKEN else None
    if payload is None:
        return None
    organization_id, test, stream, email, message_id = payload.decode().split(_SEPARATOR)
    return Subscription(organization_id, test == "1", stream, email, message_id)
