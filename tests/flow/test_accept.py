"""The one door against a real store: what comes in is judged, completed and durable, once."""

import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.settings import Limits, Settings
from mta.accept.broadcast import apart
from mta.accept.prepare import Prepared, prepare
from mta.accept.submission import InMemory, Raw
from mta.errors import Forbidden, InvalidInput, StorageFull, Unavailable
from mta.model import Lane, MessageStatus, Principal
from mta.protocol.address import Address, parse_address
from mta.protocol.mime import Attachment, Draft
from mta.store import bodies, deliveries, events, organizations
from mta.store.database import Database
from tests.flow.house import DRAFT, SETTINGS, House, api, house, raw, refused, smtp, to

__all__ = ["house"]  # the fixture


# What a message becomes


async def test_a_raw_message_is_stored_completed_and_offered(house: House) -> None:
    submission = smtp("X-Custom: kept", reverse_path=parse_address("bounces@example.com"))
    accepted = await house.accept.submit(house.owner, submission)
    assert (accepted.status, accepted.replayed, accepted.suppressed) == (MessageStatus.QUEUED, False, ())
    message = await house.message(accepted.message_id)
    assert message.status is MessageStatus.QUEUED
    assert (message.sender, message.from_address) == ("Shop <shop@example.com>", "shop@example.com")
    assert (message.to, message.bcc, message.subject) == (("ann@example.org",), (), "Hi")
    assert (message.domain, message.source, message.stream) == ("example.com", "smtp", "transactional")
    head = await house.head(message.id)
    assert head.startswith(f"Received: by mx.example.net (Posthouse) with ESMTPSA id\r\n {message.id};")
    assert "X-Custom: kept\r\n" in head and "\r\nDate: " in head and message.header_message_id in head
    (queued,) = house.offered
    assert queued.message_id == message.id and queued.reverse_path == "bounces@example.com"
    assert queued.body is not None and queued.body.data == b"Hello\r\n"
    assert message.size == len(queued.body.head) + 2 + 7
    stored = await house.database.read(deliveries.of_any_status, queued.delivery_id)
    assert stored is not None and replace(queued, body=None) == stored
    (event,) = await house.database.read(events.by_message, message.id)
    assert (event.type, event.recipient) == ("message.queued", "ann@example.org")


async def test_a_draft_becomes_mime_and_its_hidden_recipients_stay_hidden(house: House) -> None:
    draft = replace(DRAFT, html="<p>Yo", attachments=[Attachment(b"x" * 400_000, "x.bin")])
    accepted = await house.accept.submit(house.owner, api(draft, "ann@example.org", "boss@example.org"))
    message = await house.message(accepted.message_id)
    assert message.to == ("Ann <ann@example.org>",) and message.bcc == ("boss@example.org",)
    assert "boss" not in await house.head(message.id)
    assert await house.count("deliveries") == 2 and await house.count("bodies") == 1
    assert await house.count("body_chunks") == 3  # 540 KB of base64


async def test_bcc_goes_and_its_addresses_are_still_shown_to_the_owner(house: House) -> None:
    submission = smtp("Bcc: eve@example.org", recipients=to("ann@example.org", "eve@example.org"))
    accepted = await house.accept.submit(house.owner, submission)
    assert "eve" not in await house.head(accepted.message_id)
    assert (await house.message(accepted.message_id)).bcc == ("eve@example.org",)


async def test_options_come_from_header_fields_and_leave_none(house: House) -> None:
    submission = smtp(
        "X-Posthouse-Tag: campaign=spring",
        "X-Posthouse-Tag: welcome",
        "X-Posthouse-Metadata-Order: 17",
        "X-Posthouse-Stream: broadcast",
        "X-Posthouse-Track: opens",
    )
    accepted = await house.accept.submit(house.owner, submission)
    message = await house.message(accepted.message_id)
    assert message.tags == {"campaign": "spring", "welcome": ""}
    assert message.metadata == {"Order": "17"}
    assert message.options == {"track_opens": True, "track_clicks": False}
    assert message.stream == "broadcast" and house.offered[0].lane is Lane.BULK
    assert "posthouse-" not in (await house.head(message.id)).lower()


