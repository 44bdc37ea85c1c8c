"""Opens and clicks end to end but for the wire: visits of tokens, what is told, counted and shown, and settings."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from mta import ids
from mta.control.retention import Retention
from mta.control.tracking import MAX_USER_AGENT, Tracking, Visitor
from mta.model import DeliveryStatus, Principal, Queued
from mta.protocol import tracking, unsubscribe
from mta.protocol.tracking import Hit
from mta.protocol.unsubscribe import Subscription
from mta.store import deliveries
from mta.store.secrets import Secrets
from tests.api.conftest import House
from tests.api.test_messages import settled

SECRETS = Secrets(bytes(32))
KEY = SECRETS.derive(tracking.KEY)
CHROME = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"}
OFFER, SHOP = "https://example.com/offer?a=1&b=2", "https://example.com/shop"
MAIL = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "html": f'<a href="{OFFER}">x</a>'}


class Later(Tracking):
    """As the house's own, some time after all mail was delivered."""

    def __init__(self, house: House, ahead_ms: int = 60_000, **more: Any) -> None:
        self.ahead_ms = ahead_ms
        changed = msgspec.structs.replace(house.settings.tracking, **more)
        settings = msgspec.structs.replace(house.settings, tracking=changed)
        super().__init__(house.database, SECRETS, settings, clock=lambda: ids.now_ms() + self.ahead_ms)
        object.__setattr__(house.control, "tracking", self)

    async def judged(self) -> None:
        self.ahead_ms += 5_000
        assert await self.judge() == 0


async def sent(house: House, secret: str = "", **more: Any) -> Queued:
    """One message that was delivered; its delivery."""
    async with house.client(secret) as client:
        answer = await client.post("/v1/mail/send", json={**MAIL, "tracking": {"opens": True, "clicks": True}, **more})
    assert answer.status_code == 202, answer.text
    queued = house.offered[-1]
    await settled(house, queued, DeliveryStatus.DELIVERED, "250 2.0.0 ok")
    return queued


def link(queued: Queued, url: str) -> str:
    return f"/t/c/{tracking.encode(Hit(queued.delivery_id, url), KEY)}"


def pixel(queued: Queued) -> str:
    return f"/t/o/{tracking.encode(Hit(queued.delivery_id, ''), KEY)}"


async def visit(house: House, path: str, headers: dict[str, str] = CHROME, method: str = "GET") -> httpx.Response:
    async with house.client(None) as client:
        return await client.request(method, path, headers=headers)


async def engagement(house: House, queued: Queued, secret: str = "") -> Any:
    async with house.client(secret) as client:
        answer = await client.get(f"/v1/mail/messages/{queued.message_id}/engagement")
    return answer.json()["data"] if answer.status_code == 200 else answer.status_code


async def told(house: House, queued: Queued, secret: str = "") -> list[dict[str, Any]]:
    """Opens and clicks in the timeline: their name and metadata, oldest first."""
    async with house.client(secret) as client:
        answer = await client.get(f"/v1/mail/messages/{queued.message_id}/timeline")
    names = ("mail.message.opened", "mail.message.clicked")
    return [{"type": one["type"], **one["metadata"]} for one in answer.json()["data"]["data"] if one["type"] in names]


async def figures(house: House, secret: str = "") -> tuple[int, int]:
    async with house.client(secret) as client:
        totals = (await client.get("/v1/mail/analytics")).json()["data"]["totals"]
    return totals["opened"], totals["clicked"]


