"""The DNS records of a sending domain: what a person pastes, and what the DNS says to each.

Pure but for the lookups: a domain and its keys in, records and findings out. `control.domains` keeps the findings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.settings import Settings
from mta.model import DkimKey, Domain
from mta.net.dns import DnsError, DnsTemporary, Resolver

MISSING: Final = "missing"
PENDING: Final = "pending"
VERIFIED: Final = "verified"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish. `check` is its key in the domain's checks; `status` and `found` are of the last look."""

    check: str
    purpose: str
    type: str
    name: str
    value: str
    required: bool
    explanation: str
    priority: int | None = None
    status: str = PENDING
    found: tuple[str, ...] = ()


def records_of(domain: Domain, keys: Sequence[DkimKey], settings: Settings) -> list[Record]:
    """All records of a domain, the required ones first, each with what the last check found."""
    name = domain.name
    wanted = [
        Record(
            "ownership",
            "ownership",
            "TXT",
            f"_posthouse.{name}",
            f"posthouse-verification={domain.challenge}",
            True,
            "Shows that the domain is yours.",
        )
    ]
    for key in keys:
        if key.state in ("active", "next"):
            wanted.append(_dkim(name, key))
    bounce = f"bounce.{name}"
    wanted += [
        Record(
            "return_path",
            "return path",
            "MX",
            bounce,
            settings.bounce_domain or settings.hostname,
            False,
            "Brings bounces back to this server under your own name.",
            priority=10,
        ),
        Record(
            "spf",
            "SPF",
            "TXT",
            bounce,
            f"v=spf1 {_senders(settings)} -all",
            False,
            "Lets this server send with that return path, so that SPF passes and is aligned.",
        ),
        Record(
            "dmarc",
            "DMARC",
            "TXT",
            f"_dmarc.{name}",
            "v=DMARC1; p=none",
            False,
            "Large mailbox providers ask for it. Any policy counts; this one only observes.",
        ),
    ]
    return [_with_finding(record, domain.checks) for record in wanted]


async def look_up(records: Sequence[Record], resolver: Resolver) -> dict[str, dict[str, Any]]:
    """What the DNS says now, by check: status and what was found. A server that does not answer leaves `pending`."""
    findings = await asyncio.gather(*(_look_up(record, resolver) for record in records))
    checks: dict[str, dict[str, Any]] = {
        record.check: finding for record, finding in zip(records, findings, strict=True)
    }
    if checks["return_path"]["status"] == VERIFIED and checks["spf"]["status"] != VERIFIED:
        checks["return_path"]["status"] = PENDING  # of no use before SPF allows us to send with it
    return checks


def check_name(key: DkimKey) -> str:
    """Where a key's finding is kept: by selector, so that a new key is not taken for an old one."""
    return f"dkim/{key.selector}"


def _dkim(name: str, key: DkimKey) -> Record:
    rsa = key.algorithm.startswith("rsa")
    purpose = "DKIM" if rsa else "DKIM Ed25519"
    return Record(
        check_name(key),
        purpose if key.state == "active" else f"{purpose}, next key",
        "TXT",
        f"{key.selector}._domainkey.{name}",
        key.dns_value,
        rsa and key.state == "active",
        "Lets receivers check our signature."
        if rsa
        else "A second, shorter signature; some receivers do not know it yet.",
    )


def _senders(settings: Settings) -> str:
    """The mechanisms of the SPF record that allow our addresses (RFC 7208 §5)."""
    addresses = settings.outbound.source_addresses
    if not addresses:
        return f"a:{settings.hostname}"
    return " ".join(f"ip6:{address}" if ":" in address else f"ip4:{address}" for address in addresses)


def _with_finding(record: Record, checks: Mapping[str, Any]) -> Record:
    finding = checks.get(record.check)
    if not finding:
        return record
    return Record(
        record.check,
        record.purpose,
        record.type,
        record.name,
        record.value,
        record.required,
        record.explanation,
        record.priority,
        finding["status"],
        tuple(finding["found"]),
    )


async def _look_up(record: Record, resolver: Resolver) -> dict[str, Any]:
    resolver.forget(record.name)
    ask: Callable[[str], Awaitable[list[Any]]] = resolver.mx if record.type == "MX" else resolver.txt
    try:
        found = [f"{each[0]} {each[1]}" if isinstance(each, tuple) else each for each in await ask(record.name)]
    except DnsTemporary:
        return {"status": PENDING, "found": []}
    except DnsError:
        found = []
    kept = [text[:1000] for text in found[:10]]  # what others publish is not ours to store without bounds
    return {"status": _judge(record, found), "found": kept}


def _judge(record: Record, found: Sequence[str]) -> str:
    if record.check == "return_path":
        hosts = [text.split(" ")[-1] for text in found]
        return VERIFIED if record.value.lower() in hosts else FAILED if hosts else MISSING
    of_kind = [_plain(text) for text in found if _plain(text).startswith(_kind(record))]
    if not of_kind:
        return MISSING
    if record.check == "dmarc":
        return VERIFIED if len(of_kind) == 1 else FAILED  # several are none (RFC 7489 §6.6.3)
    if record.check == "spf":
        wanted = set(_plain(record.value).split()[1:-1])
        return VERIFIED if len(of_kind) == 1 and wanted <= set(of_kind[0].split()) else FAILED
    if record.check.startswith("dkim/"):
        return VERIFIED if any(_tags(text).get("p") == _tags(record.value)["p"] for text in found) else FAILED
    return VERIFIED if _plain(record.value) in of_kind else FAILED


def _kind(record: Record) -> str:
    """How a record of that purpose begins; others may live under the same name."""
    if record.check == "ownership":
        return "posthouse-verification="
    return {"spf": "v=spf1", "dmarc": "v=dmarc1"}.get(record.check, "")


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def _tags(text: str) -> dict[str, str]:
    """A DKIM record's tags (RFC 6376 §3.2), without the white space that panels put into long values."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): "".join(value.split()) for name, _, value in pairs}
