"""Tokens in links: a payload behind its keyed hash, in URL-safe letters. Nobody without the key can make one up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

_HASH_BYTES: Final = 16


def seal(payload: bytes, key: bytes, kind: bytes) -> str:
    """The same payload gives the same token. `key` has 16 to 64 octets; `kind` (at most 16) keeps tokens of one use from
    passing for those of another made with the same key."""
    return _letters(_hash(payload, key, kind) + payload)


def unseal(token: str, key: bytes, kind: bytes) -> bytes | None:
    """The payload; None where the token is not ours."""
    if not token.isascii():
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mark, payload = raw[:_HASH_BYTES], raw[_HASH_BYTES:]
    good = hmac.compare_digest(mark, _hash(payload, key, kind))
    return payload if good and _letters(raw) == token else None


def _letters(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _hash(payload: bytes, key: bytes, kind: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_HASH_BYTES, key=key, person=kind).digest()