async def test_an_open_and_clicks_are_told_counted_and_shown(house: House) -> None:
    later = Later(house)
    queued = await sent(house)
    image = await visit(house, pixel(queued))
    assert image.status_code == 200 and image.headers["content-type"] == "image/gif" and image.content[:6] == b"GIF89a"
    assert image.headers["cache-control"] == "no-store"
    for url, ahead in ((OFFER, 10_000), (SHOP, 10_000), (OFFER, 10_000)):
        later.ahead_ms += ahead
        answer = await visit(house, link(queued, url))
        assert answer.status_code == 302 and answer.headers["location"] == url and answer.content == b""
        assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    await visit(house, pixel(queued))
    await later.judged()
    events = await told(house, queued)
    assert [(event["type"], event["automated"], event["first"], event.get("url")) for event in events] == [
        ("mail.message.opened", False, True, None),
        ("mail.message.clicked", False, True, OFFER),
        ("mail.message.clicked", False, False, SHOP),
        ("mail.message.clicked", False, False, OFFER),
        ("mail.message.opened", False, False, None),
    ]
    assert all(
        event["recipient"] == "bob@example.org" and event["userAgent"] == CHROME["User-Agent"] for event in events
    )
    assert all("address" not in event for event in events) and "openedAt" in events[0] and "clickedAt" in events[1]
    shown = await engagement(house, queued)
    assert (shown["opens"]["total"], shown["opens"]["unique"], shown["opens"]["automated"]) == (2, 1, 0)
    assert (shown["clicks"]["total"], shown["clicks"]["unique"]) == (3, 1)
    assert [(one["url"], one["total"], one["unique"]) for one in shown["links"]] == [(OFFER, 2, 1), (SHOP, 1, 1)]
    assert shown["recipients"][0]["firstOpenedAt"] == events[0]["openedAt"] == shown["opens"]["firstAt"]
    assert shown["tracking"] == {"opens": True, "clicks": True}
    assert await figures(house) == (1, 1)
    async with house.client() as client:
        rates = (await client.get("/v1/mail/analytics")).json()["data"]["rates"]
    assert rates["openRate"] == rates["clickRate"] == 1


async def test_programs_are_told_apart_and_not_counted(house: House) -> None:
    later = Later(house)
    queued = await sent(house)
    await visit(house, pixel(queued), {"User-Agent": "Mozilla/5.0"})
    await visit(house, pixel(queued), {"User-Agent": ""})
    await visit(house, pixel(queued), {**CHROME, "Sec-Purpose": "prefetch;prerender"})
    await visit(house, link(queued, OFFER), {"User-Agent": "curl/8.5.0"})
    later.ahead_ms += 10_000
    await visit(house, link(queued, OFFER))
    await visit(house, link(queued, SHOP))
    await visit(house, pixel(queued), method="HEAD")
    assert (await visit(house, link(queued, OFFER), method="HEAD")).headers["location"] == OFFER
    await later.judged()
    events = await told(house, queued)
    assert [event["automatedBecause"] for event in events] == [
        "privacy_proxy",
        "no_user_agent",
        "prefetch",
        "scanner",
        "links_at_once",
        "links_at_once",
        "prefetch",
        "prefetch",
    ]
    assert all(event["automated"] and not event["first"] for event in events)
    shown = await engagement(house, queued)
    assert shown["opens"] == {"total": 0, "unique": 0, "automated": 4, "firstAt": None}
    assert shown["clicks"] == {"total": 0, "unique": 0, "automated": 4, "firstAt": None}
    assert await figures(house) == (0, 0)
    milestones = await house.control.messages.milestones(Principal(house.organization_id), [queued.message_id])
    assert milestones[queued.message_id].opened_at is None
    assert milestones[queued.message_id].last_event == "delivery.delivered"
    later.ahead_ms += 10_000
    await visit(house, pixel(queued))  # a person, at last
    await later.judged()
    assert (await told(house, queued))[-1]["first"] is True and await figures(house) == (1, 0)


async def test_a_click_after_a_burst_that_was_judged_is_still_part_of_it(house: House) -> None:
    later = Later(house)
    queued = await sent(house)
    await visit(house, link(queued, OFFER))
    later.ahead_ms += 1500
    await visit(house, link(queued, SHOP))
    assert await later.judge() == 1  # the first is ripe, the second not
    later.ahead_ms += 600
    await visit(house, link(queued, OFFER))
    await later.judged()
    assert [event.get("automatedBecause") for event in await told(house, queued)] == [
        None,
        "links_at_once",
        "links_at_once",
    ]


