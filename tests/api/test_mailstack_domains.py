"""MailStack's domains: made, published, verified, used, reported on, deleted."""

from typing import Any

from tests.api.conftest import House
from tests.api.published import publish


async def asked(house: House, method: str, path: str, status: int = 200, **body: Any) -> Any:
    async with house.client() as client:
        answer = await client.request(method, f"/v1{path}", json=body or None)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_domain_from_its_creation_to_its_first_mail(house: House) -> None:
    made = await asked(house, "POST", "/domains", 201, domain="Shop.example", mailFromSubdomain="mail")
    assert (made["domain"], made["status"]) == ("shop.example", "Pending")
    assert made["customMailFromDomain"] == "mail.shop.example" and made["verifiedAt"] is None
    records = {record["purpose"]: record for record in made["dnsRecords"]}
    assert set(records) == {"OWNERSHIP", "DKIM", "MAIL FROM", "SPF", "DMARC"}
    path = records["MAIL FROM"]
    assert (path["type"], path["name"], path["value"]) == ("MX", "mail.shop.example", "10 mail.posthouse.test")
    assert records["SPF"]["name"] == "mail.shop.example" and {each["ttl"] for each in made["dnsRecords"]} == {3600}
    waiting = await asked(house, "POST", f"/domains/{made['id']}/verify")
    assert (waiting["status"], waiting["verifiedAt"]) == ("Pending", None)

    publish(house, ((each["type"], each["name"], each["value"]) for each in made["dnsRecords"]))
    verified = await asked(house, "POST", f"/domains/{made['id']}/verify")
    assert (verified["id"], verified["status"]) == (made["id"], "Verified") and verified["verifiedAt"].endswith("Z")
    assert {each["status"] for each in verified["dnsRecords"]} == {"Verified"}
    async with house.client() as client:
        mail = {"from": "a@shop.example", "to": "bob@example.org", "subject": "x", "text": "x"}
        assert (await client.post("/v1/mail/send", json=mail)).status_code == 202

    house.dns.records.clear()
    assert (await asked(house, "POST", f"/domains/{made['id']}/verify"))["status"] == "Failed"
    assert (await asked(house, "GET", "/domains"))[0]["id"] == made["id"]
    assert (await asked(house, "GET", f"/domains/{made['id']}"))["dnsRecords"][0]["status"] == "Pending"
    assert await asked(house, "DELETE", f"/domains/{made['id']}") == {"status": "ok"}
    await asked(house, "GET", f"/domains/{made['id']}", 404)


async def test_what_cannot_be_added_is_refused_with_the_field_as_it_is_called_here(house: House) -> None:
    await asked(house, "POST", "/domains", 201, domain="shop.example")
    twice = await asked(house, "POST", "/domains", 409, domain="SHOP.example")
    assert twice["error"] == "domain_exists" and "shop.example" in twice["message"]
    refused = await asked(house, "POST", "/domains", 400, domain="other.example", mailFromSubdomain="a b")
    assert (refused["error"], refused["field"]) == ("invalid_mail_from", "mailFromSubdomain")
    assert (await asked(house, "POST", "/domains", 400, domain="localhost"))["error"] == "invalid_domain"


async def test_the_list_goes_on_after_its_last_id(house: House) -> None:
    for number in range(3):
        await asked(house, "POST", "/domains", 201, domain=f"shop{number}.example")
    first = await asked(house, "GET", "/domains?limit=3")
    assert [each["domain"] for each in first] == ["shop2.example", "shop1.example", "shop0.example"]
    rest = await asked(house, "GET", f"/domains?cursor={first[-1]['id']}")
    assert [each["domain"] for each in rest] == ["example.com"]


async def test_the_blocklists_say_what_they_know(house: House) -> None:
    (domain,) = await asked(house, "GET", "/domains")
    house.dns.records |= {
        "mail.posthouse.test": {"A": ["198.51.100.25"]},
        "25.100.51.198.zen.spamhaus.org": {"A": ["127.0.0.4"], "TXT": ["Listed: see the list"]},
        "2.0.0.127.psbl.surriel.com": {"A": ["127.0.0.2"]},
        "example.com.dbl.spamhaus.org": {"A": ["127.255.255.254"]},
    }
    report = await asked(house, "GET", f"/domains/{domain['id']}/blocklist")
    assert (report["domain"], report["status"]) == ("example.com", "Listed") and report["checkedAt"].endswith("Z")
    found = {each["list"]: each for each in report["listings"]}
    assert found["zen.spamhaus.org"] == {
        "list": "zen.spamhaus.org",
        "checked": "198.51.100.25",
        "listed": True,
        "status": "Listed",
        "answer": "127.0.0.4",
        "reason": "Listed: see the list",
    }
    clean, refused = found["psbl.surriel.com"], found["dbl.spamhaus.org"]
    assert (clean["listed"], clean["status"], clean["answer"], clean["reason"]) == (False, "Clean", None, None)
    assert (refused["listed"], refused["status"], refused["answer"]) == (None, "Unknown", "127.255.255.254")


async def test_a_key_needs_the_scope(house: House) -> None:
    reader = await house.key("domains:read")
    async with house.client(reader) as client:
        assert (await client.get("/v1/domains")).status_code == 200
        assert (await client.post("/v1/domains", json={"domain": "shop.example"})).status_code == 403
