"""Stack0's domains, at both of its mounts: records, verification, the default of mail without a sender."""

from typing import Any

import pytest

from mta.control import domains
from mta.model import Principal
from tests.api.conftest import House
from tests.api.published import publish

Record = dict[str, Any]


async def asked(house: House, method: str, path: str, status: int = 200, **body: Any) -> Any:
    async with house.client() as client:
        answer = await client.request(method, f"/mail{path}", json=body or ({} if method == "POST" else None))
    assert answer.status_code == status, answer.text
    return answer.json()


def flat(record: Record) -> tuple[str, str, str]:
    value = f"{record['priority']} {record['value']}" if "priority" in record else record["value"]
    return record["type"], record["name"], value


async def test_a_domain_from_its_creation_to_its_default(house: House) -> None:
    labels = {"projectSlug": "shop", "environment": "production"}
    made = await asked(house, "POST", "/domains", 201, domain="shop.example", **labels)
    domain, records = made["domain"], made["dnsRecords"]
    assert (domain["domain"], domain["status"], domain["isDefault"]) == ("shop.example", "pending", False)
    assert records["domain"] == "shop.example" and len(records["dkimRecords"]) == 2
    assert records["verificationToken"] == records["sesVerificationRecord"]["value"] == domain["verificationToken"]
    assert records["spfRecord"]["value"].startswith("v=spf1 ") and "priority" not in records["spfRecord"]
    assert domain["dkimRecord"] == records["dkimRecords"] and domain["organizationId"] == house.organization_id
    waiting = await asked(house, "POST", f"/domains/{domain['id']}/verify")
    assert not waiting["verified"] and "There is no TXT record at _posthouse.shop.example" in waiting["message"]
    await asked(house, "POST", f"/domains/{domain['id']}/default", 400)

    single = ("spfRecord", "dmarcRecord", "returnPathRecord", "sesVerificationRecord")
    publish(house, map(flat, [*records["dkimRecords"], *(records[name] for name in single)]))
    assert await asked(house, "POST", f"/domains/{domain['id']}/verify") == {
        "verified": True,
        "message": "shop.example may send.",
    }
    shown = await asked(house, "GET", f"/domains/{domain['id']}/dns")
    assert (shown["status"], shown["domain"]) == ("verified", "shop.example") and shown["verifiedAt"].endswith("Z")
    assert shown["verificationDetails"] == {
        "domainVerified": True,
        "dkimVerified": True,
        "verificationStatus": "verified",
        "dkimStatus": "verified",
    }
    assert {name: shown[name] for name in records} == records
    assert (await house.control.templates.default_sender(Principal(house.organization_id)))[1].domain == "example.com"
    assert (await asked(house, "POST", f"/domains/{domain['id']}/default"))["isDefault"] is True
    assert (await house.control.templates.default_sender(Principal(house.organization_id)))[1].domain == "shop.example"
    listed = await asked(house, "GET", "/domains?projectSlug=&environment=production")
    assert [(each["domain"], each["isDefault"]) for each in listed] == [("shop.example", True), ("example.com", False)]
    assert await asked(house, "DELETE", f"/domains/{domain['id']}") == {"success": True}
    assert [each["isDefault"] for each in await asked(house, "GET", "/domains")] == [True]  # the oldest again


async def test_all_domains_are_listed_however_many_are_read_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "BATCH", 2)
    for number in range(3):
        await asked(house, "POST", "/domains", 201, domain=f"shop{number}.example")
    listed = [each["domain"] for each in await asked(house, "GET", "/domains")]
    assert listed == ["shop2.example", "shop1.example", "shop0.example", "example.com"]


async def test_a_default_that_may_no_longer_send_gives_way(house: House) -> None:
    control, owner = house.control.domains, house.organization_id
    made = await control.create(owner, "shop.example", trusted=True)
    await control.make_default(owner, made.domain.id)
    assert await control.default(owner) == made.domain.id
    await control.disable(owner, made.domain.id)
    assert await control.default(owner) != made.domain.id
    verdict = await asked(house, "POST", f"/domains/{made.domain.id}/verify")
    assert not verdict["verified"] and "switched off" in verdict["message"]


@pytest.mark.parametrize("name", ["localhost", "a b.example", ""])
async def test_what_is_no_domain_is_refused(house: House, name: str) -> None:
    refused = await asked(house, "POST", "/domains", 400, domain=name)
    assert refused["error"]["code"] == "VALIDATION_ERROR"


async def test_the_other_mount_is_the_same(house: House) -> None:
    async with house.client() as client:
        assert (await client.get("/stack0/v1/mail/domains")).json() == (await client.get("/mail/domains")).json()
