"""The product's own client, unmodified, against the real daemon, with a DNS server of the test's."""

from __future__ import annotations

from typing import Any

from stackshift import StackShift

from tests.e2e.conftest import Start
from tests.fakes.dns import SERVFAIL, FakeDns
from tests.fakes.mx import ScriptedMx


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
