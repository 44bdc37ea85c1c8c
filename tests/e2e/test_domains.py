"""Sending domains on the real daemon, with a DNS server of the test's: the product's own client, and a zone of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import dkim
import dns.rdatatype
import dns.resolver
import dns.zone
from stackshift import StackShift

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.mx import Received, ScriptedMx

ZONE = "keys.example.org"


def test_a_domain_is_made_published_verified_used_and_deleted(make_daemon: Start, sink: ScriptedMx) -> None:
    with FakeDns({"mail.example.org": {"A": ["192.0.2.10"]}}) as dns:
        daemon = make_daemon(sink.port, f'[dns]\nservers = ["{dns.server}"]').start()
        client = StackShift(api_key=daemon.key(), mail_base_url=f"http://127.0.0.1:{daemon.http}/v1")
        made = client.mail.domains.create("shop.example")
        assert (made["status"], made["dkimStatus"], made["managedDns"]) == ("pending", "pending", False)
        assert daemon.cli("domain", "verify", "shop.example", check=False).returncode == 1

        for record in made["records"]:
            value: Any = (record["priority"], record["value"]) if record["type"] == "MX" else record["value"]
            dns.records.setdefault(record["name"], {})[record["type"]] = [value]
        verified = client.mail.domains.verify(made["id"])
        parts = ("status", "spfStatus", "dkimStatus", "dmarcStatus", "returnPathStatus")
        assert {verified[part] for part in parts} == {"verified"}
        assert {record["status"] for record in verified["records"]} == {"verified"}
        assert verified["verifiedAt"].endswith("Z")

        client.mail.send(from_="app@shop.example", to="bob@example.net", subject="Hi", text="Hello")
        (got,) = sink.wait_messages(1)
        assert got.sender.endswith("@bounce.shop.example") and got.content.count(b"DKIM-Signature:") == 2

        dns.records = dict.fromkeys(dns.records, SERVFAIL)
        assert client.mail.domains.verify(made["id"])["status"] == "verified"
        dns.records = {}
        failed = client.mail.domains.verify(made["id"])
        assert (failed["status"], failed["spfStatus"]) == ("failed", "missing")
        told = daemon.cli("domain", "verify", "shop.example", check=False)
        assert told.returncode == 1 and "MISSING  ownership (required)" in told.stdout
        assert [domain["id"] for domain in client.mail.domains.list()["data"]] == [made["id"]]
        assert client.mail.domains.delete(made["id"]) is None
        assert client.mail.domains.list()["data"] == []


def publish(there: FakeDns, records: Iterable[Mapping[str, str]]) -> None:
    """What the customer does, once."""
    for record in records:
        value: Any = record["value"]
        if record["type"] == "MX":
            priority, host = value.split()
            value = int(priority), host
        there.records.setdefault(record["name"], {})[record["type"]] = [value]


def publish_zone(there: FakeDns, daemon: Daemon) -> None:
    """What the operator does, after each change: the file that the command prints into a name server."""
    there.records = {name: entry for name, entry in there.records.items() if not name.endswith(ZONE)}
    for name, node in dns.zone.from_text(daemon.cli("dns", "zone").stdout, f"{ZONE}.").items():
        entry: dict[str, Any] = {}
        for found in node:
            if found.rdtype == dns.rdatatype.TXT:
                entry["TXT"] = [b"".join(each.strings).decode() for each in found]
            elif found.rdtype == dns.rdatatype.MX:
                entry["MX"] = [(each.preference, each.exchange.to_text(True)) for each in found]
        there.records[f"{name}.{ZONE}"] = entry


def selectors(got: Received, there: FakeDns) -> set[str]:
    """Of both signatures, which a receiver that asks the DNS finds good."""
    host, _, port = there.server.partition(":")
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [host], int(port)

    def txt(name: bytes, timeout: float = 5) -> bytes:
        return b"".join(resolver.resolve(name.decode(), "TXT")[0].strings)

    assert all(dkim.DKIM(got.content).verify(index, dnsfunc=txt) for index in range(2))
    return {found.decode() for found in re.findall(rb"\bs=(\w+);", got.content)}


def test_keys_rotate_without_the_customer(make_daemon: Start, sink: ScriptedMx) -> None:
    """MailStack's Easy DKIM, with a MAIL FROM of its own: CNAMEs once, and the operator's zone for all that comes."""
    with FakeDns({"mail.example.org": {"A": ["192.0.2.10"]}}) as there:
        daemon = make_daemon(sink.port, f'top:dns_zone = "{ZONE}"\n[dns]\nservers = ["{there.server}"]').start()
        key = daemon.key()
        body = {"domain": "shop.example", "mailFromSubdomain": "mail"}
        made = daemon.api("POST", "/v1/domains", body, key)[1]
        kinds = {(record["purpose"], record["type"]) for record in made["dnsRecords"]}
        assert kinds == {("OWNERSHIP", "TXT"), ("DKIM", "CNAME"), ("MAIL FROM", "CNAME"), ("DMARC", "TXT")}
        publish(there, made["dnsRecords"])

        def verified() -> str:
            return str(daemon.api("POST", f"/v1/domains/{made['id']}/verify", {}, key)[1]["status"])

        def send() -> Received:
            before = len(sink.messages)
            letter = {"from": "app@shop.example", "to": "bob@example.net", "subject": "Hi", "text": "Hello"}
            assert daemon.api("POST", "/v1/emails", letter, key)[0] == 202
            return sink.wait_messages(before + 1)[before]

        assert verified() == "Pending"
        publish_zone(there, daemon)
        assert verified() == "Verified"
        first = send()
        old = selectors(first, there)
        assert first.sender.endswith("@mail.shop.example") and len(old) == 2
        path = there.records["mail.shop.example"]["CNAME"][0]
        assert there.records[path] == {"MX": [(10, "mail.example.org")], "TXT": ["v=spf1 a:mail.example.org -all"]}

        daemon.cli("domain", "rotate", "shop.example")
        assert selectors(send(), there) == old  # the new keys are not in the zone yet
        publish_zone(there, daemon)
        assert verified() == "Verified"
        new = selectors(send(), there)
        assert len(new) == 2 and not new & old
        assert selectors(first, there) == old  # what was on its way when the keys changed