async def test_at_delivery(house: House) -> None:
    later = Later(house, ahead_ms=0)
    queued = await sent(house)
    await visit(house, pixel(queued))
    async with house.client() as client:
        await client.post("/v1/mail/send", json=MAIL)
    waiting = house.offered[-1]
    await visit(house, pixel(waiting))  # a scanner at the door, before the server took it
    await later.judged()
    assert [event["automatedBecause"] for event in await told(house, queued)] == ["at_delivery"]
    assert (await told(house, waiting))[0]["automatedBecause"] == "at_delivery"
    await settled(house, waiting, DeliveryStatus.DELIVERED, "250 2.0.0 ok")
    later.ahead_ms += 60_000
    await visit(house, pixel(waiting))
    await later.judged()
    assert (await told(house, waiting))[1]["automated"] is False


@pytest.mark.parametrize("token", ["x", "A" * 64, "A" * 5000, "%3Cscript%3E", "https:%2F%2Fevil.example%2F", "..%2F"])
async def test_no_token_no_redirect(house: House, token: str) -> None:
    for query in ("", "?url=https://evil.example/", "?u=https://evil.example"):
        answer = await visit(house, f"/t/c/{token}{query}")
        assert answer.status_code == 404 and "location" not in answer.headers and "<script" not in answer.text
        assert (await visit(house, f"/t/o/{token}{query}")).status_code in (200, 404)


async def test_a_forged_token_leads_nowhere(house: House) -> None:
    queued = await sent(house)
    good = link(queued, OFFER)
    forged = tracking.encode(Hit(queued.delivery_id, "https://evil.example/"), b"x" * 32)
    for path in (f"/t/c/{forged}", good[:-1], good + "A", good[:-2] + ("AA" if good[-2:] != "AA" else "BB")):
        answer = await visit(house, path)
        assert answer.status_code == 404 and "location" not in answer.headers
        assert answer.headers["content-type"].startswith("text/html") and "Unknown link" in answer.text
    swapped = await visit(house, pixel(queued).replace("/o/", "/c/"))
    assert swapped.status_code == 404
    assert (await visit(house, good.replace("/c/", "/o/"))).status_code == 200  # an image; nothing is recorded
    assert (await visit(house, good + "?url=https://evil.example/")).headers["location"] == OFFER
    later = Later(house)
    await later.judged()
    assert [event["type"] for event in await told(house, queued)] == ["mail.message.clicked"]


async def test_every_host_and_every_address(house: House) -> None:
    queued = await sent(house)
    for host in ("links.example.com", "anything.example", "[::1]"):
        assert (await visit(house, link(queued, OFFER), {**CHROME, "Host": host})).headers["location"] == OFFER
    odd = "https://grün.example/ü b?\u2028"
    answer = await visit(house, link(queued, odd))
    assert answer.headers["location"] == "https://gr%C3%BCn.example/%C3%BC%20b?%E2%80%A8"


async def test_an_unknown_delivery_still_leads_on(house: House) -> None:
    later = Later(house)
    path = f"/t/c/{tracking.encode(Hit('dlv_' + '0' * 26, OFFER), KEY)}"
    assert (await visit(house, path)).headers["location"] == OFFER
    await later.judged()


async def test_a_hot_pixel_is_bounded(house: House) -> None:
    later = Later(house, events_per_recipient=5)
    queued = await sent(house)
    token = pixel(queued).rpartition("/")[2]
    for round in range(3):
        for _ in range(50):
            later.visit(token, Visitor("x" * 5000 + "\n"), pixel=True)
        later.ahead_ms += 10_000
        await later.judged()
        assert len(await told(house, queued)) == 5
        assert (await engagement(house, queued))["opens"]["total"] == 5 * (round + 1)
    assert len((await told(house, queued))[0]["userAgent"]) == MAX_USER_AGENT


async def test_the_address_is_kept_only_where_the_operator_wants_it(house: House) -> None:
    later = Later(house, keep_addresses=True)
    queued = await sent(house)
    await visit(house, pixel(queued))
    await later.judged()
    assert (await told(house, queued))[0]["address"] == "127.0.0.1"


async def test_test_mail_and_other_organizations_are_apart(house: House) -> None:
    later = Later(house)
    test = await house.key(test=True)
    queued = await sent(house, test)
    await visit(house, pixel(queued))
    await later.judged()
    assert (await figures(house, test), await figures(house)) == ((1, 0), (0, 0))
    assert (await engagement(house, queued, test))["opens"]["unique"] == 1
    other = await house.key(organization_id=(await house.control.organizations.create("other")).id)
    assert await engagement(house, queued) == await engagement(house, queued, other) == 404