async def test_a_scheduled_message_waits_and_its_lifetime_begins_then(house: House) -> None:
    at = house.now + 3_600_000
    accepted = await house.accept.submit(house.owner, api(scheduled_at=at))
    assert accepted.status is MessageStatus.SCHEDULED
    assert [queued.next_at for queued in house.offered] == [at]  # or the queue would not know when to look
    message = await house.message(accepted.message_id)
    assert (message.status, message.scheduled_at) == (MessageStatus.SCHEDULED, at)
    (delivery,) = await house.deliveries(message.id)
    assert (delivery.next_at, delivery.expires_at) == (at, at + SETTINGS.retry.lifetime_s * 1000)
    (event,) = await house.database.read(events.by_message, message.id)
    assert event.type == "message.scheduled"


async def test_an_otp_goes_first_and_expires_when_it_says(house: House) -> None:
    await house.accept.submit(house.owner, api(lane=Lane.OTP, expires_at=house.now + 600_000))
    (queued,) = house.offered
    assert queued.lane is Lane.OTP and queued.expires_at == house.now + 600_000


async def test_a_recipient_named_twice_gets_one_copy(house: House) -> None:
    submission = smtp(recipients=to("ann@example.org", "Ann@example.org", "bob@example.org"))
    accepted = await house.accept.submit(house.owner, submission)
    names = [one.recipient for one in await house.deliveries(accepted.message_id)]
    assert sorted(names) == ["ann@example.org", "bob@example.org"]


async def test_a_thousand_recipients_share_one_body(house: House) -> None:
    recipients = to(*(f"r{n}@example.org" for n in range(1000)))
    await house.accept.submit(house.owner, smtp(recipients=recipients))
    assert await house.count("deliveries") == 1000 and len(house.offered) == 1000
    assert await house.count("bodies") == await house.count("messages") == await house.count("events") == 1
    assert len({queued.delivery_id for queued in house.offered}) == 1000


async def test_a_broadcast_is_a_message_a_recipient_each_with_its_own_to(house: House) -> None:
    draft = replace(DRAFT, to=[("Ann", Address("ann", "example.org")), ("Bob", Address("bob", "example.org"))])
    whole = api(draft, "ann@example.org", "bob@example.org", stream="broadcast", idempotency_key="spring")
    for _ in range(2):
        accepted = [await house.accept.submit(house.owner, one) for one in apart(whole)]
    assert [one.replayed for one in accepted] == [True, True]
    shown = [(await house.message(one.message_id)).to for one in accepted]
    assert shown == [("Ann <ann@example.org>",), ("Bob <bob@example.org>",)]
    assert await house.count("messages") == 2


# Who may send


async def test_a_foreign_from_is_refused(house: House) -> None:
    error = await refused(house, smtp(content=raw(sender="ceo@bank.example")))
    assert isinstance(error, InvalidInput) and error.code == "domain_not_verified"


async def test_another_organizations_domain_is_foreign(house: House) -> None:
    other = await house.database.write(organizations.add, "other", "custom")
    error = await refused(house, smtp(), Principal(other.id))
    assert error.code == "domain_not_verified"


@pytest.mark.parametrize("test", [False, True])
async def test_a_domain_must_be_verified_or_trusted(house: House, test: bool) -> None:
    await house.domain("new.example", "pending")
    submission = smtp(content=raw(sender="a@new.example"))
    error = await refused(house, submission, replace(house.owner, test=test))
    assert error.code == "domain_not_verified"
    await house.domain("trusted.example", "pending", trusted=True)
    await house.accept.submit(house.owner, smtp(content=raw(sender="a@trusted.example")))


async def test_a_disabled_domain_is_forbidden_even_where_trusted(house: House) -> None:
    await house.domain("off.example", "disabled", trusted=True)
    error = await refused(house, smtp(content=raw(sender="a@off.example")))
    assert isinstance(error, Forbidden) and error.code == "domain_disabled"


@pytest.mark.parametrize(
    "head",
    [
        "From: a@example.com\r\nFrom: b@example.com\r\n",
        "From: a@example.com, b@example.com\r\n",
        "Subject: no author\r\n",
        "From:\r\n",
        "From: a@example.com\r\nFrom : ceo@bank.example\r\n",
        "From: a@example.com\r\nSubject: one\rBcc: two@example.org\r\n",
        "From: a@example.com\r\nnot a field\r\n",
        "From: a@example.com\r\n" + "Received: by a\r\n" * 51,
        "From: a@example.com\r\nX-Posthouse-Stream: ../etc\r\n",
        "From: a@example.com\r\nX-Posthouse-Track: everything\r\n",
    ],
)
async def test_header_blocks_that_break_a_rule_are_refused(house: House, head: str) -> None:
    content = Raw(InMemory(f"{head}\r\nHello\r\n".encode()))
    assert isinstance(await refused(house, smtp(content=content)), InvalidInput)


