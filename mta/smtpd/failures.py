"""What a client is told when a handler raises: one table for the whole wire.

A permanent reply makes the client give a message up, so it is only for what the client did. Our own trouble is 4xx.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from mta.errors import (
    Forbidden,
    InvalidInput,
    LimitReached,
    NotFound,
    PaymentRequired,
    PosthouseError,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from mta.protocol.reply import Reply

MAX_TEXT = 480  # characters: a reply line has at most 512 octets (RFC 5321 §4.5.3.1.5)
_TABLE: tuple[tuple[type[PosthouseError], int, str], ...] = (  # the first that fits
    (StorageFull, 452, "4.3.1"),
    (Unavailable, 451, "4.3.0"),
    (TooLarge, 552, "5.3.4"),
    (LimitReached, 451, "4.7.1"),
    (PaymentRequired, 452, "4.7.1"),
    (Unauthenticated, 535, "5.7.8"),
    (Forbidden, 550, "5.7.1"),
    (InvalidInput, 550, "5.6.0"),
    (NotFound, 550, "5.1.1"),
    (PosthouseError, 554, "5.6.0"),
)
# The same error means something else of an address than of a message.
_EXCEPTIONS: Mapping[tuple[type[PosthouseError], str], tuple[int, str]] = {
    (InvalidInput, "MAIL"): (553, "5.1.7"),
    (InvalidInput, "RCPT"): (553, "5.1.3"),
    (LimitReached, "RCPT"): (452, "4.7.1"),
    # 535 is the answer to AUTH: who was authenticated, and is not any more, is told to authenticate (RFC 4954 §6).
    **{(Unauthenticated, command): (530, "5.7.0") for command in ("MAIL", "RCPT", "BEGIN", "MESSAGE")},
}
OUR_TROUBLE = Reply(451, "Something went wrong here; try again later", "4.3.0")
FULL = Reply(452, "There is no room for this message now; try again later", "4.3.1")


def reply_for(error: BaseException, command: str) -> Reply:
    """The reply to `command` (MAIL, RCPT, BEGIN, LOGIN, MESSAGE) whose handler raised `error`."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FULL
    for kind, code, enhanced in _TABLE:
        if isinstance(error, kind):
            code, enhanced = _EXCEPTIONS.get((kind, command), (code, enhanced))
            assert isinstance(error, PosthouseError)
            return Reply(code, _one_line(error.message), enhanced)
    return OUR_TROUBLE


def _one_line(text: str) -> str:
    """No CR or LF that would make another reply of it; ASCII, for not every client has asked for UTF-8."""
    clean = " ".join(text.split()).encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in clean)[:MAX_TEXT]
