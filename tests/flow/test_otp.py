"""One-time codes: bounded, expiring, replaced by newer ones; the code is in the mail and nowhere else."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from config.settings import Otp as OtpSettings
from mta.control.messages import Messages
from mta.control.otp import Otp
from mta.control.otp_mail import Wanted
from mta.errors import Conflict, InvalidInput, LimitReached, NotFound, PosthouseError, Unprocessable
from mta.lifecycle.settle import Settlement, begin, settle
from mta.model import DeliveryStatus, Event, Lane, OtpChallenge, OtpStatus, Principal
from mta.protocol.address import parse_address
from mta.store import bodies, deliveries, events
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx
from tests.fakes.queue import IdleQueue
from tests.flow.house import House, house

__all__ = ["house"]

LIMITS = OtpSettings()


@dataclass
class Desk:
    """The house with its one-time codes, and the eyes to read them in the mail."""

    house: House
    otp: Otp

    async def send(self, to: str = "ann@example.org", purpose: str = "login", **more: Any) -> OtpChallenge:
        principal = more.pop("principal", self.house.owner)
        return await self.otp.send(principal, Wanted(parse_address(to), purpose, **more))

    async def code(self, challenge: OtpChallenge) -> str:
        text = await self.mail(challenge)
        found = re.search(r"^    (\d+)\r?$", text, re.MULTILINE)
        assert found
        return found[1]

    async def mail(self, challenge: OtpChallenge) -> str:
        message = await self.house.message(challenge.message_id)
        chunk = await self.house.database.read(bodies.chunk, message.body_id, 0)
        assert chunk is not None
        return chunk.decode()

    async def events(self) -> list[Event]:
        page = await self.house.database.read(lambda tx: events.page(tx, self.house.organization.id, False, limit=100))
        return page[::-1]

    async def told(self) -> list[str]:
        return [event.type for event in await self.events() if event.type.startswith("otp.")]

    async def settle(self, challenge: OtpChallenge, status: DeliveryStatus, reason: str | None = None) -> None:
        def work(tx: Tx) -> None:
            (delivery,) = deliveries.by_message(tx, challenge.message_id)
            queued = deliveries.of_any_status(tx, delivery.id)
            assert queued is not None
            begin(tx, queued, self.house.now)
            settle(tx, Settlement(queued, status, self.house.now, reason=reason))

        await self.house.database.write(work)

    async def now(self, challenge: OtpChallenge) -> OtpChallenge:
        return await self.otp.get(self.house.owner, challenge.id)


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Desk]:
    accept = house.accept
    yield Desk(house, Otp(house.database, accept, Secrets(bytes(32)), house.settings, clock=lambda: house.now))


async def test_a_code_is_mailed_verified_and_used_up(desk: Desk) -> None:
    made = await desk.send(brand_name="Shop & Co")
    assert made.status is OtpStatus.CREATED and made.expires_at == desk.house.now + 600_000
    message = await desk.house.message(made.message_id)
    assert (
        message.sender == '"Shop & Co" <no-reply@example.com>' or message.sender == "Shop & Co <no-reply@example.com>"
    )
    assert message.subject == "Your Shop & Co verification code"
    code = await desk.code(made)
    assert len(code) == 6
    (queued,) = desk.house.offered
    assert queued.lane is Lane.OTP and queued.expires_at == made.expires_at
    await desk.settle(made, DeliveryStatus.DELIVERED)
    assert (await desk.now(made)).status is OtpStatus.SENT
    verdict = await desk.otp.verify(desk.house.owner, f" {code[:3]}-{code[3:]} ", challenge_id=made.id)
    assert verdict.verified and verdict.challenge.status is OtpStatus.VERIFIED
    with pytest.raises(Conflict) as used:
        await desk.otp.verify(desk.house.owner, code, challenge_id=made.id)
    assert used.value.code == "otp_verified"
    assert await desk.told() == ["otp.created", "otp.sent", "otp.verified"]


async def test_wrong_codes_are_counted_and_bounded(desk: Desk) -> None:
    made = await desk.send()
    code = await desk.code(made)
    wrong = "0" * 6 if code != "0" * 6 else "1" * 6
    for left in range(LIMITS.max_attempts - 1, -1, -1):
        verdict = await desk.otp.verify(desk.house.owner, wrong, to=parse_address("Ann@example.org"), purpose="login")
        assert not verdict.verified and verdict.challenge.max_attempts - verdict.challenge.attempts == left
    assert verdict.challenge.status is OtpStatus.FAILED
    with pytest.raises(Conflict) as ended:
        await desk.otp.verify(desk.house.owner, code, challenge_id=made.id)
    assert ended.value.code == "otp_failed"
    assert await desk.told() == ["otp.created", *["otp.failed_attempt"] * LIMITS.max_attempts, "otp.failed"]


async def test_parallel_guesses_hold_the_bound(desk: Desk) -> None:
    made = await desk.send(code_length=4)
    code = await desk.code(made)
    guesses = [f"{number:04}" for number in range(60) if f"{number:04}" != code]
    answers = await asyncio.gather(
        *(desk.otp.verify(desk.house.owner, guess, challenge_id=made.id) for guess in guesses), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert len(answers) - len(refused) == LIMITS.max_attempts
    assert (await desk.now(made)).attempts == LIMITS.max_attempts


async def test_of_parallel_right_codes_one_verifies(desk: Desk) -> None:
    made = await desk.send()
    code = await desk.code(made)
    answers = await asyncio.gather(
        *(desk.otp.verify(desk.house.owner, code, challenge_id=made.id) for _ in range(10)), return_exceptions=True
    )
    assert sum(not isinstance(answer, Exception) and answer.verified for answer in answers) == 1  # type: ignore[union-attr]


async def test_a_newer_code_voids_the_older_and_stops_its_mail(desk: Desk) -> None:
    old = await desk.send()
    code = await desk.code(old)
    other = await desk.send(purpose="payment")
    new = await desk.send()
    assert (await desk.now(old)).status is OtpStatus.CANCELED and (await desk.now(other)).open
    assert [each.status for each in await desk.house.deliveries(old.message_id)] == [DeliveryStatus.CANCELLED]
    with pytest.raises(Conflict) as ended:
        await desk.otp.verify(desk.house.owner, code, challenge_id=old.id)
    assert ended.value.code == "otp_canceled"
    verdict = await desk.otp.verify(
        desk.house.owner, await desk.code(new), to=parse_address("ann@example.org"), purpose="login"
    )
    assert verdict.verified and verdict.challenge.id == new.id


async def test_a_code_expires_by_itself_and_when_it_is_tried(desk: Desk) -> None:
    first, second = await desk.send(expires_in="90s"), await desk.send(purpose="payment", expires_in="1h")
    code = await desk.code(first)
    desk.house.now += 89_999
    assert await desk.otp.sweep() == 0
    desk.house.now += 1
    with pytest.raises(Conflict) as ended:
        await desk.otp.verify(desk.house.owner, code, challenge_id=first.id)
    assert ended.value.code == "otp_expired"
    assert (await desk.now(first)).status is OtpStatus.EXPIRED
    desk.house.now += 3_600_000
    assert await desk.otp.sweep() == 1
    assert (await desk.now(second)).status is OtpStatus.EXPIRED
    assert await desk.told() == ["otp.created", "otp.created", "otp.expired", "otp.expired"]


async def test_what_cannot_be_delivered_has_failed(desk: Desk) -> None:
    made = await desk.send()
    await desk.settle(made, DeliveryStatus.BOUNCED, "no such user")
    found = await desk.now(made)
    assert found.status is OtpStatus.FAILED and found.reason == "undeliverable: no such user"
    late = await desk.send(to="bob@example.org")
    desk.house.now += 600_000
    await desk.settle(late, DeliveryStatus.FAILED, "expired")
    assert (await desk.now(late)).status is OtpStatus.EXPIRED


async def test_sends_to_one_address_for_one_purpose_are_bounded(desk: Desk) -> None:
    for _ in range(LIMITS.sends):
        await desk.send()
        desk.house.now += 1000
    messages = await desk.house.count("messages")
    with pytest.raises(LimitReached) as refused:
        await desk.send(to="ANN@example.org")
    assert refused.value.code == "otp_send_limit_reached" and refused.value.retry_after == 595
    assert await desk.house.count("messages") == messages == LIMITS.sends
    await desk.send(purpose="payment")
    await desk.send(to="bob@example.org")
    desk.house.now += 595_000
    await desk.send()


async def test_parallel_sends_hold_the_bound(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.send() for _ in range(20)), return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, OtpChallenge)]
    assert len(made) == LIMITS.sends == await desk.house.count("otp_challenges") == await desk.house.count("messages")
    assert all(isinstance(answer, OtpChallenge | LimitReached) for answer in answers)
    assert sum([(await desk.now(each)).open for each in made]) == 1


async def test_the_same_request_is_answered_again(desk: Desk) -> None:
    made = await desk.send(idempotency_key="k")
    again = await desk.send(idempotency_key="k")
    assert again.id == made.id and again.status is OtpStatus.CREATED
    assert await desk.house.count("messages") == 1
    with pytest.raises(Conflict) as refused:
        await desk.send(idempotency_key="k", code_length=8)
    assert refused.value.code == "idempotency_conflict"


async def test_cancel(desk: Desk) -> None:
    made = await desk.send()
    assert (await desk.otp.cancel(desk.house.owner, made.id)).status is OtpStatus.CANCELED
    assert (await desk.otp.cancel(desk.house.owner, made.id)).status is OtpStatus.CANCELED
    assert [each.status for each in await desk.house.deliveries(made.message_id)] == [DeliveryStatus.CANCELLED]
    other = await desk.send()
    await desk.otp.verify(desk.house.owner, await desk.code(other), challenge_id=other.id)
    with pytest.raises(Conflict):
        await desk.otp.cancel(desk.house.owner, other.id)
    assert (await desk.told()).count("otp.canceled") == 1


@pytest.mark.parametrize("status", [DeliveryStatus.DELIVERED, DeliveryStatus.BOUNCED, DeliveryStatus.FAILED])
async def test_the_code_is_nowhere_but_in_the_mail(desk: Desk, status: DeliveryStatus) -> None:
    made = await desk.send(code_length=10)
    code = await desk.code(made)
    content = Messages(desk.house.database, IdleQueue())
    with pytest.raises(NotFound) as hidden:
        await content.content(desk.house.owner, made.message_id)
    assert hidden.value.code == "content_hidden"
    await desk.otp.verify(desk.house.owner, "0", challenge_id=made.id)
    await desk.settle(made, status)

    def everything(tx: Tx) -> bytes:
        tables = [row[0] for row in tx.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return repr([tx.all(f"SELECT * FROM {table}") for table in tables]).encode()

    assert code.encode() not in await desk.house.database.read(everything)
    with pytest.raises(NotFound):
        await content.content(desk.house.owner, made.message_id)


async def test_codes_of_other_organizations_and_of_test_keys_are_apart(desk: Desk) -> None:
    made = await desk.send()
    for stranger in (Principal("org_other"), Principal(desk.house.organization.id, test=True)):
        for call in (
            desk.otp.get(stranger, made.id),
            desk.otp.cancel(stranger, made.id),
            desk.otp.verify(stranger, "1", challenge_id=made.id),
            desk.otp.verify(stranger, "1", to=parse_address("ann@example.org"), purpose="login"),
        ):
            with pytest.raises(NotFound):
                await call
    test = await desk.send(principal=Principal(desk.house.organization.id, test=True), simulation="bounced")
    assert test.test and (await desk.now(made)).open


async def test_lists(desk: Desk) -> None:
    ann = await desk.send()
    desk.house.now += 1
    bob = await desk.send(to="bob@example.org", purpose="payment")
    await desk.otp.cancel(desk.house.owner, ann.id)

    async def ids(**filters: Any) -> list[str]:
        return [each.id for each in (await desk.otp.page(desk.house.owner, **filters)).items]

    assert await ids() == [bob.id, ann.id]
    assert await ids(to="ann@example.org") == await ids(purpose="login") == await ids(status="canceled") == [ann.id]
    assert await ids(to="ann@example.org", purpose="payment") == []
    page = await desk.otp.page(desk.house.owner, limit=1)
    assert page.next_cursor == bob.id and await ids(cursor=page.next_cursor) == [ann.id]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expires_in": "soon"}, "expiresIn"),
        ({"expires_in": "29s"}, "expiresIn"),
        ({"expires_in": "25h"}, "expiresIn"),
        ({"code_length": 3}, "codeLength"),
        ({"code_length": 11}, "codeLength"),
        ({"purpose": ""}, "purpose"),
        ({"subject": "a\r\nBcc: x@example.org"}, "subject"),
        ({"brand_name": "a\nb"}, "brandName"),
        ({"metadata": {"a": "x" * 5000}}, "metadata"),
    ],
)
async def test_what_cannot_be_asked(desk: Desk, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.send(**change)
    assert refused.value.field == field
    assert await desk.house.count("otp_challenges") == await desk.house.count("messages") == 0


async def test_a_suppressed_address_gets_no_code(desk: Desk) -> None:
    await desk.house.suppress("ann@example.org")
    with pytest.raises(Unprocessable) as refused:
        await desk.send()
    assert refused.value.code == "recipient_suppressed"
    assert await desk.house.count("otp_challenges") == 0
    await desk.house.suppress("bob@example.org", "unsubscribe", "broadcast")
    assert (await desk.send(to="bob@example.org")).open


async def test_without_a_verified_domain_the_sender_is_asked_for(desk: Desk) -> None:
    def unverify(tx: Tx) -> None:
        tx.run("UPDATE domains SET status = 'pending', trusted = 0")

    await desk.house.database.write(unverify)
    with pytest.raises(PosthouseError) as refused:
        await desk.send()
    assert refused.value.code == "from_missing"
