"""Mail with a time of its own: with the product's client, and every time that is refused."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from api.times import moment
from mta import ids
from mta.errors import Conflict, NotFound
from mta.lifecycle.settle import begin
from mta.model import DeliveryStatus, Principal, Standing
from mta.outbound.last_look import look
from mta.store import deliveries, standings
from tests.api.conftest import House

MESSAGE = {"from": "Ada <ada@example.com>", "to": "bob@example.org", "subject": "Later", "text": "Hi"}


def ahead(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).isoformat()


async def test_a_message_is_scheduled_found_and_taken_back(house: House) -> None:
    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1")
        made = client.mail.scheduled.create(sendAt=ahead(hours=1), message=MESSAGE)
        assert made["status"] == "scheduled" and made["to"] == ["bob@example.org"]
        assert made["sendAt"].endswith("Z") and made["canceledAt"] is None
        assert [one["id"] for one in client.mail.scheduled.list()["data"]] == [made["id"]]
        assert client.mail.scheduled.get(made["id"]) == made
        for _ in range(2):
            cancelled = client.mail.scheduled.cancel(made["id"])
            assert cancelled["status"] == "canceled" and cancelled["canceledAt"]
        message = client.mail.messages.get(made["id"])
        assert message["status"] == "failed" and message["recipients"][0]["reason"] == "cancelled before its time"
        sent = client.mail.send(from_="ada@example.com", to="bob@example.org", subject="Now", text="x")
        with pytest.raises(StackShiftAPIError) as refused:
            client.mail.scheduled.get(sent["id"])
        assert refused.value.status_code == 404

    await asyncio.to_thread(use)
    waits, at_once = house.offered
    assert waits.next_at > waits.created_at and at_once.next_at == at_once.created_at


async def test_what_was_taken_up_cannot_be_taken_back(house: House) -> None:
    async with house.client() as client:
        body = {"sendAt": ahead(hours=1), "message": MESSAGE}
        id = (await client.post("/v1/mail/scheduled", json=body)).json()["data"]["id"]
        (delivery,) = await house.database.read(deliveries.by_message, id)
        queued = await house.database.read(deliveries.of_any_status, delivery.id)
        assert queued is not None
        # Its time has come and a worker begins it.
        assert await house.database.write(begin, queued, queued.next_at + 1) is DeliveryStatus.SENDING
        late = await client.post(f"/v1/mail/scheduled/{id}/cancel")
        assert late.status_code == 409 and late.json()["error"]["code"] == "too_late"
        assert (await client.get(f"/v1/mail/scheduled/{id}")).json()["data"]["status"] == "sending"


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("2999-01-01T10:00:00", "no time zone"),
        ("2020-01-01T10:00:00Z", "in the past"),
        ("2999-01-01T10:00:00Z", "90 days"),
        ("tomorrow", "is no time"),
        ("", "is no time"),
        ("2026-13-01T10:00:00Z", "is no time"),
        ("0001-01-01T00:00:00+14:00", "past"),
    ],
)
async def test_a_time_that_is_refused_says_why(house: House, at: str, says: str) -> None:
    async with house.client() as client:
        answer = await client.post("/v1/mail/scheduled", json={"sendAt": at, "message": MESSAGE})
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (
            error["code"] == "invalid_send_time" and error["details"]["field"] == "sendAt" and says in error["message"]
        )
        assert (await client.get("/v1/mail/messages")).json()["data"]["data"] == []


async def test_zones_mean_the_same_moment(house: House) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    async with house.client() as client:
        shown = set()
        for zone in (0, 5.5, -8):
            at = (moment + timedelta(hours=zone)).strftime("%Y-%m-%dT%H:%M:%S")
            minutes = int(abs(zone) * 60)
            at += f"{'-' if zone < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
            answer = await client.post("/v1/mail/scheduled", json={"sendAt": at, "message": MESSAGE})
            shown.add(answer.json()["data"]["sendAt"])
    assert len(shown) == 1


async def test_the_sender_is_checked_when_it_is_scheduled(house: House) -> None:
    async with house.client() as client:
        body = {"sendAt": ahead(hours=1), "message": {**MESSAGE, "from": "x@nowhere.org"}}
        answer = await client.post("/v1/mail/scheduled", json=body)
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "domain_not_verified"
        empty = await client.post("/v1/mail/scheduled", json={"sendAt": ahead(hours=1)})
        assert empty.status_code == 400


async def switch_off(house: House, how: str) -> None:
    """What happens to a sender while his mail waits."""
    control, own = house.control, house.organization_id
    (domain,) = (await control.domains.page(own)).items
    if how == "domain_disabled":
        await control.domains.disable(own, domain.domain.id)
    elif how == "domain_not_verified":
        await control.domains.delete(own, domain.domain.id)
    elif how == "review_rejected":
        await control.organizations.change("default", review="rejected")
    else:
        await house.database.write(standings.put, Standing(own, False, "", status="disabled"))


@pytest.mark.parametrize("how", ["domain_disabled", "domain_not_verified", "review_rejected", "reputation_disabled"])
async def test_a_sender_that_may_send_no_more_when_the_time_comes_does_not(house: House, how: str) -> None:
    async with house.client() as client:
        body = {"sendAt": ahead(hours=1), "message": MESSAGE}
        id = (await client.post("/v1/mail/scheduled", json=body)).json()["data"]["id"]
        (delivery,) = await house.database.read(deliveries.by_message, id)
        queued = await house.database.read(deliveries.of_any_status, delivery.id)
        assert queued is not None
        await switch_off(house, how)
        refused = await client.post("/v1/mail/send", json=MESSAGE)
        assert await house.database.write(look, queued, queued.next_at + 1) is DeliveryStatus.FAILED
        shown = (await client.get(f"/v1/mail/messages/{id}")).json()["data"]
        assert shown["status"] == "failed"
        (recipient,) = shown["recipients"]
        assert (recipient["reason"], recipient["reply"]) == (how, refused.json()["message"])
        assert refused.json()["error"]["code"] == how
        (event,) = (await client.get("/v1/mail/events?type=mail.message.failed")).json()["data"]["data"]
        assert (event["messageId"], event["data"]["reason"]) == (id, how)


async def test_what_was_accepted_to_go_at_once_goes(house: House) -> None:
    async with house.client() as client:
        await client.post("/v1/mail/send", json=MESSAGE)
    await switch_off(house, "domain_disabled")
    (queued,) = house.offered
    assert await house.database.write(look, queued, queued.next_at + 1) is DeliveryStatus.SENDING


async def test_what_was_taken_back_stays_so_though_its_recipient_is_suppressed(house: House) -> None:
    owner = Principal(house.organization_id)
    async with house.client() as client:
        id = (await client.post("/v1/mail/send", json=MESSAGE)).json()["data"]["id"]
        await client.post(f"/v1/mail/messages/{id}/cancel")
    await house.control.suppressions.create(owner, "bob@example.org")
    (queued,) = house.offered
    assert await house.database.write(look, queued, ids.now_ms()) is DeliveryStatus.CANCELLED


async def test_what_is_released_still_waits_for_its_time(house: House) -> None:
    async with house.client() as client:
        made = await client.post("/v1/mail/scheduled", json={"sendAt": ahead(hours=1), "message": MESSAGE})
    id = made.json()["data"]["id"]
    (before,) = await house.database.read(deliveries.by_message, id)
    for verb in ("hold", "release", "retry"):
        await house.control.queue.act(verb, [id])
    (after,) = await house.database.read(deliveries.by_message, id)
    assert (after.status, after.next_at) == (DeliveryStatus.QUEUED, before.next_at)


async def test_what_waits_gets_another_time(house: House) -> None:
    owner, scheduled = Principal(house.organization_id), house.control.scheduled
    async with house.client() as client:
        made = await client.post("/v1/mail/scheduled", json={"sendAt": ahead(hours=1), "message": MESSAGE})
        id = made.json()["data"]["id"]
        (before,) = await house.database.read(deliveries.by_message, id)
        assert before.next_at is not None
        later = before.next_at + 86_400_000
        for _ in range(2):  # the second changes nothing
            assert (await scheduled.reschedule(owner, id, later)).scheduled_at == later
        (after,) = await house.database.read(deliveries.by_message, id)
        assert (after.next_at, after.expires_at) == (later, before.expires_at + 86_400_000)
        assert (await client.get(f"/v1/mail/scheduled/{id}")).json()["data"]["sendAt"] == moment(later)
        events = (await client.get(f"/v1/mail/events?messageId={id}")).json()["data"]["data"]
    assert [event["type"] for event in events] == ["mail.message.rescheduled", "mail.message.queued"]
    assert events[0]["data"] == {"scheduledAt": moment(later), "beforeAt": moment(before.next_at)}


async def test_what_is_held_gets_another_time_and_stays_held(house: House) -> None:
    owner = Principal(house.organization_id)
    async with house.client() as client:
        made = await client.post("/v1/mail/scheduled", json={"sendAt": ahead(hours=1), "message": MESSAGE})
    id = made.json()["data"]["id"]
    await house.control.queue.act("hold", [id])
    await house.control.scheduled.reschedule(owner, id, ids.now_ms() + 86_400_000)
    (held,) = await house.database.read(deliveries.by_message, id)
    assert (held.status, held.next_at) == (DeliveryStatus.HELD, None)


async def test_what_does_not_wait_any_more_keeps_its_time(house: House) -> None:
    owner, scheduled = Principal(house.organization_id), house.control.scheduled
    async with house.client() as client:
        body = {"sendAt": ahead(hours=1), "message": MESSAGE}
        cancelled, due = [(await client.post("/v1/mail/scheduled", json=body)).json()["data"]["id"] for _ in range(2)]
    await scheduled.cancel(owner, cancelled)
    await scheduled.reschedule(owner, due, ids.now_ms())
    for id in (cancelled, due):
        with pytest.raises(Conflict) as refused:
            await scheduled.reschedule(owner, id, ids.now_ms() + 1000)
        assert refused.value.code == "too_late"
    stranger = await house.control.organizations.create("other")
    for principal in (Principal(stranger.id), Principal(house.organization_id, test=True)):
        with pytest.raises(NotFound):
            await scheduled.reschedule(principal, due, ids.now_ms() + 1000)
