"""A key makes a retry harmless: same key and same request, the first answer again; another request, a conflict.

Looked up and kept in the accept transaction, so that of any number of parallel retries one becomes a message.
"""

from __future__ import annotations

from mta.errors import Conflict, InvalidInput
from mta.store import idempotency
from mta.store.sqlite import Tx


def check_key(key: str, longest: int) -> None:
    """Raises InvalidInput for a key that is empty, too long (characters) or not printable."""
    if not key or len(key) > longest or not key.isprintable():
        raise InvalidInput(
            f"An idempotency key has 1 to {longest} printable characters; this one has {len(key)}.",
            code="invalid_idempotency_key",
            field="idempotencyKey",
        )


def earlier(tx: Tx, organization_id: str, test: bool, key: str, fingerprint: str, after: int) -> str | None:
    """The id of the message that this request made already, or None.

    `after` is the time (epoch ms) before which a key is forgotten. Raises Conflict where the key stood for another request.
    """
    found = idempotency.find(tx, organization_id, test, key, after)
    if found is None:
        return None
    if found[0] != fingerprint:
        raise Conflict(
            "This idempotency key was used for a different request. Use a new key for a new message, and the same key "
            "only to repeat the same request.",
            code="idempotency_conflict",
            details={"message_id": found[1]},
        )
    return found[1]
