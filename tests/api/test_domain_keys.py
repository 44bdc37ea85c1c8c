"""DKIM keys change without losing mail: with TXT records, behind CNAME records into the operator's zone, by force."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.zone
import msgspec
import pytest

from mta import ids
from mta.control import recheck
from mta.control.domains import Domains, DomainView
from mta.control.recheck import Recheck
from mta.errors import Conflict, InvalidInput, NotFound
from mta.net.dns import Resolver
from mta.outbound.sign import Signer
from mta.store import domains as stored
from mta.store.secrets import Secrets
from tests.api.conftest import House

BODY = {"from": "a@example.net", "to": "bob@example.org", "subject": "x", "text": "x"}
DAY_MS = 86_400_000


def delegated(house: House) -> Domains:
    """The same store, with a zone of the operator's own."""
    settings = msgspec.structs.replace(house.settings, dns_zone="keys.posthouse.test")
    resolver = Resolver([house.dns.server], timeout=2)
    return Domains(house.database, resolver, Secrets(bytes(32)), settings)


def publish(house: House, view: DomainView) -> None:
    house.dns.records |= {"mail.posthouse.test": {"A": ["198.51.100.25"]}}
    for record in view.records:
        value: Any = (record.priority, record.value) if record.type == "MX" else record.value
        house.dns.records[record.name] = house.dns.records.get(record.name, {}) | {record.type: [value]}


async def publish_zone(house: House, control: Domains) -> None:
    """What the operator does: the zone's file into a name server."""
    for name in [name for name in house.dns.records if name.endswith(".keys.posthouse.test")]:
        del house.dns.records[name]
    zone = dns.zone.from_text(await control.zone(), "keys.posthouse.test.")
    for name, node in zone.items():
        entry: dict[str, Any] = {}
        for rdataset in node:
            kind = rdataset.rdtype.name
            if kind == "TXT":
                entry["TXT"] = [b"".join(rdata.strings).decode() for rdata in rdataset]
            elif kind == "MX":
                entry["MX"] = [(rdata.preference, rdata.exchange.to_text(True)) for rdata in rdataset]
        house.dns.records[f"{name}.keys.posthouse.test"] = entry


async def keys(house: House, view: DomainView) -> dict[str, str]:
    """Selector and state of each."""
    found = await house.database.read(stored.keys, view.domain.id)
    return {key.selector: key.state for key in found}


async def signing(house: House) -> set[str]:
    found = await house.database.read(stored.signing_keys, house.organization_id, "example.net")
    return {key.selector for key in found}


async def test_with_txt_records_the_next_key_signs_once_it_is_published(house: House) -> None:
    control, organization_id = house.control.domains, house.organization_id
    made = await control.create(organization_id, "example.net")
    assert sorted((await keys(house, made)).values()) == ["active", "next"]  # nobody could check the second one yet
    publish(house, made)
    await control.verify(organization_id, made.domain.id)
    first = await signing(house)
    assert len(first) == 2
    rotated = await control.rotate(organization_id, made.domain.id)
    assert [each.purpose for each in rotated.records if each.status == "pending"] == ["DKIM, next key", "DKIM Ed25519"]
    again = await control.rotate(organization_id, made.domain.id)
    assert again == rotated  # not another one each time
    await control.verify(organization_id, made.domain.id)
    assert await signing(house) == first
    publish(house, rotated)
    switched = await control.verify(organization_id, made.domain.id)
    assert switched.domain.status == "verified"
    assert not await signing(house) & first and len(await signing(house)) == 2
    retired = [record for record in switched.records if record.purpose.endswith("retired key")]
    assert {record.name.split(".")[0] for record in retired} == first
    assert all("leave this record until" in record.explanation for record in retired)


async def test_force_switches_unseen_and_the_second_signature_follows_its_record(house: House) -> None:
    control, organization_id = house.control.domains, house.organization_id
    made = await control.create(organization_id, "example.net")
    publish(house, made)
    await control.verify(organization_id, made.domain.id)
    first = await signing(house)
    forced = await control.rotate(organization_id, made.domain.id, force=True)
    assert not await signing(house) & first
    publish(house, forced)
    assert (await control.verify(organization_id, made.domain.id)).domain.status == "verified"
    second = next(record for record in forced.records if record.purpose == "DKIM Ed25519")
    house.dns.records[second.name] = "SERVFAIL"
    await control.verify(organization_id, made.domain.id)
    assert len(await signing(house)) == 2
    del house.dns.records[second.name]
    assert (await control.verify(organization_id, made.domain.id)).domain.status == "verified"
    assert len(await signing(house)) == 1


