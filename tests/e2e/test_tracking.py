"""Tracked mail on the real daemon: sent, delivered, opened and clicked by its recipient, and heard of."""

from __future__ import annotations

import re
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.fakes.mx import Received, ScriptedMx
from tests.fakes.receiver import Receiver

QUICK = "[webhooks]\nallow_private = true\n[tracking]\nat_delivery_s = 0\nlinks_at_once_s = 1\n"
CHROME = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"}
OFFER = "https://shop.example/offer?a=1&b=2"
HTML = f'<p>Grüße <a href="{OFFER.replace("&", "&amp;")}">Offer</a> <a href="mailto:a@b.example">Write</a></p>'
LINK = re.compile(r'"(http://127\.0\.0\.1:\d+/t/[co]/[\w-]+)"')


@pytest.fixture
def tracking(make_daemon: Start, sink: ScriptedMx) -> Daemon:
    daemon = make_daemon(sink.port, QUICK)
    daemon.cli("domain", "add", "example.org", "--trust")
    return daemon.start()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def ask(url: str, headers: dict[str, str] = CHROME) -> tuple[int, str, bytes]:
    """Status, Location and body; redirects are not followed."""
    try:
        with urllib.request.build_opener(_Stay).open(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, "", answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location", ""), error.read()


def html_of(got: Received) -> str:
    part = next(part for part in message_from_bytes(got.content).walk() if part.get_content_type() == "text/html")
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


def addresses(html: str) -> tuple[str, str]:
    """The tracked link and the pixel."""
    found = LINK.findall(html)
    return next(url for url in found if "/t/c/" in url), next(url for url in found if "/t/o/" in url)


def until(ready: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (found := ready()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


async def test_from_the_send_to_the_figures(tracking: Daemon, sink: ScriptedMx) -> None:
    key = tracking.key()
    body = {"from": "app@example.org", "to": "bob@example.net", "subject": "x", "text": OFFER, "html": HTML}
    async with Receiver() as receiver:
        wanted = {"url": receiver.url, "eventTypes": ["mail.message.opened", "mail.message.clicked"]}
        assert tracking.api("POST", "/v1/mail/webhooks", wanted, key)[0] == 201
        sent = tracking.api("POST", "/v1/mail/send", {**body, "tracking": {"opens": True, "clicks": True}}, key)[1]
        id = sent["data"]["id"]
        (got,) = sink.wait_messages(1)
        html = html_of(got)
        link, pixel = addresses(html)
        assert html.replace(link, OFFER.replace("&", "&amp;")).split("<img")[0] == HTML
        assert OFFER.encode().replace(b"=", b"=3D") in got.content  # the text part, as it was
        until(lambda: tracking.api("GET", f"/v1/mail/messages/{id}", key=key)[1]["data"]["status"] == "sent")
        assert ask(pixel)[0] == 200 and ask(pixel)[2].startswith(b"GIF89a")
        assert ask(link)[:2] == (302, OFFER)
        assert ask(link + "?url=https://evil.example/")[:2] == (302, OFFER)
        assert ask(link, {"User-Agent": "curl/8.5.0"})[:2] == (302, OFFER)
        status, location, page = ask(link[:-3] + ("AAA" if not link.endswith("AAA") else "BBB"))
        assert (status, location) == (404, "") and b"Unknown link" in page
        calls = await receiver.wait(5)
    told = [(call.event["type"], call.event["data"]["automated"], call.event["data"]["first"]) for call in calls]
    assert sorted(told) == [
        ("mail.message.clicked", False, False),
        ("mail.message.clicked", False, True),
        ("mail.message.clicked", True, False),
        ("mail.message.opened", False, False),
        ("mail.message.opened", False, True),
    ]
    assert {call.event["data"]["recipient"] for call in calls} == {"bob@example.net"}
    totals = tracking.api("GET", "/v1/mail/analytics", key=key)[1]["data"]["totals"]
    assert (totals["delivered"], totals["opened"], totals["clicked"]) == (1, 1, 1)
    shown = tracking.api("GET", f"/v1/mail/messages/{id}/engagement", key=key)[1]["data"]
    assert shown["links"][0]["url"] == OFFER and shown["links"][0]["automated"] == 1


def test_smtp_asks_with_a_header_and_each_recipient_has_links_of_their_own(tracking: Daemon, sink: ScriptedMx) -> None:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "app@example.org", "bob@example.net, cy@example.net", "x"
    made["X-Posthouse-Track"] = "opens, clicks"
    made.set_content("text")
    made.add_alternative(HTML, subtype="html", cte="base64", charset="iso-8859-1")
    with smtplib.SMTP("127.0.0.1", tracking.smtp) as smtp:
        smtp.starttls()
        smtp.login("any", tracking.key())
        smtp.send_message(made)
    got = sink.wait_messages(2)
    assert all(b"X-Posthouse" not in one.content for one in got)
    parts = [message_from_bytes(one.content).get_payload()[1].get_payload(decode=True) for one in got]  # type: ignore[index, union-attr]
    links = [addresses(part.decode("iso-8859-1")) for part in parts]  # type: ignore[union-attr]
    assert len({*links[0], *links[1]}) == 4
    assert all(ask(link)[:2] == (302, OFFER) for link, _ in links)


def test_an_operator_switches_it_on_and_what_is_captured_shows_it(tracking: Daemon) -> None:
    said = tracking.cli("org", "track", "default", "--opens", "on", "--stream", "broadcast", "--json").stdout
    assert '"broadcast"' in said
    shown = tracking.cli("domain", "track", "example.org", "--clicks", "off", "--host", "links.example.org").stdout
    assert "CNAME" in shown and "links.example.org" in shown
    key = tracking.key("--test")
    body = {"from": "app@example.org", "to": "bob@example.net", "subject": "x", "html": HTML, "stream": "broadcast"}
    id = tracking.api("POST", "/v1/mail/send", body, key)[1]["data"]["id"]
    until(lambda: tracking.api("GET", f"/v1/mail/messages/{id}", key=key)[1]["data"]["status"] == "sent")
    shown = tracking.api("GET", f"/v1/mail/messages/{id}/content", key=key)[1]["data"]
    assert shown["captured"] and "/t/o/" in shown["html"] and "/t/c/" not in shown["html"]
    plain = tracking.api("POST", "/v1/mail/send", {**body, "stream": "transactional"}, key)[1]["data"]["id"]
    until(lambda: tracking.api("GET", f"/v1/mail/messages/{plain}", key=key)[1]["data"]["status"] == "sent")
    assert "/t/" not in tracking.api("GET", f"/v1/mail/messages/{plain}/content", key=key)[1]["data"]["html"]


def test_visits_outlive_a_crash(tracking: Daemon, sink: ScriptedMx) -> None:
    key = tracking.key()
    body = {"from": "app@example.org", "to": "bob@example.net", "subject": "x", "html": HTML}
    id = tracking.api("POST", "/v1/mail/send", {**body, "tracking": {"opens": True}}, key)[1]["data"]["id"]
    pixel = LINK.findall(html_of(sink.wait_messages(1)[0]))[0]
    until(lambda: tracking.api("GET", f"/v1/mail/messages/{id}", key=key)[1]["data"]["status"] == "sent")
    assert ask(pixel)[0] == 200
    assert (
        tracking.api("PUT", "/v1/mail/tracking/settings", {"opens": False}, key)[0] == 200
    )  # a write after it: durable
    tracking.kill()
    tracking.start()

    def opened() -> bool:
        shown = tracking.api("GET", f"/v1/mail/messages/{id}/engagement", key=key)[1]["data"]
        return bool(shown["opens"]["unique"] == 1)

    assert until(opened)