async def test_who_says_what_is_tracked(house: House) -> None:
    """A send before its stream, before its domain, before its organization, before the server."""

    async def tracked(**more: Any) -> tuple[bool, bool]:
        async with house.client() as client:
            answer = await client.post("/v1/mail/send", json={**MAIL, **more})
            assert answer.status_code == 202
        return house.offered[-1].track_opens, house.offered[-1].track_clicks

    async def put(**body: Any) -> Any:
        async with house.client() as client:
            return (await client.put("/v1/mail/tracking/settings", json=body)).json()["data"]

    domain = (await house.control.domains.page(house.organization_id)).items[0].domain.id
    assert await tracked() == (False, False)
    assert await tracked(tracking={"opens": True}) == (True, False)
    assert await put(opens=True, clicks=True) == {"opens": True, "clicks": True, "streams": {}}
    assert await tracked() == (True, True)
    async with house.client() as client:
        said = (await client.put(f"/v1/mail/tracking/domains/{domain}", json={"clicks": False})).json()["data"]
    assert (said["opens"], said["clicks"], said["hostname"], said["status"]) == (None, False, "", "none")
    assert await tracked() == (True, False)
    shown = await put(opens=False, clicks=True, stream="transactional")
    assert shown["streams"] == {"transactional": {"opens": False, "clicks": True}} and shown["opens"] is True
    assert await tracked() == (False, True) and await tracked(stream="broadcast") == (True, False)
    assert await tracked(tracking={"opens": True, "clicks": False}) == (True, False)
    assert (await put(opens=None, stream="transactional"))["streams"] == {
        "transactional": {"opens": None, "clicks": True}
    }
    assert await tracked() == (True, True)
    assert await put(clicks=None, stream="transactional") == {"opens": True, "clicks": True, "streams": {}}
    assert (await put(opens=None))["opens"] is False
    async with house.client() as client:
        refused = await client.put("/v1/mail/tracking/settings", json={"opens": True, "stream": "none"})
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "stream_not_found"


async def test_a_one_time_code_is_never_tracked(house: House) -> None:
    async with house.client() as client:
        await client.put("/v1/mail/tracking/settings", json={"opens": True, "clicks": True})
        await client.post("/v1/mail/otp/send", json={"to": "bob@example.org", "purpose": "login"})
    assert (house.offered[-1].track_opens, house.offered[-1].track_clicks) == (False, False)


async def test_the_products_client(house: House) -> None:
    queued = await sent(house)
    domain = (await house.control.domains.page(house.organization_id)).items[0].domain.id

    def use() -> None:
        client = StackShift(api_key=house.secret, mail_base_url=house.url + "/v1").mail.tracking
        assert client.settings()["opens"] is False
        assert client.update_settings(opens=True, clicks=False)["opens"] is True
        assert client.message(queued.message_id)["opens"]["unique"] == 0
        assert client.domains()["data"] == []
        made = client.create_domain(domain, "links.example.com")
        assert (made["hostname"], made["status"], made["enabled"]) == ("links.example.com", "pending", True)
        assert made["records"][0]["value"] == "mail.posthouse.test"
        house.dns.records["links.example.com"] = {"CNAME": ["elsewhere.example"]}
        assert client.verify_domain(made["id"])["status"] == "failed"
        house.dns.records["links.example.com"] = {"CNAME": ["mail.posthouse.test"]}
        assert client.verify_domain(made["id"])["status"] == "verified"
        assert [one["hostname"] for one in client.domains()["data"]] == ["links.example.com"]
        client.update_domain(made["id"], enabled=False)
        assert client.domains()["data"][0]["enabled"] is False
        client.update_domain(made["id"], enabled=True, revoke=True)
        assert client.domains()["data"] == []
        with pytest.raises(StackShiftAPIError) as refused:
            client.create_domain(domain, "links.example.net")
        assert refused.value.status_code == 400

    await asyncio.to_thread(use)


