"""What comes in: smtplib against a real inbound listener, with a real store; whose mail is it, and what does it settle?"""

import asyncio
import smtplib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar

import pytest

from config.rules import load_rules
from config.settings import Settings
from mta import ids
from mta.inbound.authenticate import Verifier
from mta.inbound.receive import Inbound
from mta.inbound.recipients import DAY_MS, Names
from mta.lifecycle.settle import Settlement, settle
from mta.model import DeliveryStatus, InboundDomain, InboundMessage, Queued
from mta.net.dns import Resolver
from mta.outbound.notices import Notices
from mta.protocol import unsubscribe, verp
from mta.protocol.smtp_events import ServerOptions
from mta.protocol.unsubscribe import Subscription
from mta.smtpd.inbound import InboundHandler
from mta.smtpd.listener import Listener
from mta.store import bounces, deliveries, events, inbound, suppressions
from mta.store.sqlite import Tx
from tests.fakes.dns import FakeDns
from tests.flow.house import WAY_OUT, House, house, smtp, to

__all__ = ["house"]  # the fixture
T = TypeVar("T")
KEY = b"v" * 32
HOST = "mx.example.net"
MAIL = b"From: Ann <ann@example.org>\r\nTo: help@in.example.com\r\nSubject: Question\r\n\r\nWhere is my order?\r\n"


class World:
    """An inbound port of the house."""

    def __init__(self, house: House, listener: Listener) -> None:
        self.house, self.listener = house, listener

    async def talk(self, dialogue: Callable[[smtplib.SMTP], T]) -> T:
        def run() -> T:
            with smtplib.SMTP("127.0.0.1", self.listener.port, timeout=20) as client:
                client.ehlo("mx.example.org")
                return dialogue(client)

        return await asyncio.to_thread(run)

    async def send(self, data: bytes, *to: str, sender: str = "") -> tuple[int, bytes]:
        """The answer to the first RCPT that is refused, else to the dot."""

        def dialogue(client: smtplib.SMTP) -> tuple[int, bytes]:
            client.mail(sender)
            for one in to:
                answer = client.rcpt(one)
                if answer[0] >= 400:
                    return answer
            return client.data(data)

        return await self.talk(dialogue)

    async def delivered(self, address: str = "bob@example.org", **more: object) -> Queued:
        """A message of ours that a peer took."""
        await self.house.accept.submit(self.house.owner, smtp(recipients=to(address), **more))
        queued = self.house.offered[-1]
        await self.settle(queued, DeliveryStatus.SENDING)
        await self.settle(queued, DeliveryStatus.DELIVERED, code=250, reply="Ok")
        return queued

    async def settle(self, queued: Queued, status: DeliveryStatus, **more: object) -> None:
        if status is DeliveryStatus.SENDING:
            await self.house.database.write(
                lambda tx: tx.one(deliveries.BEGIN, id=queued.delivery_id, now=ids.now_ms())
            )
        else:
            made = Settlement(queued, status, ids.now_ms(), **more)  # type: ignore[arg-type]
            await self.house.database.write(settle, made)

    async def status(self, queued: Queued) -> str:
        found = await self.house.database.read(deliveries.by_id, queued.delivery_id)
        assert found
        return found.status.value

    async def stored(self) -> list[InboundMessage]:
        return await self.house.database.read(inbound.page, self.house.organization.id, 50, "~", 10_000)

    async def timeline(self, queued: Queued) -> list[str]:
        return [event.type for event in await self.house.database.read(events.by_message, queued.message_id)]


