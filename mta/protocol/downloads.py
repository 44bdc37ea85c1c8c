"""Links to files: one part of one message, or the whole of it, for whoever holds the link until it expires.

Made when an app asks for a file's address, read when the link is followed. The token says everything; nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mta.protocol.token import seal, unseal

KEY: Final = "download"  # label of the key that is derived for these tokens
MAX_TOKEN: Final = 1024  # characters; a longer text is not looked at

_KIND: Final = b"posthouse-files"
_SEPARATOR: Final = "\n"


@dataclass(frozen=True, slots=True)
class FileLink:
    """What a token says. `part` is the attachment's id, "" for the whole message; `until` is in epoch milliseconds."""

    organization_id: str
    test: bool
    message_id: str
    part: str
    until: int


def encode(link: FileLink, key: bytes) -> str:
    """URL-safe letters; `key` has 16 to 64 octets."""
    parts = (link.organization_id, "1" if link.test else "", link.message_id, link.part, str(link.until))
    return seal(_SEPARATOR.join(parts).encode(), key, _KIND)


def decode(token: str, key: bytes) -> FileLink | None:
    """None where the token is not ours. Whether it has expired is for the caller to see."""
    payload = unseal(token, key, _KIND) if len(token) <= MAX_TOKEN else None
    if payload is None:
        return None
    organization_id, test, message_id, part, until = payload.decode().split(_SEPARATOR)
    return FileLink(organization_id, test == "1", message_id, part, int(until))
