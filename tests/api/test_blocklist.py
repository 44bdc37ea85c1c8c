"""Blocklists: what is listed, what is not, and what nobody knows, told apart."""

from typing import Any

import msgspec
import pytest

from mta.control.blocklist import BlocklistReport, Listing
from mta.control.domains import Domains
from mta.errors import NotFound
from mta.net.dns import Resolver
from mta.store.secrets import Secrets
from tests.api.conftest import House
from tests.fakes.dns import REFUSED, SERVFAIL, SILENT

V6 = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
V6_PROBE = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
KEY = "abcdefghijklmnopqrstuvwxyz"


async def report(
    house: House, addresses: tuple[str, ...] = (), domains: tuple[str, ...] = (), **records: Any
) -> BlocklistReport:
    """What the lists say of example.com, sent from 198.51.100.25. `records` are names with _ for their dots."""
    house.dns.records |= {"mail.posthouse.test": {"A": ["198.51.100.25"]}, "2.0.0.127.ip.test": {"A": ["127.0.0.2"]}}
    house.dns.records |= {"name.test": {"SOA": ["ns.name.test. hostmaster.name.test. 1 3600 600 86400 60"]}}
    house.dns.records |= {name.replace("_", "."): found for name, found in records.items()}
    lists = msgspec.structs.replace(house.settings.blocklists, addresses=addresses, domains=domains)
    settings = msgspec.structs.replace(house.settings, blocklists=lists)
    control = Domains(house.database, Resolver([house.dns.server], timeout=0.5), Secrets(bytes(32)), settings)
    (view,) = (await control.page(house.organization_id)).items
    return await control.blocklist(house.organization_id, view.domain.id)


async def only(house: House, **more: Any) -> Listing:
    (listing,) = (await report(house, **more)).listings
    return listing


async def test_what_no_list_knows_is_clean(house: House) -> None:
    found = await report(house, addresses=("ip.test",), domains=("name.test",))
    assert {(each.list, each.checked) for each in found.listings} == {
        ("ip.test", "198.51.100.25"),
        ("name.test", "example.com"),
    }
    assert found.status == "clean" and {each.status for each in found.listings} == {"clean"}


async def test_a_listed_address_and_a_listed_name_say_why(house: House) -> None:
    listed = {
        "25.100.51.198.ip.test": {"A": ["127.0.0.4"], "TXT": ["https://ip.test/?q=198.51.100.25"]},
        "example.com.name.test": {"A": ["127.0.1.2", "127.0.1.4"]},
    }
    found = await report(house, addresses=("ip.test",), domains=("name.test",), **listed)
    assert found.status == "listed"
    by_list = {each.list: each for each in found.listings}
    assert by_list["ip.test"].reason == "https://ip.test/?q=198.51.100.25"
    assert by_list["ip.test"].answers == ("127.0.0.4",) and by_list["name.test"].answers == ("127.0.1.2", "127.0.1.4")


@pytest.mark.parametrize("code", ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.0.0.1", "127.0.1.255"])
async def test_a_refusal_is_no_listing(house: House, code: str) -> None:
    listing = await only(house, domains=("name.test",), **{"example.com.name.test": {"A": [code]}})
    assert (listing.status, listing.answers) == ("unknown", (code,)) and "refused" in listing.reason


async def test_an_address_of_somebodys_web_server_is_no_listing(house: House) -> None:
    listing = await only(house, domains=("name.test",), **{"example.com.name.test": {"A": ["203.0.113.80"]}})
    assert listing.status == "unknown" and "gone" in listing.reason


@pytest.mark.parametrize("trouble", [SERVFAIL, REFUSED, SILENT])
async def test_no_answer_is_unknown(house: House, trouble: str) -> None:
    found = await report(house, addresses=("ip.test",), **{"25.100.51.198.ip.test": trouble})
    assert found.status == "unknown" and found.listings[0].reason == "It did not answer."


async def test_a_list_that_does_not_serve_us_is_unknown(house: House) -> None:
    mute = await only(house, addresses=("mute.test",), **{"mute.test": {}})
    gone = await only(house, domains=("gone.test",))
    assert (mute.status, gone.status) == ("unknown", "unknown")
    assert "test entry" in mute.reason and "no such list" in gone.reason


async def test_one_unknown_list_hides_no_listing(house: House) -> None:
    listed = {"25.100.51.198.ip.test": {"A": ["127.0.0.4"]}}
    assert (await report(house, addresses=("ip.test", "gone.test"), **listed)).status == "listed"


async def test_ipv6_is_asked_by_nibbles_and_only_of_lists_that_take_it(house: House) -> None:
    host = {"mail.posthouse.test": {"AAAA": ["2001:db8::25"]}}
    assert (await only(house, addresses=("ip.test",), **host)).status == "unknown"
    both = host | {f"{V6_PROBE}.six.test": {"A": ["127.0.0.2"]}}
    assert (await only(house, addresses=("six.test",), **both)).status == "clean"
    listed = both | {f"{V6}.seven.test": {"A": ["127.0.0.3"]}, f"{V6_PROBE}.seven.test": {"A": ["127.0.0.2"]}}
    assert (await only(house, addresses=("seven.test",), **listed)).status == "listed"


@pytest.mark.parametrize("host", [{}, SERVFAIL])
async def test_without_an_address_of_ours_nobody_knows(house: House, host: Any) -> None:
    listing = await only(house, addresses=("ip.test",), **{"mail.posthouse.test": host})
    assert (listing.status, listing.checked) == ("unknown", "mail.posthouse.test")


async def test_the_operators_key_stays_out_of_the_report(house: House) -> None:
    zone = f"{KEY}.dbl.dq.spamhaus.net"
    found = await report(house, domains=(zone,), **{f"example.com.{zone}": {"A": ["127.255.255.254"]}})
    assert found.listings[0].list == "dbl.dq.spamhaus.net" and KEY not in str(found)


async def test_another_organizations_domain_is_not_looked_up(house: House) -> None:
    other = await house.control.organizations.create("other")
    (view,) = (await house.control.domains.page(house.organization_id)).items
    with pytest.raises(NotFound):
        await house.control.domains.blocklist(other.id, view.domain.id)
