"""A broadcast is one message a recipient, each with its own To: nobody sees who else got it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from mta.accept.submission import Submission
from mta.model import Recipient
from mta.protocol.mailboxes import Mailbox
from mta.protocol.mime import Draft


def apart(submission: Submission) -> Iterator[Submission]:
    """One submission for each recipient of a draft. Raises TypeError for a raw message: its To is its author's.

    An idempotency key becomes one for each recipient, so that a broadcast that broke off can be sent again as a whole.
    """
    draft = submission.content
    if not isinstance(draft, Draft):
        raise TypeError("Only a draft can be taken apart.")
    names = {address.key: display for display, address in (*draft.to, *draft.cc)}
    for recipient in {one.address.key: one for one in submission.recipients}.values():
        shown: Mailbox = (names.get(recipient.address.key, ""), recipient.address)
        yield replace(
            submission,
            content=replace(draft, to=(shown,), cc=()),
            recipients=(recipient,),
            options=replace(submission.options, idempotency_key=_key(submission.options.idempotency_key, recipient)),
        )


def _key(key: str | None, recipient: Recipient) -> str | None:
    if key is None:
        return None
    return hashlib.sha256(f"{key}\n{recipient.address.key}".encode()).hexdigest()