@pytest.fixture
async def world(house: House, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeDns({}) as dns:
        settings = Settings(hostname=HOST, bounce_domain=HOST)
        resolver = Resolver([dns.server], timeout=2)
        names = Names(frozenset({HOST}), (KEY,))
        door = Inbound(house.database, settings, load_rules(), names, Verifier(resolver, HOST), WAY_OUT.key)
        options = ServerOptions(HOST, auth=False, dsn=False, postmaster=True)
        listener = Listener(
            InboundHandler(door, house.database), options, host="127.0.0.1", port=0, spool_directory=tmp_path
        )
        await listener.start()
        made = InboundDomain(ids.new("ind"), house.organization.id, "in.example.com", "pending", (), 1)
        await house.database.write(inbound.add_domain, made)
        # who gets the mail of our own names
        await house.database.write(lambda tx: tx.run("UPDATE organizations SET name = 'default'"))
        yield World(house, listener)
        await listener.close(1)


def return_path(queued: Queued, host: str = HOST, age_days: int = 0, key: bytes = KEY) -> str:
    return f"{verp.encode(queued.delivery_id, key, ids.now_ms() // DAY_MS - age_days)}@{host}"


def dsn(address: str, action: str = "failed", status: str = "5.1.1", said: str = "550 5.1.1 no such user") -> bytes:
    return (
        "From: MAILER-DAEMON@mx.example.org\r\nTo: x@y\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        "MIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nI could not deliver your message.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n"
        f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; {said}\r\n\r\n--b--\r\n"
    ).encode()


async def test_a_later_bounce_settles_the_delivered_recipient(world: World) -> None:
    queued = await world.delivered()
    assert (await world.send(dsn("bob@example.org"), return_path(queued)))[0] == 250
    assert await world.status(queued) == "bounced"
    (bounce,) = await world.house.database.read(bounces.by_message, queued.message_id)
    assert (bounce.type, bounce.source, bounce.status, bounce.code) == ("hard", "dsn", "5.1.1", 550)
    (found,) = await world.house.database.read(
        suppressions.of_email, world.house.organization.id, False, "bob@example.org"
    )
    assert (found.reason, found.source) == ("hard_bounce", "bounce_processor")
    assert (await world.house.message(queued.message_id)).status == "bounced"
    assert {"message.bounced", "suppression.created"} <= set(await world.timeline(queued))


async def test_only_the_tokens_delivery_is_settled_whatever_the_report_names(world: World) -> None:
    other = await world.delivered("victim@example.org")
    mine = await world.delivered("bob@example.org")
    assert (await world.send(dsn("victim@example.org"), return_path(mine)))[0] == 250
    assert await world.status(other) == "delivered"
    assert await world.status(mine) == "bounced"
    assert not await world.house.database.read(
        suppressions.of_email, world.house.organization.id, False, "victim@example.org"
    )


async def batch(world: World) -> dict[str, Queued]:
    """A message whose recipients at example.org went out in one transaction."""
    names = ("ann@example.org", "bob@example.org", "cat@example.org", "dan@example.net")
    await world.house.accept.submit(world.house.owner, smtp(recipients=to(*names)))
    made = {str(queued.recipient): queued for queued in world.house.offered[-4:]}
    for queued in made.values():
        await world.settle(queued, DeliveryStatus.SENDING)
        await world.settle(queued, DeliveryStatus.DELIVERED, code=250, reply="Ok")
    return made


def shared_path(made: dict[str, Queued]) -> str:
    token = verp.encode(made["ann@example.org"].delivery_id, KEY, ids.now_ms() // DAY_MS, shared=True)
    return f"{token}@{HOST}"


@pytest.mark.parametrize(
    "fields",
    [
        "Final-Recipient: rfc822; BOB@example.org",
        "Original-Recipient: rfc822; bob@example.org\r\nFinal-Recipient: rfc822; robert@elsewhere.example",
        "Original-Recipient: rfc822; his.alias@example.com\r\nFinal-Recipient: rfc822; bob@example.org",
    ],
)
async def test_a_report_to_a_shared_path_settles_whom_it_names(world: World, fields: str) -> None:
    made = await batch(world)
    report = dsn("bob@example.org").replace(b"Final-Recipient: rfc822; bob@example.org", fields.encode())
    assert (await world.send(report, shared_path(made)))[0] == 250
    assert [await world.status(queued) for queued in made.values()] == [
        "delivered", "bounced", "delivered", "delivered",
    ]  # fmt: skip
    (bounce,) = await world.house.database.read(bounces.by_message, made["bob@example.org"].message_id)
    assert (bounce.email, bounce.type) == ("bob@example.org", "hard")


async def test_a_report_to_a_shared_path_may_name_several(world: World) -> None:
    made = await batch(world)
    report = dsn("ann@example.org").replace(
        b"\r\n\r\n--b--",
        b"\r\n\r\nFinal-Recipient: rfc822; cat@example.org\r\nAction: failed\r\nStatus: 5.2.2\r\n"
        b"Diagnostic-Code: smtp; 552 5.2.2 mailbox full\r\n\r\n"
        b"Final-Recipient: rfc822; bob@example.org\r\nAction: delayed\r\nStatus: 4.4.1\r\n\r\n--b--",
    )
    await world.send(report, shared_path(made))
    assert [await world.status(queued) for queued in made.values()] == ["bounced", "delivered", "bounced", "delivered"]
    found = await world.house.database.read(bounces.by_message, made["ann@example.org"].message_id)
    assert {each.email: each.status for each in found} == {"ann@example.org": "5.1.1", "cat@example.org": "5.2.2"}


@pytest.mark.parametrize("named", ["dan@example.net", "eve@example.org", "nobody"])
async def test_a_report_to_a_shared_path_settles_nobody_else(world: World, named: str) -> None:
    """Of the same message, but another domain; of nobody's; of no address at all."""
    made = await batch(world)
    await world.send(dsn(named), shared_path(made))
    assert {await world.status(queued) for queued in made.values()} == {"delivered"}
    told = await world.house.database.read(events.by_message, made["ann@example.org"].message_id)
    (reported,) = [event for event in told if event.type == "delivery.reported"]
    assert reported.recipient is None and "delivery_id" not in reported.data


@pytest.mark.parametrize("forge", ["other key", "too old", "no delivery", "other name", "name alike"])
async def test_a_forged_return_path_is_refused_and_settles_nothing(world: World, forge: str) -> None:
    queued = await world.delivered()
    path = {
        "other key": return_path(queued, key=b"w" * 32),
        "too old": return_path(queued, age_days=31),
        "no delivery": return_path(replace(queued, delivery_id=ids.new("dlv"))),
        "other name": return_path(queued, host="bounce.example.org"),
        "name alike": return_path(queued, host="bounce-example.com"),
    }[forge]
    code, text = await world.send(dsn("bob@example.org"), path)
    assert code == 550 and text[:5] in (b"5.1.1", b"5.7.1")
    assert await world.status(queued) == "delivered"


@pytest.mark.parametrize(("sender", "status"), [("", "bounced"), ("robot@example.org", "delivered")])
async def test_whose_program_a_bounce_comes_from_shows_in_its_null_sender(
    world: World, sender: str, status: str
) -> None:
    queued = await world.delivered()
    plain = b"From: robot@example.org\r\nSubject: Delivery failed\r\n\r\n<bob@example.org>: 550 5.1.1 no such user\r\n"
    assert (await world.send(plain, return_path(queued), sender=sender))[0] == 250
    assert await world.status(queued) == status


@pytest.mark.parametrize("label", ["bounce", "before.moved"])
async def test_the_return_path_of_the_senders_own_domain_is_ours_where_it_was_too(world: World, label: str) -> None:
    queued = await world.delivered()
    assert (await world.send(dsn("bob@example.org"), return_path(queued, f"{label}.example.com")))[0] == 250
    assert await world.status(queued) == "bounced"


@pytest.mark.parametrize(
    "report",
    [
        dsn("bob@example.org", "delayed", "4.4.1", "451 later"),
        dsn("bob@example.org", "relayed", "2.0.0", "250 ok"),
        b"From: bob@example.org\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n",
        b"From: bob@example.org\r\nSubject: Re: Hi\r\n\r\nThank you!\r\n",
    ],
    ids=["delayed", "relayed", "away", "answer"],
)
async def test_what_is_no_failure_settles_nothing_and_shows_in_the_timeline(world: World, report: bytes) -> None:
    queued = await world.delivered()
    assert (await world.send(report, return_path(queued)))[0] == 250
    assert await world.status(queued) == "delivered"
    assert "delivery.reported" in await world.timeline(queued)


async def test_failed_is_final_even_with_a_temporary_status(world: World) -> None:
    queued = await world.delivered()
    await world.send(dsn("bob@example.org", status="4.2.2", said="452 4.2.2 mailbox full"), return_path(queued))
    assert await world.status(queued) == "bounced"
    (bounce,) = await world.house.database.read(bounces.by_message, queued.message_id)
    assert bounce.type == "soft"
    assert not await world.house.count("suppressions")


@pytest.mark.parametrize(("kind", "status"), [("abuse", "complained"), ("auth-failure", "delivered")])
async def test_a_complaint_suppresses_unless_no_person_complained(world: World, kind: str, status: str) -> None:
    queued = await world.delivered()
    report = (
        'From: fbl@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nUser-Agent: fbl/1\r\nVersion: 1\r\nOriginal-Mail-From: <{return_path(queued)}>\r\n\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@example.com\r\nSubject: Hi\r\n\r\nHi\r\n--b--\r\n"
    ).encode()
    assert (await world.send(report, f"abuse@{HOST}", sender="fbl@example.org"))[0] == 250
    assert await world.status(queued) == status
    found = await world.house.database.read(
        suppressions.of_email, world.house.organization.id, False, "bob@example.org"
    )
    assert [one.reason for one in found] == (["complaint"] if status == "complained" else [])


async def test_a_bounce_that_overtakes_our_own_settlement_waits_for_it(world: World) -> None:
    await world.house.accept.submit(world.house.owner, smtp(recipients=to("bob@example.org")))
    queued = world.house.offered[-1]
    await world.settle(queued, DeliveryStatus.SENDING)
    report = asyncio.create_task(world.send(dsn("bob@example.org"), return_path(queued)))
    await world.talk(lambda client: client.noop())
    await world.settle(queued, DeliveryStatus.DELIVERED, code=250, reply="Ok")
    assert (await report)[0] == 250
    assert await world.status(queued) == "bounced"


async def test_soft_bounces_on_five_days_suppress_unless_something_arrived_between(world: World) -> None:
    async def bounce(day: int) -> None:
        await world.house.accept.submit(world.house.owner, smtp(recipients=to("full@example.org")))
        queued = world.house.offered[-1]
        at = ids.now_ms() - day * DAY_MS
        made = Settlement(queued, DeliveryStatus.BOUNCED, at, code=552, reply="full", bounce_type="soft")
        await world.house.database.write(settle, made)

    world.house.now = ids.now_ms()
    for day in (5, 4, 3, 3, 2):
        await bounce(day)
    assert not await world.house.count("suppressions")
    await bounce(0)
    (found,) = await world.house.database.read(
        suppressions.of_email, world.house.organization.id, False, "full@example.org"
    )
    assert found.reason == "repeated_soft_bounce"

    await world.house.database.write(suppressions.delete, found, ids.now_ms())
    await world.delivered("full@example.org")
    await bounce(0)
    assert not await world.house.count("suppressions")


async def test_mail_for_an_inbound_domain_is_stored_with_its_parts(world: World) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Änn <ann@example.org>", "help@in.example.com", "Frage – 1"
    mail["Message-ID"] = "<1@example.org>"
    mail.set_content("Where is my order?\n")
    mail.add_alternative("<p>Where is my <b>order</b>?</p>", subtype="html")
    mail.add_attachment(b"%PDF" + bytes(1000), maintype="application", subtype="pdf", filename="Rechnung ü.pdf")
    data = mail.as_bytes().replace(b"\n", b"\r\n")
    assert (await world.send(data, "Help@in.example.com", sender="ann@example.org"))[0] == 250
    (found,) = await world.stored()
    assert (found.domain, found.recipients) == ("in.example.com", ("Help@in.example.com",))
    assert (found.from_address, found.subject, found.reverse_path) == (
        "ann@example.org",
        "Frage – 1",
        "ann@example.org",
    )
    assert found.text == "Where is my order?\n" and found.html and "<b>order</b>" in found.html
    (attached,) = found.attachments
    assert (attached.filename, attached.content_type, attached.size) == ("Rechnung ü.pdf", "application/pdf", 1004)
    assert found.authentication["spf"] == "none" and found.authentication["dmarc"] == "none"
    (event,) = [
        event for event in await world.house.database.read(events.newest, 10) if event.type == "inbound.received"
    ]
    assert event.resource_id == found.id and event.data["from"] == "ann@example.org"


async def test_trace_fields_come_on_top_and_forged_results_go(world: World) -> None:
    forged = b"Authentication-Results: mx.example.net;\r\n dmarc=pass header.from=bank.example\r\n" + MAIL
    assert (await world.send(forged, "help@in.example.com", sender="ann@example.org"))[0] == 250
    (found,) = await world.stored()

    def head(tx: Tx) -> bytes:
        row = tx.one("SELECT head FROM bodies WHERE id = :id", id=found.body_id)
        assert row
        return bytes(row[0])

    got = await world.house.database.read(head)
    assert got.startswith(b"Return-Path: <ann@example.org>\r\nReceived: from mx.example.org ([127.0.0.1])")
    assert got.count(b"Authentication-Results:") == 1 and b"bank.example" not in got


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("help@in.example.com", b"250"),
        (f"postmaster@{HOST}", b"250"),
        (f"Abuse@{HOST}", b"250"),
        ("postmaster", b"250"),
        (f"nobody@{HOST}", b"5.1.1"),
        ("someone@example.org", b"5.7.1"),
        ("shop@example.com", b"5.7.1"),
        ("user%example.org@example.com", b"5.7.1"),
    ],
)
async def test_who_may_be_written_to(world: World, address: str, code: bytes) -> None:
    answer = await world.talk(lambda client: (client.mail("ann@example.org"), client.rcpt(f"<{address}>"))[1])
    assert (str(answer[0]).encode() if answer[0] == 250 else answer[1][:5]) == code