async def test_a_host_with_our_addresses_is_ours_and_links_use_only_what_was_verified(house: House) -> None:
    domain = (await house.control.domains.page(house.organization_id)).items[0].domain.id

    async def host(name: str, records: dict[str, Any] | None) -> tuple[str, str]:
        house.dns.records.pop(name, None)
        if records:
            house.dns.records[name] = records
        await house.control.domains.change(house.organization_id, domain, {"tracking_host": name})
        view = await house.control.domains.verify(house.organization_id, domain)
        return next(each.status for each in view.records if each.check == "tracking"), view.domain.link_host

    house.dns.records["mail.posthouse.test"] = {"A": ["192.0.2.7"]}
    assert await host("a.example.com", {"A": ["192.0.2.7"]}) == ("verified", "a.example.com")
    view = await house.control.domains.change(house.organization_id, domain, {"tracking_host": "b.example.com"})
    assert view.domain.link_host == "" and view.records[-1].status == "pending"  # nobody has looked at that one
    assert await host("b.example.com", {"A": ["192.0.2.8"]}) == ("failed", "")
    assert await host("c.example.com", None) == ("missing", "")


async def test_what_happened_long_ago_is_forgotten(house: House) -> None:
    later = Later(house)
    queued = await sent(house)
    await visit(house, link(queued, OFFER))
    await later.judged()
    days = house.settings.retention.events_days
    for ahead, left in ((0, 1), (days + 2, 0)):
        await Retention(
            house.database, house.settings, clock=lambda ahead=ahead: ids.now_ms() + ahead * 86_400_000
        ).sweep()
        assert (await engagement(house, queued))["clicks"]["unique"] == left
    assert await house.database.read(deliveries.by_id, queued.delivery_id) is not None


async def test_leaving_a_stream_is_told_as_the_messages_own(house: House) -> None:
    async with house.client() as client:
        id = (await client.post("/v1/mail/send", json={**MAIL, "stream": "broadcast"})).json()["data"]["id"]
        token = unsubscribe.encode(
            Subscription(house.organization_id, False, "broadcast", "bob@example.org", id),
            SECRETS.derive(unsubscribe.KEY),
        )
        for _ in range(2):
            assert (await client.post(f"/t/unsubscribe/{token}")).status_code == 200
        timeline = (await client.get(f"/v1/mail/messages/{id}/timeline")).json()["data"]["data"]
    assert [one["type"] for one in timeline].count("mail.message.unsubscribed") == 1


async def test_a_proxy_may_ask_which_hosts_are_ours(house: House) -> None:
    later = Later(house)
    domain = (await house.control.domains.page(house.organization_id)).items[0].domain.id
    await house.control.domains.change(house.organization_id, domain, {"tracking_host": "links.example.com"})
    for records, status in (({}, 404), ({"links.example.com": {"CNAME": ["mail.posthouse.test"]}}, 200)):
        house.dns.records.update(records)
        await house.control.domains.verify(house.organization_id, domain)
        later.ahead_ms += 60_000
        for name in ("links.example.com", "Links.Example.COM."):
            assert (await visit(house, f"/t/host?domain={name}")).status_code == status
    await house.control.domains.change(house.organization_id, domain, {"tracking_enabled": False})
    later.ahead_ms += 60_000
    assert (
        await visit(house, "/t/host?domain=links.example.com")
    ).status_code == 200  # mail that was sent has links there
    assert (await visit(house, "/t/host?domain=mail.posthouse.test")).status_code == 200
    for other in ("evil.example", "%00", "example.com"):
        assert (await visit(house, f"/t/host?domain={other}")).status_code == 404


async def test_a_template_that_is_tried_is_not_tracked(house: House) -> None:
    async with house.client() as client:
        await client.put("/v1/mail/tracking/settings", json={"opens": True, "clicks": True})
        template = {"name": "W", "slug": "w", "subject": "Hi", "html": f'<a href="{OFFER}">x</a>'}
        await client.post("/v1/mail/templates", json=template)
        await client.post("/v1/mail/templates/w/test-send", json={"to": "bob@example.org"})
        assert (house.offered[-1].track_opens, house.offered[-1].track_clicks) == (False, False)
        await client.post(
            "/v1/mail/send-template", json={"template": "w", "to": "bob@example.org", "from": "ada@example.com"}
        )
        assert (house.offered[-1].track_opens, house.offered[-1].track_clicks) == (True, True)