@pytest.mark.parametrize(
    "draft",
    [
        replace(DRAFT, subject="Hi\r\nBcc: eve@example.org"),
        replace(DRAFT, headers=[("X-A", "b\nBcc: eve@example.org")]),
        replace(DRAFT, author=("Shop\r\nBcc: eve@example.org", DRAFT.author[1])),
        replace(DRAFT, headers=[("X-A\r\nBcc", "eve@example.org")]),
    ],
)
async def test_a_drafts_values_cannot_become_header_fields(house: House, draft: Draft) -> None:
    assert isinstance(await refused(house, api(draft)), InvalidInput)


async def test_the_return_path_is_of_the_organization_or_empty(house: House) -> None:
    error = await refused(house, smtp(reverse_path=parse_address("a@elsewhere.example")))
    assert isinstance(error, Forbidden)
    for path in ("a@example.com", "root@web1.example.com"):
        await house.accept.submit(house.owner, smtp(reverse_path=parse_address(path)))
    await house.accept.submit(house.owner, smtp(reverse_path=None))


async def test_a_simulation_needs_a_test_key(house: House) -> None:
    error = await refused(house, api(simulation="bounced"))
    assert error.field == "simulation"


# Room, size, trouble


async def test_nothing_is_accepted_below_the_free_disk_floor(tmp_path: Path) -> None:
    database = Database(tmp_path / "posthouse.sqlite", floor_bytes=2**62, floor_percent=100)
    await database.start()
    house = House(database, await database.write(organizations.add, "shop", "custom"))
    assert isinstance(await refused(house, smtp()), StorageFull)
    await database.close()


class Large:
    """20 MB that are made when they are read."""

    head = b"From: shop@example.com\r\n\r\n"
    line = b"x" * 98 + b"\r\n"
    size = len(head) + 200_000 * 100

    def __init__(self) -> None:
        self.largest = 0
        self.threads: set[int] = set()

    def read(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        self.largest = max(self.largest, count)
        self.threads.add(threading.get_ident())
        if offset == 0:
            return (self.head + self.line * (count // 100 + 1))[:count]
        start = (offset - len(self.head)) % 100
        return (self.line * (count // 100 + 2))[start : start + count]

    def chunks(self, start: int = 0, size: int = 262144) -> Iterator[bytes]:
        for offset in range(start, self.size, size):
            yield self.read(offset, size)


async def test_a_large_message_is_never_joined_nor_read_in_the_event_loop(house: House) -> None:
    source = Large()
    tracemalloc.start()
    accepted = await house.accept.submit(house.owner, smtp(content=Raw(source)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    assert source.largest <= 262144 and threading.get_ident() not in source.threads
    assert await house.count("body_chunks") == 77
    assert house.offered[0].body is not None and house.offered[0].body.data is None
    message = await house.message(accepted.message_id)
    assert await house.database.read(bodies.chunk, message.body_id, 76) == source.read(
        len(source.head) + 76 * 262144, 262144
    )


class Vanishing(Large):
    """Closed when it is read for the second time, as a spool is whose client was thrown out."""

    def chunks(self, start: int = 0, size: int = 262144) -> Iterator[bytes]:
        if self.threads and self.size < 0:
            return
        yield from super().chunks(start, size)
        self.size = -1


async def test_a_message_that_is_taken_back_while_it_is_stored_is_not_stored_cut_short(house: House) -> None:
    assert isinstance(await refused(house, smtp(content=Raw(Vanishing()))), Unavailable)


@pytest.mark.parametrize("head", ["To: " + "a@b.example, " * 2000 + "a@b.example", "X-Padding: " + "x " * 4000])
async def test_a_long_header_block_is_not_read_in_the_event_loop(
    house: House, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noting(*args: Any, **more: Any) -> Prepared:
        threads.append(threading.get_ident())
        return prepare(*args, **more)

    monkeypatch.setattr("mta.accept.submit.prepare", noting)
    await house.accept.submit(house.owner, smtp(head))
    await house.accept.submit(house.owner, smtp())
    assert threads[0] != threading.get_ident() == threads[1]


async def test_the_settings_bound_header_block_and_hops(house: House) -> None:
    house.settings = Settings(limits=Limits(header_bytes=200, hops=2))
    assert isinstance(await refused(house, smtp("X: " + "x" * 200)), InvalidInput)
    assert (await refused(house, smtp(*["Received: by a"] * 3))).code == "mail_loop"
    await house.accept.submit(house.owner, smtp(*["Received: by a"] * 2))