async def test_a_trusted_domain_that_the_dns_never_showed_switches_at_once(house: House) -> None:
    control = house.control.domains
    made = await control.create(house.organization_id, "example.net", trusted=True)
    first = await signing(house)
    await control.rotate(house.organization_id, made.domain.id)
    assert len(await signing(house)) == 2 and not await signing(house) & first


async def test_behind_cname_records_keys_change_without_the_customer(house: House) -> None:
    control, organization_id = delegated(house), house.organization_id
    made = await control.create(organization_id, "example.net")
    types = {record.purpose: record.type for record in made.records}
    assert types == {
        "ownership": "TXT",
        "DKIM": "CNAME",
        "DKIM, second selector": "CNAME",
        "DKIM Ed25519": "CNAME",
        "DKIM Ed25519, second selector": "CNAME",
        "return path": "CNAME",
        "DMARC": "TXT",
    }
    publish(house, made)
    waits = await control.verify(organization_id, made.domain.id)
    behind = {record.purpose: record for record in waits.records}
    assert waits.domain.status == "pending"
    assert {behind[each].status for each in ("DKIM", "DKIM Ed25519", "return path")} == {"pending"}
    assert "operator" in behind["DKIM"].explanation and "operator" in behind["return path"].explanation
    await publish_zone(house, control)
    found = await control.verify(organization_id, made.domain.id)
    assert found.domain.status == "verified" and {record.status for record in found.records} == {"verified"}
    assert found.status("spf") == "verified"

    first = await signing(house)
    await control.rotate(organization_id, made.domain.id)
    await control.verify(organization_id, made.domain.id)
    assert await signing(house) == first  # the zone is not published yet
    await publish_zone(house, control)
    found = await control.verify(organization_id, made.domain.id)
    assert {record.status for record in found.records} == {"verified"}
    assert len(await signing(house)) == 2 and not await signing(house) & first
    assert {record.name for record in found.records} == {record.name for record in made.records}
    with pytest.raises(Conflict) as soon:
        await control.rotate(organization_id, made.domain.id)
    assert soon.value.code == "rotated_lately"
    await control.rotate(organization_id, made.domain.id, force=True)
    assert await signing(house) == first


@pytest.mark.parametrize("purpose", ["DKIM", "DKIM, second selector", "return path"])
async def test_a_cname_to_somebody_else_is_told(house: House, purpose: str) -> None:
    control = delegated(house)
    other = await house.control.organizations.create("other")
    made = await control.create(house.organization_id, "example.net")
    theirs = await control.create(other.id, "example.net")
    publish(house, made)
    record = next(each for each in made.records if each.purpose == purpose)
    foreign = next(each for each in theirs.records if each.purpose == purpose)
    house.dns.records[record.name] = {"CNAME": [foreign.value]}
    found = await control.verify(house.organization_id, made.domain.id)
    shown = next(each for each in found.records if each.purpose == purpose)
    assert shown.status == "failed" and foreign.value in shown.explanation


async def test_a_zone_splits_long_keys_and_needs_a_name(house: House) -> None:
    control = delegated(house)
    made = await control.create(house.organization_id, "example.net")
    lines = (await control.zone()).splitlines()
    rsa = next(line for line in lines if "k=rsa" in line)
    assert all(len(part) <= 255 for part in rsa.split('"')[1::2]) and rsa.count('"') == 4
    assert any(line.startswith("@ IN SOA mail.posthouse.test.") for line in lines)
    assert not any(" IN SOA " in line or " IN NS " in line for line in (await control.zone(bare=True)).splitlines())
    assert sum(" IN MX 10 mail.posthouse.test." in line for line in lines) == 2  # example.com's too
    assert made.domain.name in "".join(lines)
    with pytest.raises(NotFound):
        await house.control.domains.zone()


async def test_every_cname_target_of_a_domain_is_in_the_zone(house: House) -> None:
    control, organization_id = delegated(house), house.organization_id
    made = await control.create(organization_id, "example.net", {"mail_from": "send"})
    publish(house, made)
    await publish_zone(house, control)
    await control.verify(organization_id, made.domain.id)
    rotated = await control.rotate(organization_id, made.domain.id)
    for view in (made, rotated):
        zone = dns.zone.from_text(await control.zone(), "keys.posthouse.test.")
        targets = {record.value: record.check for record in view.records if record.type == "CNAME"}
        assert len(targets) == 5
        for target, check in targets.items():
            node = zone.get_node(target.removesuffix(".keys.posthouse.test"))
            assert node is not None, target
            assert {rdataset.rdtype.name for rdataset in node} == ({"TXT"} if "dkim/" in check else {"TXT", "MX"})
    waiting = await control.verify(organization_id, made.domain.id)  # its zone is the one from before the rotation
    assert waiting.domain.status == "verified"
    shown = {record.purpose: record for record in waiting.records}
    assert shown["DKIM, next key"].status == "pending" and "operator" in shown["DKIM, next key"].explanation