async def test_a_loop_ends(world: World) -> None:
    hops = b"".join(b"Received: from a by b; Sat, 21 Nov 2026 09:00:00 +0000\r\n" for _ in range(51))
    code, text = await world.send(hops + MAIL, "help@in.example.com", sender="ann@example.org")
    assert (code, text[:5]) == (554, b"5.4.6")
    assert not await world.stored()


async def test_deep_nesting_is_read_within_bounds(world: World) -> None:
    nest = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (number, number) for number in range(3000)
    )
    assert (await world.send(b"Subject: deep\r\n" + nest, "help@in.example.com"))[0] == 250
    assert [found.subject for found in await world.stored()] == ["deep"]


async def test_nothing_answers_a_null_sender(world: World) -> None:
    """A bounce of our own notification, and a bounce of that: no new message, no notice."""
    queued = await world.delivered()
    for report in (dsn("bob@example.org"), dsn("bob@example.org")):
        await world.send(report, return_path(queued))
    assert await world.house.count("notices") == 0
    assert await world.house.count("messages") == 1
    notices = Notices(world.house.database, world.house.settings, world.house.offered.extend)
    assert await notices.send_due() == 0


def leaving(world: World, email: str, stream: str = "broadcast", key: bytes = WAY_OUT.key) -> str:
    """The token in the mailto of a message's List-Unsubscribe."""
    who = Subscription(world.house.organization.id, False, stream, email, ids.new("msg"))
    return unsubscribe.encode(who, key)


