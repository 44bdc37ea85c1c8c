"""/otp with the product's own client; what a test key may see and a live one may not."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from tests.api.conftest import House


async def use(house: House, work: Callable[[Any], None], secret: str = "") -> None:
    client = StackShift(api_key=secret or house.secret, mail_base_url=house.url + "/v1")
    await asyncio.to_thread(work, client.mail)


def refused(call: Callable[..., Any], **named: Any) -> StackShiftAPIError:
    try:
        call(**named)
    except StackShiftAPIError as error:
        return error
    raise AssertionError("It was not refused.")


def code_in(house: House) -> str:
    """As the runner would send it."""
    body = house.offered[-1].body
    assert body is not None and body.data is not None
    found = re.search(rb"^    (\d+)\r$", body.data, re.MULTILINE)
    assert found
    return found[1].decode()


async def test_the_life_of_a_code(house: House) -> None:
    def work(mail: Any) -> None:
        sent = mail.otp.send(
            to="bob@example.org",
            purpose="login",
            from_="Ada <ada@example.com>",
            expires_in="5m",
            code_length=8,
            metadata={"user": 7},
            idempotency_key="k",
            subject="Your code",
            brand_name="Shop",
        )
        code = code_in(house)
        assert len(code) == 8 and sent["status"] == "created" and sent["attemptsRemaining"] == 5
        assert sent["metadata"] == {"user": 7} and sent["sentAt"] is None
        again = mail.otp.send(
            to="bob@example.org",
            purpose="login",
            from_="Ada <ada@example.com>",
            expires_in="5m",
            code_length=8,
            metadata={"user": 7},
            idempotency_key="k",
            subject="Your code",
            brand_name="Shop",
        )
        assert again["id"] == sent["id"]
        shown = mail.messages.get(sent["messageId"])
        assert shown["subject"] == "Your code" and shown["from"] == "Ada <ada@example.com>"

        wrong = mail.otp.verify(code="nonsense", challenge_id=sent["id"])
        assert wrong == {
            "verified": False,
            "status": "created",
            "challengeId": sent["id"],
            "attemptsRemaining": 4,
        }
        right = mail.otp.verify(code=code, to="Bob@example.org", purpose="login")
        assert right["verified"] is True and right["status"] == "verified"
        used = refused(mail.otp.verify, code=code, challenge_id=sent["id"])
        assert (used.status_code, used.code) == (409, "otp_verified")

        listed = mail.otp.challenges.list(to="bob@example.org", purpose="login", status="verified")["data"]
        assert [each["id"] for each in listed] == [sent["id"]]
        one = mail.otp.challenges.get(sent["id"])
        assert one["attempts"] == 1 and one["verifiedAt"].endswith("Z")
        other = mail.otp.send(to="cy@example.org", purpose="login")
        assert mail.otp.challenges.cancel(other["id"])["status"] == "canceled"
        timeline = [each["type"] for each in mail.messages.timeline(sent["messageId"])["data"]]
        assert timeline == ["mail.message.queued", "mail.otp.created", "mail.otp.failed_attempt", "mail.otp.verified"]

    await use(house, work)


async def test_too_many_sends_say_when_to_come_back(house: House) -> None:
    async with house.client() as client:
        body = {"to": "bob@example.org", "purpose": "login"}
        answers = [await client.post("/v1/mail/otp/send", json=body) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 600
    assert answers[-1].json()["error"]["code"] == "otp_send_limit_reached"


async def test_no_answer_holds_a_code(house: House) -> None:
    async with house.client() as client:
        sent = await client.post("/v1/mail/otp/send", json={"to": "bob@example.org", "purpose": "x", "codeLength": 10})
        made = sent.json()["data"]
        code = code_in(house)
        paths = (
            f"otp/challenges/{made['id']}",
            "otp/challenges",
            "messages",
            *(f"messages/{made['messageId']}{part}" for part in ("", "/content", "/timeline", "/logs", "/attempts")),
        )
        answers = [sent, *[await client.get(f"/v1/mail/{path}") for path in paths]]
    assert [answer.status_code for answer in answers] == [202, 200, 200, 200, 200, 404, 200, 200, 200]
    assert all(code not in answer.text for answer in answers)


async def test_verify_wants_to_know_which(house: House) -> None:
    async with house.client() as client:
        asked = await client.post("/v1/mail/otp/verify", json={"code": "1"})
        unknown = await client.post("/v1/mail/otp/verify", json={"code": "1", "to": "x@example.org", "purpose": "y"})
    assert asked.status_code == 400 and unknown.status_code == 404


async def test_a_simulation_needs_a_test_key(house: House) -> None:
    body = {"to": "bob@example.org", "purpose": "login", "simulation": {"scenario": "bounced"}}
    test_key = await house.key(test=True)
    async with house.client() as live, house.client(test_key) as test:
        assert (await live.post("/v1/mail/otp/send", json=body)).status_code == 400
        made = (await test.post("/v1/mail/otp/send", json=body)).json()["data"]
        assert made["test"] is True
        assert (await live.get(f"/v1/mail/otp/challenges/{made['id']}")).status_code == 404
