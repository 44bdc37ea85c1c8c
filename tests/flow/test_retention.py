"""What is too old goes and nothing else: by the clock, by each organization's own rule, in small jobs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from config.settings import Settings
from mta import ids
from mta.control import retention
from mta.control.otp import Otp, Wanted
from mta.control.retention import DAY_MS, Retention
from mta.model import Attempt, Body, InboundMessage, Organization
from mta.protocol.address import parse_address
from mta.store import audit, bodies, deliveries, events, inbound, organizations
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx
from tests.flow.house import House, api, house, smtp

__all__ = ["house"]

END = "UPDATE deliveries SET status = 'delivered', next_at = NULL, updated_at = :at WHERE message_id = :id"
NOTHING = ("delivered", None, None, None, None, 250, None, "250 ok", ())  # of an attempt: outcome to dialogue


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "spool").mkdir()
    return Settings(data_dir=tmp_path)


async def sweep(house: House, settings: Settings, after_days: float) -> dict[str, int]:
    """What a sweep so long from now takes."""
    then = ids.now_ms() + int(after_days * DAY_MS)
    gone = await Retention(house.database, settings, lambda: then).sweep()
    return {name: count for name, count in gone.items() if count}


async def own_rule(house: House, **rule: object) -> None:
    changed = replace(house.organization, settings=rule)
    await house.database.write(organizations.update, changed)


async def end(house: House, id: str, after_days: float = 0) -> None:
    at = ids.now_ms() + int(after_days * DAY_MS)
    await house.database.write(lambda tx: tx.run(END, id=id, at=at))


async def sent(house: House, *options: str) -> str:
    house.now = ids.now_ms()
    return (await house.accept.submit(house.owner, smtp(*options))).message_id


async def test_a_body_stays_for_a_week_after_the_last_delivery_has_ended(house: House, settings: Settings) -> None:
    ended, waiting = await sent(house), await sent(house)
    await end(house, ended, after_days=3)
    assert await sweep(house, settings, 9.9) == {}
    assert await sweep(house, settings, 10.1) == {"bodies": 1}
    assert await house.count("bodies") == await house.count("body_chunks") == 1
    await house.message(ended)  # what it was stays known, only its content is gone
    assert await sweep(house, settings, 80) == {}
    await end(house, waiting)
    assert await sweep(house, settings, 80) == {"bodies": 1}


async def test_what_was_captured_goes_with_the_body(house: House, settings: Settings) -> None:
    id = await sent(house)
    (delivery,) = await house.deliveries(id)
    await house.database.write(deliveries.add_capture, delivery.id, id, "b@example.com", b"Head: x\r\n", ids.now_ms())
    await end(house, id)
    assert await sweep(house, settings, 8) == {"bodies": 1}
    assert await house.count("captures") == 0


async def test_an_organization_has_its_own_rule(house: House, settings: Settings) -> None:
    id = await sent(house)
    await end(house, id)
    await own_rule(house, bodies_days=30, events_days=400)
    assert await sweep(house, settings, 29) == {}
    assert await sweep(house, settings, 31) == {"bodies": 1}
    assert await sweep(house, settings, 399) == {}
    await own_rule(house, bodies_days="soon", events_days=-1)
    assert await sweep(house, settings, 89) == {}
    assert (await sweep(house, settings, 91))["events"] == 1


async def test_a_one_time_code_is_kept_as_long_as_events(house: House, settings: Settings) -> None:
    house.now = ids.now_ms()
    desk = Otp(house.database, house.accept, Secrets(bytes(32)), house.settings, clock=lambda: house.now)
    ann = parse_address("ann@example.org")
    ended, still_open = [await desk.send(house.owner, Wanted(ann, purpose)) for purpose in ("login", "payment")]
    await desk.cancel(house.owner, ended.id)
    await own_rule(house, events_days=30)
    assert "challenges" not in await sweep(house, settings, 29)
    assert (await sweep(house, settings, 31))["challenges"] == 1
    assert (await desk.get(house.owner, still_open.id)).open


async def received(house: House) -> str:
    """A message from the world, kept for the house."""
    now, data = ids.now_ms(), b"Where is my order?\r\n"
    body = Body(ids.new("bdy", now), b"Subject: Question\r\n", len(data), b"h", False, 20, None)
    made = InboundMessage(
        id=ids.new("inm", now), organization_id=house.organization.id, domain="in.example.com", body_id=body.id,
        reverse_path="ann@example.org", recipients=("help@in.example.com",), from_address="ann@example.org",
        subject="Question", header_message_id="<1@example.org>", text="Where is my order?", html="<p>Where?</p>",
        headers=(("Subject", "Question"),), attachments=(), authentication={"spf": "pass"}, size=42, created_at=now,
    )  # fmt: skip

    def add(tx: Tx) -> None:
        bodies.add(tx, body, [data], now)
        inbound.add(tx, made)

    await house.database.write(add)
    return made.id


async def test_what_came_in_loses_its_content_with_its_body(house: House, settings: Settings) -> None:
    id = await received(house)
    assert await sweep(house, settings, 6.9) == {}
    assert await sweep(house, settings, 7.1) == {"bodies": 1}
    kept = await house.database.read(inbound.by_id, id)
    assert kept and (kept.text, kept.html, kept.headers) == (None, None, ())
    assert (kept.subject, kept.from_address, kept.authentication) == ("Question", "ann@example.org", {"spf": "pass"})
    assert await house.count("body_chunks") == 0


async def test_an_organization_keeps_what_came_in_as_long_as_it_says(house: House, settings: Settings) -> None:
    id = await received(house)
    await own_rule(house, bodies_days=30)
    assert await sweep(house, settings, 29) == {}
    kept = await house.database.read(inbound.by_id, id)
    assert kept and kept.text == "Where is my order?"
    assert await sweep(house, settings, 31) == {"bodies": 1}
    await received(house)
    await own_rule(house, bodies_days=1)
    assert await sweep(house, settings, 1.1) == {"bodies": 1}


async def test_events_and_attempts_go_after_ninety_days(
    house: House, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP", 4)
    other = await house.database.write(organizations.add, "other", "custom", {"events_days": 300})
    now = ids.now_ms()

    def fill(tx: Tx, owner: Organization, test: bool) -> None:
        for _ in range(5):
            events.add(tx, owner.id, "message.sent", "message", "msg_1", test=test)
            made = Attempt(ids.new("att"), "dlv_1", "msg_1", owner.id, 1, "a@example.org", now, now, *NOTHING)
            deliveries.add_attempt(tx, made)

    for owner in (house.organization, other):
        await house.database.write(fill, owner, False)
        await house.database.write(fill, owner, True)
    assert await sweep(house, settings, 89.9) == {}
    assert await sweep(house, settings, 90.1) == {"events": 10, "attempts": 10}
    left = await house.database.read(lambda tx: tx.all("SELECT DISTINCT organization_id FROM events"))
    assert left == [(other.id,)]
    assert await sweep(house, settings, 301) == {"events": 10, "attempts": 10}


async def test_idempotency_keys_are_forgotten_after_a_day(house: House, settings: Settings) -> None:
    house.now = ids.now_ms()
    await house.accept.submit(house.owner, api(idempotency_key="k"))
    assert await house.count("idempotency") == 1
    assert await sweep(house, settings, 0.9) == {}
    assert await sweep(house, settings, 1.1) == {"idempotency_keys": 1}


async def test_files_that_a_crash_left_in_the_spool(house: House, settings: Settings) -> None:
    spool = settings.data_dir / "spool"
    for name, age in (("spool-old", 3), ("spool-new", 0), ("mine", 3)):
        (spool / name).touch()
        at = ids.now_ms() / 1000 - age * 86_400
        os.utime(spool / name, (at, at))
    assert await sweep(house, settings, 0) == {"spool_files": 1}
    assert {path.name for path in spool.iterdir()} == {"spool-new", "mine"}


async def test_a_store_that_was_not_closed_is_checked(tmp_path: Path) -> None:
    database = Database(tmp_path / "posthouse.sqlite", floor_bytes=0)
    await database.start()
    checking = Retention(database, Settings(data_dir=tmp_path))
    assert await checking.check() == []
    await database.close()
    damaged = bytearray((tmp_path / "posthouse.sqlite").read_bytes())
    damaged[4096:12288] = b"\xff" * 8192
    (tmp_path / "posthouse.sqlite").write_bytes(damaged)
    assert await checking.check() != []


async def test_the_audit_trail_is_kept_for_a_year(house: House, settings: Settings) -> None:
    await house.database.write(lambda tx: audit.add(tx, house.organization.id, "key.created", "key_1"))
    assert await sweep(house, settings, 364.9) == {}
    assert await sweep(house, settings, 365.1) == {"audit": 1}
    assert await house.count("audit") == 0


async def test_what_a_deleted_organization_sent_goes_too(house: House, settings: Settings) -> None:
    await house.message(await sent(house))
    await end(house, (await house.database.read(lambda tx: tx.all("SELECT id FROM messages")))[0][0])
    await house.database.write(organizations.delete, house.organization.id, ids.now_ms())
    assert (await sweep(house, settings, 90.1))["events"] > 0
    assert await house.count("events") == 0