@pytest.mark.parametrize("folded", [False, True])
async def test_mail_to_unsubscribe_leaves_the_stream_of_its_token(world: World, folded: bool) -> None:
    token = leaving(world, "bob@example.org")
    subject = token[:60] + "\r\n " + token[60:] if folded else token
    mail = f"From: Bob <other@example.org>\r\nSubject: {subject}\r\n\r\n".encode()
    for _ in range(2):
        assert (await world.send(mail, f"Unsubscribe@{HOST}", sender="other@example.org"))[0] == 250
    (found,) = await world.house.database.read(
        suppressions.of_email, world.house.organization.id, False, "bob@example.org"
    )
    assert (found.reason, found.stream) == ("unsubscribe", "broadcast")
    told = [event.type for event in await world.house.database.read(events.newest, 10)]
    assert told.count("suppression.created") == 1
    assert not await world.stored()


@pytest.mark.parametrize("subject", ["other key", "unsubscribe", "", "cut short"])
async def test_mail_to_unsubscribe_without_a_token_of_ours_does_nothing(world: World, subject: str) -> None:
    text = {
        "other key": leaving(world, "bob@example.org", key=b"x" * 32),
        "cut short": leaving(world, "bob@example.org")[:-4],
    }.get(subject, subject)
    assert (await world.send(f"Subject: {text}\r\n\r\n".encode(), f"unsubscribe@{HOST}", sender="bob@example.org"))[
        0
    ] == 250
    assert not await world.house.count("suppressions") and not await world.stored()
