"""Keyed return paths: a bounce names its delivery by the address that it comes to, and nobody can make one up.

`b+<token>@bounce.example`: the token is the delivery's number, the day it was made and a keyed hash, in lower-case
base32, so that peers that fold case do no harm. Read in inbound/recipients before the body of a bounce is looked at.
Deliveries that share a transaction share a path too, `m+<token>`, with the number of the first of them: a bounce that
comes to it has to name its recipient.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

VALID_DAYS = 30
PREFIX = "b+"
SHARED_PREFIX = "m+"
_ID_PREFIX = "dlv_"
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_HASH_BYTES = 12
_TOKEN_LETTERS = 48  # 16 bytes of id, 2 of day, 12 of hash: 30 bytes are 48 letters without padding
_PERSONS = {PREFIX: b"posthouse-verp", SHARED_PREFIX: b"posthouse-verp-m"}  # one kind cannot be made the other


def encode(delivery_id: str, key: bytes, day: int, *, shared: bool = False) -> str:
    """The local part for one delivery (50 octets), or for those that share a transaction with it.

    `day` counts from 1970, `key` has 16 to 64 octets.

    Raises ValueError for an id that is none of ours.
    """
    payload = number_of(delivery_id).to_bytes(16, "big") + (day & 0xFFFF).to_bytes(2, "big")
    prefix = SHARED_PREFIX if shared else PREFIX
    token = base64.b32encode(payload + _hash(payload, key, prefix)).decode("ascii")
    return prefix + token.lower()


def decode(local_part: str, keys: Sequence[bytes], today: int) -> str | None:
    """The delivery id, or None where the token is not ours, or older than `VALID_DAYS`. `keys` are tried in order."""
    text = local_part.lower()
    prefix, token = text[: len(PREFIX)], text[len(PREFIX) :]
    if prefix not in _PERSONS or len(token) != _TOKEN_LETTERS or not token.isascii():
        return None
    try:
        raw = base64.b32decode(token.upper())
    except binascii.Error:
        return None
    payload, mark = raw[:18], raw[18:]
    if not any([hmac.compare_digest(mark, _hash(payload, key, prefix)) for key in keys]):
        return None
    age = (today - int.from_bytes(payload[16:], "big")) & 0xFFFF
    if age > VALID_DAYS and age != 0xFFFF:  # made "tomorrow": two hosts' clocks around midnight
        return None
    return delivery_of(int.from_bytes(payload[:16], "big"))


def is_shared(local_part: str) -> bool:
    """Whether a path that `decode` knows is that of several deliveries."""
    return local_part.lower().startswith(SHARED_PREFIX)


def delivery_of(number: int) -> str:
    """The delivery id that `number_of` gave the number of."""
    return _ID_PREFIX + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def number_of(delivery_id: str) -> int:
    """The 128 bits of a delivery's id. Raises ValueError for an id that is none of ours."""
    letters = delivery_id.removeprefix(_ID_PREFIX)
    if not delivery_id.startswith(_ID_PREFIX) or len(letters) != 26:
        raise ValueError(f"{delivery_id!r} is not the id of a delivery.")
    number = 0
    for letter in letters:
        number = number << 5 | _CROCKFORD.index(letter)
    if number >> 128:
        raise ValueError(f"{delivery_id!r} is not the id of a delivery.")
    return number


def _hash(payload: bytes, key: bytes, prefix: str) -> bytes:
    return hashlib.blake2b(payload, digest_size=_HASH_BYTES, key=key, person=_PERSONS[prefix]).digest()