async def test_the_return_path_moves_and_is_used_once_it_is_found(house: House, signer: Signer) -> None:
    control, organization_id = house.control.domains, house.organization_id

    async def used() -> str:
        signer.forget(organization_id, "example.net")
        return (await signer.sender(organization_id, "example.net")).return_path

    made = await control.create(organization_id, "example.net", {"mail_from": "Send.example.net."})
    names = {record.purpose: record.name for record in made.records}
    assert names["return path"] == names["SPF"] == "send.example.net"
    publish(house, made)
    assert await used() == "mail.posthouse.test"
    await control.verify(organization_id, made.domain.id)
    assert await used() == "send.example.net"

    moved = await control.change(organization_id, made.domain.id, {"mail_from": "out.mail"})
    assert moved.domain.status == "verified"  # the return path is nothing that sending needs
    assert moved.status("return_path") == moved.status("spf") == "pending"
    assert await used() == "mail.posthouse.test"
    assert (await control.verify(organization_id, made.domain.id)).status("return_path") == "missing"
    publish(house, moved)
    await control.verify(organization_id, made.domain.id)
    assert await used() == "out.mail.example.net"
    await control.change(organization_id, made.domain.id, {"mail_from": "out.mail", "track_opens": True})
    assert await used() == "out.mail.example.net"  # nothing moved


async def test_a_look_at_the_old_return_path_says_nothing_of_the_new_one(house: House) -> None:
    control, organization_id = house.control.domains, house.organization_id
    made = await control.create(organization_id, "example.net")
    publish(house, made)
    house.dns.hold()
    looking = asyncio.create_task(control.verify(organization_id, made.domain.id))
    async with asyncio.timeout(10):
        while not house.dns.queries:
            await asyncio.sleep(0.01)
    await control.change(organization_id, made.domain.id, {"mail_from": "send"})
    house.dns.release()
    found = await looking
    assert found.domain.status == "verified" and found.status("return_path") == "pending"


@pytest.mark.parametrize("label", ["", ".", "a b", "_x", "x" * 64, "bounce.example.org/", "a..b"])
async def test_what_is_no_return_path_is_refused(house: House, label: str) -> None:
    made = await house.control.domains.create(house.organization_id, "example.net")
    with pytest.raises(InvalidInput) as refused:
        await house.control.domains.change(house.organization_id, made.domain.id, {"mail_from": label})
    assert refused.value.code == "invalid_mail_from" and refused.value.field == "mail_from"


async def test_return_path_and_tracked_links_need_two_names(house: House) -> None:
    change, organization_id = house.control.domains.change, house.organization_id
    made = await house.control.domains.create(organization_id, "example.net", {"tracking_host": "go.example.net"})
    with pytest.raises(InvalidInput) as refused:
        await change(organization_id, made.domain.id, {"mail_from": "go"})
    assert refused.value.field == "mail_from"
    with pytest.raises(InvalidInput) as refused:
        await change(organization_id, made.domain.id, {"tracking_host": "bounce.example.net"})
    assert refused.value.field == "tracking_host"


@pytest.fixture
async def signer(house: House, tmp_path: Path) -> AsyncIterator[Signer]:
    made = Signer(house.database, Secrets(bytes(32)), "mail.posthouse.test", tmp_path, house.settings.api.public_url)
    yield made
    await made.close()


async def test_queued_mail_is_signed_with_the_key_of_the_day_and_after_a_deletion(house: House, signer: Signer) -> None:
    control, organization_id = house.control.domains, house.organization_id
    made = await control.create(organization_id, "example.net")
    publish(house, made)
    await control.verify(organization_id, made.domain.id)
    async with house.client() as client:
        assert (await client.post("/v1/mail/send", json=BODY)).status_code == 202
    assert (await signer.sender(organization_id, "example.net")).return_path == "bounce.example.net"
    rotated = await control.rotate(organization_id, made.domain.id)
    publish(house, rotated)
    await control.verify(organization_id, made.domain.id)
    today = await signing(house)
    await control.change(organization_id, made.domain.id, {"require_tls": True})
    await control.delete(organization_id, made.domain.id)
    signer.forget(organization_id, "example.net")
    queued = await signer.sender(organization_id, "example.net")
    assert queued.require_tls and queued.return_path == "mail.posthouse.test"
    assert await signing(house) == today  # the message in the queue still gets its signature

    turn = Recheck(control, house.database, house.settings)
    await house.database.write(_age, made.domain.id, 30 * DAY_MS)
    await turn.turn()
    assert await signing(house) == today  # 30 days later it is still in the queue
    await house.database.write(lambda tx: tx.run("UPDATE deliveries SET status = 'delivered'"))
    await turn.turn()
    assert await signing(house) == set()


