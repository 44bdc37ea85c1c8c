"""The one door inward: a message whose recipients were all found is read, authenticated, and what it does is durable
when `receive` returns: a report has settled its delivery, a message is stored.

`smtpd.inbound` and the ingestion API call this; nothing is ever sent in answer from here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from config.settings import Settings
from mta import ids
from mta.errors import InvalidInput
from mta.inbound import content, returns
from mta.inbound.authenticate import Results, Verifier
from mta.inbound.content import Content
from mta.inbound.recipients import Names, Target, find, is_ours
from mta.inbound.returns import StillSending
from mta.model import Body, DeliveryStatus, InboundMessage, Source
from mta.policy import suppression
from mta.protocol import unsubscribe
from mta.protocol.address import Address, AddressError, parse_address
from mta.protocol.bounce import Reading, read_message
from mta.protocol.dkim import BodyDigest
from mta.protocol.headers import HeaderError, parse, split_head
from mta.protocol.headers import field as write_field
from mta.protocol.hygiene import rfc5322_date
from mta.protocol.unsubscribe import Subscription
from mta.protocol.verdict import Rules
from mta.store import bodies, events, inbound
from mta.store.database import Database
from mta.store.sqlite import Tx

log = structlog.get_logger("inbound")

AT_ONCE: Final = 4  # messages that are read at a time: each may hold its size in memory several times
SETTLE_WAIT_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # a bounce may overtake the reply to our own dot
_RECEIVED: Final = re.compile(rb"(?im)^received[ \t]*:")
_RESULTS: Final = rb"(?im)^authentication-results[ \t]*:[ \t\r\n]*%s\b[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*"
_NO_ATOM: Final = re.compile(r"[^A-Za-z0-9._:\[\]-]")


@dataclass(frozen=True, slots=True)
class Arrival:
    """The envelope, and who brought it. `protocol` is the keyword of RFC 3848 for our Received field."""

    sender: Address | None
    recipients: Sequence[tuple[Address, Target]]
    ip: str
    helo: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Received:
    """What a message did: `stored` are inbound messages' ids, `settled` statuses of deliveries by their ids."""

    stored: tuple[str, ...] = ()
    settled: tuple[tuple[str, DeliveryStatus], ...] = ()
    unsubscribed: Subscription | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A message fit to be stored."""

    id: str
    head: bytes
    data: bytes
    content: Content
    results: Results


class Inbound:
    def __init__(
        self,
        database: Database,
        settings: Settings,
        rules: Rules,
        names: Names,
        verifier: Verifier,
        unsubscribe_key: bytes,
        *,
        clock: Callable[[], int] = ids.now_ms,
    ) -> None:
        self._database = database
        self._settings = settings
        self._rules = rules
        self._names = names
        self._verifier = verifier
        self._unsubscribe_key = unsubscribe_key
        self._clock = clock
        self._free = asyncio.Semaphore(AT_ONCE)

    async def find(self, address: Address) -> Target | None:
        """Where mail for this address goes; None: nowhere here."""
        return await self._database.read(find, address, self._names, self._clock())

    async def is_ours(self, domain: str) -> bool:
        """Whether this server receives anything for the domain."""
        return await self._database.read(is_ours, domain, self._names)

    async def receive(self, arrival: Arrival, source: Source) -> Received:
        """Raises InvalidInput (`mail_loop`, or a header that cannot be read), StillSending, Unavailable."""
        async with self._free:
            data = await asyncio.to_thread(lambda: b"".join(source.chunks()))
            head, offset = _split(data, self._settings.limits.header_bytes)
            self._check_hops(head)
            reading = await asyncio.to_thread(lambda: read_message(_return_path(arrival) + data, self._rules))
            left = self._left(head) if any(target.kind == "unsubscribe" for _, target in arrival.recipients) else None
            kept: _Kept | None = None
            if any(target.kind == "mailbox" for _, target in arrival.recipients):
                kept = await self._prepare(arrival, data, head, offset)
            for wait in (*SETTLE_WAIT_S, None):
                try:
                    return await self._database.write(self._enter, arrival, reading, kept, left, self._clock())
                except StillSending:
                    if wait is None:
                        raise
                    await asyncio.sleep(wait)
            raise AssertionError("the last round returns or raises")

    def _check_hops(self, head: bytes) -> None:
        hops, most = len(_RECEIVED.findall(head)), self._settings.limits.hops
        if hops > most:
            raise InvalidInput(
                f"The message has {hops} Received fields, more than {most}: it is going in circles.", code="mail_loop"
            )

    def _left(self, head: bytes) -> Subscription | None:
        """Who unsubscribes by this message. A subject without a token of ours is taken and does nothing: the person who
        wrote it would get a bounce for wanting to leave, and a forger a way to try tokens."""
        try:
            subject = parse(head).get("subject")
        except HeaderError:
            subject = None
        token = "".join(subject.text.split()) if subject else ""  # a long one comes folded
        found = unsubscribe.decode(token, self._unsubscribe_key)
        if found is None:
            log.info("mail to unsubscribe has no token of ours", subject=token[:100])
        return found

    async def _prepare(self, arrival: Arrival, data: bytes, head: bytes, offset: int) -> _Kept:
        read = await asyncio.to_thread(content.read, data)
        results = await self._verifier.verify(data, read.author_domain, arrival.ip, arrival.helo, arrival.sender)
        id = ids.new("inm", self._clock())
        return _Kept(id, self._trace(arrival, head, id, results), data[offset:], read, results)

    def _trace(self, arrival: Arrival, head: bytes, id: str, results: Results) -> bytes:
        """The header block with our own fields on top (RFC 5321 §4.4), and no results that only claim to be ours."""
        hostname = self._settings.hostname
        head = re.sub(_RESULTS % re.escape(hostname.encode()), b"", head)
        client = f"from {_NO_ATOM.sub('', arrival.helo)[:255] or 'unknown'} ([{_NO_ATOM.sub('', arrival.ip)}])"
        received = f"{client} by {hostname} (Posthouse) with {arrival.protocol} id {id}; {rfc5322_date(self._clock())}"
        fields = (
            _return_path(arrival),
            write_field("Received", received),
            write_field("Authentication-Results", results.value),
        )
        return b"".join(fields) + head

    def _enter(
        self, tx: Tx, arrival: Arrival, reading: Reading, kept: _Kept | None, left: Subscription | None, now: int
    ) -> Received:
        """In the store's writer: all that the message does, or nothing."""
        returned = {target for _, target in arrival.recipients if target.kind == "return"}
        if reading.complaint is not None and (about := self._complained(tx, reading.complaint.mail_from, now)):
            returned.add(about)
        settled = []
        for target in sorted(returned, key=lambda target: (target.delivery_id, target.shared)):
            apply = returns.apply_shared if target.shared else returns.apply
            settled += apply(tx, target.delivery_id, reading, now, self._settings.suppression)
        if left is not None:
            suppression.unsubscribe(tx, left, now)
        return Received(_store(tx, arrival, kept, now) if kept is not None else (), tuple(settled), left)

    def _complained(self, tx: Tx, mail_from: str, now: int) -> Target | None:
        """What a complaint returns: its return path stands in the report (RFC 5965 §3.2)."""
        try:
            found = find(tx, parse_address(mail_from), self._names, now)
        except AddressError:
            return None
        return found if found is not None and found.kind == "return" else None


