"""A broadcast is one message a recipient, each with its own To and its own way out: nobody sees who else got it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from mta.accept.prepare import Prepared
from mta.accept.submission import Submission
from mta.errors import InvalidInput
from mta.model import Lane, Principal, Recipient
from mta.protocol import unsubscribe
from mta.protocol.headers import field
from mta.protocol.mailboxes import Mailbox
from mta.protocol.mime import Draft
from mta.protocol.unsubscribe import Subscription

_OWN_WAY_OUT: Final = re.compile(rb"^List-Unsubscribe[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WayOut:
    """Where unsubscribe links lead: to our page and, for readers that would rather write, to our mailbox."""

    key: bytes
    public_url: str
    mail_domain: str

    def fields(self, subscription: Subscription) -> bytes:
        """List-Unsubscribe (RFC 2369) and List-Unsubscribe-Post (RFC 8058 §3.1)."""
        token = unsubscribe.encode(subscription, self.key)
        by_mail = f"mailto:{unsubscribe.MAILBOX}@{self.mail_domain}?subject={token}"
        return field("List-Unsubscribe", f"<{self.public_url}{unsubscribe.PATH}/{token}>, <{by_mail}>") + field(
            "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"
        )


def personal(prepared: Prepared, principal: Principal, way_out: WayOut) -> Prepared:
    """Behind other mail, and with a way out of its own, unless the app put one there.

    Raises InvalidInput (`broadcast_recipients`) for several recipients: whose link would it be?
    """
    options = prepared.options
    if options.lane is None:
        prepared = replace(prepared, options=replace(options, lane=Lane.BULK))
    if _OWN_WAY_OUT.search(prepared.body.head):
        return prepared
    if len(prepared.recipients) > 1:
        raise InvalidInput(
            f"A broadcast is a message a recipient, for each gets an unsubscribe link; this one has "
            f"{len(prepared.recipients)}. Send one to each, or give the message a List-Unsubscribe of your own.",
            code="broadcast_recipients",
            field="to",
        )
    email = prepared.recipients[0].address.key
    added = way_out.fields(
        Subscription(principal.organization_id, principal.test, options.stream, email, prepared.message_id)
    )
    body = replace(prepared.body, head=added + prepared.body.head)
    return replace(prepared, body=body, size=prepared.size + len(added))


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
