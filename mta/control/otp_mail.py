"""A one-time code as it is asked for, and the mail that brings it. Which codes are good is `mta.control.otp`'s."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

import msgspec

from mta.accept.submission import Submission
from mta.errors import InvalidInput
from mta.model import Lane, Options, Recipient
from mta.protocol.address import Address
from mta.protocol.mailboxes import Mailbox
from mta.protocol.mime import Draft

CODE_LENGTHS: Final = range(4, 11)  # digits
MIN_EXPIRES_S: Final = 30
MAX_METADATA: Final = 4096  # bytes as JSON
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `expires_in` is like "10m"; without `author`, no-reply@ the first verified domain."""

    to: Address
    purpose: str
    author: Mailbox | None = None
    expires_in: str | None = None
    code_length: int = 6
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    subject: str | None = None
    brand_name: str | None = None
    simulation: str | None = None


def check(wanted: Wanted) -> None:
    """Raises InvalidInput."""
    if wanted.code_length not in CODE_LENGTHS:
        raise InvalidInput(
            f"codeLength is {wanted.code_length}; a code has {CODE_LENGTHS[0]} to {CODE_LENGTHS[-1]} digits.",
            field="codeLength",
        )
    for name, text, longest in (
        ("purpose", wanted.purpose, 100),
        ("subject", wanted.subject, 200),
        ("brandName", wanted.brand_name, 100),
    ):
        if text is not None and not (0 < len(text) <= longest and text.isprintable()):
            raise InvalidInput(f"{name} has 1 to {longest} printable characters.", field=name)
    if len(msgspec.json.encode(wanted.metadata)) > MAX_METADATA:
        raise InvalidInput(f"metadata has at most {MAX_METADATA} bytes as JSON.", field="metadata")


def lifetime_ms(text: str, longest_s: int) -> int:
    """How long a code is good that is asked for `expires_in` like "10m". Raises InvalidInput."""
    found = _DURATION.fullmatch(text.strip().lower())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not MIN_EXPIRES_S <= seconds <= longest_s:
        raise InvalidInput(
            f'expiresIn is "{text[:40]}"; write it like "10m" or "90s", from {MIN_EXPIRES_S} s to {longest_s} s.',
            field="expiresIn",
        )
    return seconds * 1000


def submission(wanted: Wanted, author: Mailbox, code: str, expires_at: int, lifetime_ms: int) -> Submission:
    """The mail; `expires_at` is epoch milliseconds. Its fingerprint is the request: each time, the code is another."""
    brand = f"{wanted.brand_name} " if wanted.brand_name else ""
    lifetime = _words(lifetime_ms // 1000)
    intro, rest = (
        f"Your {brand}verification code:",
        f"It is good for {lifetime}. If you did not ask for it, ignore this mail.",
    )
    draft = Draft(
        author=author,
        to=(("", wanted.to),),
        subject=wanted.subject or f"Your {brand}verification code",
        text=f"{intro}\n\n    {code}\n\n{rest}\n",
        html=(
            f"<p>{escape(intro)}</p>"
            f'<p style="font-size: 28px; font-weight: bold; letter-spacing: 4px; font-family: monospace">{code}</p>'
            f"<p>{escape(rest)}</p>"
        ),
        headers=(("Auto-Submitted", "auto-generated"),),  # RFC 3834 §5: nobody's absence is to answer
    )
    asked = (
        *(wanted.to.key, wanted.purpose, wanted.expires_in, wanted.code_length, wanted.subject, wanted.brand_name),
        *(None if wanted.author is None else (wanted.author[0], str(wanted.author[1])), wanted.simulation),
        wanted.metadata,
    )
    options = Options(
        lane=Lane.OTP,
        expires_at=expires_at,
        idempotency_key=wanted.idempotency_key,
        track_opens=False,
        track_clicks=False,
        simulation=wanted.simulation,
        ret="HDRS",  # a bounce does not bring the code back
    )
    return Submission(
        source="api",
        content=draft,
        recipients=(Recipient(wanted.to),),
        options=options,
        fingerprint=hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest(),
    )


def _words(seconds: int) -> str:
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            number = seconds // length
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{seconds} seconds"
