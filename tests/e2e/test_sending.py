"""Sending on the real daemon: later, in streams that can be left, and to recipients that are played."""

from __future__ import annotations

import re
import smtplib
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.test_first_mail import message
from tests.fakes.mx import ScriptedMx

MAIL = {"from": "App <app@example.org>", "to": "bob@example.net", "subject": "Hi", "text": "Hello"}


def events_of(daemon: Daemon, key: str, id: str) -> list[str]:
    _, answer = daemon.api("GET", f"/v1/mail/messages/{id}/timeline", key=key)
    return [event["type"] for event in answer["data"]["data"]]


def wait_for(daemon: Daemon, key: str, id: str, type: str) -> list[str]:
    """The types of a message's events, once one of this type is among them."""
    end = time.monotonic() + 20
    while type not in (found := events_of(daemon, key, id)):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def test_scheduled_mail_goes_at_its_time(daemon: Daemon, sink: ScriptedMx) -> None:
    """However quiet the queue is: it looks again every 30 seconds without being told."""
    key = daemon.key()
    at = datetime.now(UTC) + timedelta(seconds=2)
    message = {**MAIL, "subject": "On time"}
    status, _ = daemon.api("POST", "/v1/mail/scheduled", {"sendAt": at.isoformat(), "message": message}, key)
    assert status == 202
    (got,) = sink.wait_messages(1)
    assert b"Subject: On time" in got.content
    assert timedelta() <= datetime.now(UTC) - at < timedelta(seconds=10)


def test_scheduled_mail_waits_for_its_time_and_survives_a_restart(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    at = datetime.now(UTC) + timedelta(seconds=4)
    status, answer = daemon.api("POST", "/v1/mail/scheduled", {"sendAt": at.isoformat(), "message": MAIL}, key)
    assert status == 202 and answer["data"]["status"] == "scheduled"
    far = (at + timedelta(days=1)).isoformat()
    _, other = daemon.api("POST", "/v1/mail/scheduled", {"sendAt": far, "message": {**MAIL, "subject": "No"}}, key)
    daemon.kill()
    daemon.start()
    status, cancelled = daemon.api("POST", f"/v1/mail/scheduled/{other['data']['id']}/cancel", {}, key)
    assert status == 200 and cancelled["data"]["status"] == "canceled"
    (got,) = sink.wait_messages(1)
    assert datetime.now(UTC) >= at and b"Subject: Hi" in got.content
    wait_for(daemon, key, answer["data"]["id"], "mail.delivery.delivered")
    assert daemon.api("GET", f"/v1/mail/scheduled/{answer['data']['id']}", key=key)[1]["data"]["status"] == "sent"
    assert daemon.api("POST", f"/v1/mail/scheduled/{answer['data']['id']}/cancel", {}, key)[0] == 409


def test_one_click_leaves_a_broadcast_and_receipts_still_come(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    news: dict[str, Any] = {**MAIL, "to": ["bob@example.net", "cy@example.net"], "stream": "broadcast"}
    assert daemon.api("POST", "/v1/mail/send", news, key)[0] == 202
    got = sink.wait_messages(2)
    assert sorted(re.findall(rb"^To: (.*)\r$", b"".join(one.content for one in got), re.MULTILINE)) == [
        b"bob@example.net",
        b"cy@example.net",
    ]
    (mine,) = [re.sub(rb"\r\n[ \t]+", b" ", one.content) for one in got if "bob@example.net" in one.addresses]
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in mine
    signed = re.search(rb"DKIM-Signature:[^\r]*", mine)
    assert signed and b"list-unsubscribe-post" in signed[0].lower()
    found = re.search(rb"List-Unsubscribe: <(http[^>]+)>", mine)
    assert found
    with urllib.request.urlopen(found[1].decode(), b"List-Unsubscribe=One-Click", timeout=10) as answer:
        assert answer.status == 200
    status, refused = daemon.api("POST", "/v1/mail/send", {**news, "to": "bob@example.net"}, key)
    assert status == 422 and refused["error"]["code"] == "recipient_suppressed"
    assert daemon.api("POST", "/v1/mail/send", MAIL, key)[0] == 202
    sink.wait_messages(3)


@pytest.mark.parametrize(
    ("scenario", "ends", "before"),
    [
        ("delivered", "mail.delivery.delivered", "mail.message.sent"),
        ("delayed", "mail.delivery.delayed", "mail.message.sending"),
        ("bounced", "mail.message.bounced", "mail.suppression.created"),
        ("complained", "mail.message.complained", "mail.delivery.delivered"),
    ],
)
def test_a_test_key_plays_what_it_is_told(
    daemon: Daemon, sink: ScriptedMx, scenario: str, ends: str, before: str
) -> None:
    test, live = daemon.key("--test"), daemon.key()
    body = {**MAIL, "simulation": {"scenario": scenario}}
    assert daemon.api("POST", "/v1/mail/send", body, live)[0] == 400
    status, answer = daemon.api("POST", "/v1/mail/send", body, test)
    assert status == 202
    assert before in wait_for(daemon, test, answer["data"]["id"], ends)
    again, _ = daemon.api("POST", "/v1/mail/send", body, test)
    assert again == (422 if scenario in ("bounced", "complained") else 202)
    assert daemon.api("POST", "/v1/mail/send", MAIL, live)[0] == 202  # the test world is apart
    sink.wait_messages(1)


def test_simulator_addresses_never_reach_the_wire(daemon: Daemon, sink: ScriptedMx) -> None:
    key = daemon.key()
    played = ["complained@simulator.mail.example.org", "bounced+1@simulator.posthouse.invalid"]
    for _ in range(2):  # and they can be used again
        with smtplib.SMTP("127.0.0.1", daemon.smtp) as smtp:
            smtp.starttls()
            smtp.login("any", key)
            assert smtp.sendmail("app@example.org", [*played, "bob@example.net"], message().as_bytes()) == {}
    _, listed = daemon.api("GET", "/v1/mail/messages", key=key)
    for one in listed["data"]["data"]:
        for type in ("mail.message.complained", "mail.message.bounced", "mail.delivery.delivered"):
            wait_for(daemon, key, one["id"], type)
    assert [one.addresses for one in sink.wait_messages(2)] == [["bob@example.net"]] * 2
    status, answer = daemon.api("POST", "/v1/mail/send", {**MAIL, "to": "delivered@simulator.posthouse.invalid"}, key)
    assert status == 202
    wait_for(daemon, key, answer["data"]["id"], "mail.delivery.delivered")
    assert len(sink.messages) == 2