def _age(tx: Any, id: str, by_ms: int) -> None:
    tx.run("UPDATE domains SET deleted_at = deleted_at - :by WHERE id = :id", id=id, by=by_ms)


async def test_retired_keys_go_when_their_mail_is_at_its_end(house: House) -> None:
    control, organization_id = house.control.domains, house.organization_id
    made = await control.create(organization_id, "example.net", trusted=True)
    await control.rotate(organization_id, made.domain.id)
    assert sorted((await keys(house, made)).values()) == ["active", "active", "retired", "retired"]
    await control.verify(organization_id, made.domain.id)
    assert len(await keys(house, made)) == 4

    def age(tx: Any) -> None:
        for key in stored.keys(tx, made.domain.id):
            if key.state == "retired":
                stored.set_key_state(tx, key.id, "retired", ids.now_ms() - 8 * DAY_MS)

    await house.database.write(age)
    await control.verify(organization_id, made.domain.id)
    assert sorted((await keys(house, made)).values()) == ["active", "active"]


async def test_a_recheck_finds_what_changed_and_says_so(house: House) -> None:
    control, organization_id = house.control.domains, house.organization_id
    made = await control.create(organization_id, "example.net")
    turn = Recheck(control, house.database, house.settings)
    assert await turn.turn() == 0  # give people the time to publish
    publish(house, made)
    await house.database.write(stored.check_at, made.domain.id, 0)
    assert await turn.turn() == 1
    assert (await control.get(organization_id, made.domain.id)).domain.status == "verified"
    assert await turn.turn() == 0
    house.dns.records.clear()
    impatient = msgspec.structs.replace(
        house.settings, domains=msgspec.structs.replace(house.settings.domains, grace_s=0)
    )
    hasty = Domains(house.database, Resolver([house.dns.server]), Secrets(bytes(32)), impatient)
    await house.database.write(stored.check_at, made.domain.id, 0)
    await Recheck(hasty, house.database, impatient).turn()
    failed = [event for event in await house.control.events.recent(10) if event.type == "domain.failed"]
    assert len(failed) == 1
    assert failed[0].data["domain"] == "example.net" and "ownership" in failed[0].data["checks"]


async def test_the_recheck_runs_by_itself(house: House) -> None:
    made = await house.control.domains.create(house.organization_id, "example.net")
    publish(house, made)
    await house.database.write(stored.check_at, made.domain.id, 0)
    running = Recheck(house.control.domains, house.database, house.settings, turn_s=0)
    running.start()
    async with asyncio.timeout(20):
        async for event in house.control.events.follow(0, house.organization_id, "domain.verified"):
            if event is not None and event.resource_id == made.domain.id:
                break
    await running.close()


@pytest.mark.parametrize(
    ("status", "age_s", "expected_s"),
    [
        ("pending", 60, 300),
        ("pending", 3600, 3600),
        ("pending", 90_000, 14_400),
        ("failed", 600, 600),
        ("verified", 60, 14_400),
    ],
)
async def test_new_domains_are_looked_up_more_often(house: House, status: str, age_s: int, expected_s: int) -> None:
    made = await house.control.domains.create(house.organization_id, "example.net")
    view = replace(made, domain=replace(made.domain, status=status, created_at=0))
    assert recheck.wait_ms(view, age_s * 1000, 14_400_000) == expected_s * 1000
    shaky = replace(view, records=(replace(view.records[0], status="missing"),))
    if status == "verified":
        assert recheck.wait_ms(shaky, age_s * 1000, 14_400_000) == 3_600_000


async def test_dmarc_is_required_where_a_setting_says_so(house: House) -> None:
    settings = msgspec.structs.replace(
        house.settings, domains=msgspec.structs.replace(house.settings.domains, dmarc_required=True)
    )
    control = Domains(house.database, Resolver([house.dns.server]), Secrets(bytes(32)), settings)
    made = await control.create(house.organization_id, "example.net")
    publish(house, made)
    kept = house.dns.records.pop("_dmarc.example.net")
    assert (await control.verify(house.organization_id, made.domain.id)).domain.status == "pending"
    house.dns.records["_dmarc.example.net"] = kept
    assert (await control.verify(house.organization_id, made.domain.id)).domain.status == "verified"