def _return_path(arrival: Arrival) -> bytes:
    """The field that final delivery puts on top (RFC 5321 §4.4); a bounce is known by `<>`, too."""
    return write_field("Return-Path", f"<{arrival.sender or ''}>")


def _split(data: bytes, most: int) -> tuple[bytes, int]:
    """The header block, which ends with CRLF, and where the body begins."""
    try:
        head, offset = split_head(data)
    except HeaderError as error:
        raise InvalidInput(str(error), code="invalid_message") from error
    if len(head) > most:
        raise InvalidInput(f"The header has {len(head)} bytes; this server takes {most}.", code="invalid_message")
    return head if not head or head.endswith(b"\r\n") else head + b"\r\n", offset


def _store(tx: Tx, arrival: Arrival, kept: _Kept, now: int) -> tuple[str, ...]:
    """One body, and a message for each domain that it came for."""
    digest = BodyDigest()
    digest.update(kept.data)
    body = Body(
        ids.new("bdy", now), kept.head, len(kept.data), digest.digest(), digest.eight_bit, digest.longest_line, None
    )
    pieces = (kept.data[start : start + bodies.CHUNK] for start in range(0, len(kept.data), bodies.CHUNK))
    bodies.add(tx, body, pieces, now)
    boxes: dict[tuple[str, str], list[str]] = {}
    for address, target in arrival.recipients:
        if target.kind == "mailbox":
            boxes.setdefault((target.organization_id, target.domain), []).append(str(address))
    stored: list[str] = []
    for organization_id, domain in boxes:
        id = ids.new("inm", now) if stored else kept.id
        recipients = tuple(boxes[organization_id, domain])
        _add(tx, arrival, kept, body, id, organization_id, domain, recipients, now)
        stored.append(id)
    return tuple(stored)


def _add(
    tx: Tx,
    arrival: Arrival,
    kept: _Kept,
    body: Body,
    id: str,
    organization_id: str,
    domain: str,
    recipients: tuple[str, ...],
    now: int,
) -> None:
    read = kept.content
    made = InboundMessage(
        id=id,
        organization_id=organization_id,
        domain=domain,
        body_id=body.id,
        reverse_path=str(arrival.sender or ""),
        recipients=recipients,
        from_address=read.author,
        subject=read.subject,
        header_message_id=read.message_id,
        text=read.text,
        html=read.html,
        headers=read.headers,
        attachments=read.attachments,
        authentication=kept.results.as_json(),
        size=len(kept.head) + 2 + len(kept.data),
        created_at=now,
    )
    inbound.add(tx, made)
    events.count(tx, organization_id, False, "received", now)
    events.add(
        tx,
        organization_id,
        "inbound.received",
        "inbound_message",
        id,
        data={"domain": domain, "from": read.author, "to": list(recipients), "subject": read.subject[:500]},
        at=now,
    )
