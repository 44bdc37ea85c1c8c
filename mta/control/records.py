"""The DNS records of a sending domain, as a person pastes them, each with what the last look at the DNS found.

Pure: a domain, its keys and the settings in, records out. `control.inspect` looks them up, `control.zone` prints the
other ends of the CNAME records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from config.settings import Settings
from mta.model import DkimKey, Domain

MISSING: Final = "missing"
PENDING: Final = "pending"
VERIFIED: Final = "verified"
FAILED: Final = "failed"

ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")
TTL_S: Final = 3600  # what a record may be remembered, as we would publish it
SLOTS: Final = (1, 2)  # delegated selectors of an algorithm: one signs while the other one's key changes
NO_KEY: Final = "v=DKIM1; p="  # behind a delegated selector that waits for its key (RFC 6376 §3.6.1: revoked)
DAY_MS: Final = 86_400_000
RETIRED_KEPT_DAYS: Final = 2  # beyond the queue's lifetime: signed mail may wait in other servers' queues

Checks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish. `check` is its key in the domain's checks; `status` and `found` are of the last look.

    `explanation` says what the record is for and, after a look, what was found and what to do.
    """

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

    @property
    def kind(self) -> str:
        """ownership, dkim, return_path, spf or dmarc."""
        return self.check.partition("/")[0]


def records_of(domain: Domain, keys: Sequence[DkimKey], settings: Settings) -> list[Record]:
    """All records of a domain, the required ones first, each with what the last check found."""
    made = [
        _ownership(domain),
        *_dkim(domain, keys, settings),
        *_return_path(domain, settings),
        _dmarc(domain, settings),
        *_tracking(domain, settings),
    ]
    made.sort(key=lambda record: not record.required)
    return [_with_finding(record, domain.checks) for record in made]


def check_name(selector: str) -> str:
    """Where a key's finding is kept: by selector, so that a new key is not taken for an old one."""
    return f"dkim/{selector}"


def needed_checks(keys: Sequence[DkimKey], settings: Settings) -> list[str]:
    """What must be verified before a domain may send."""
    signing = [check_name(key.selector) for key in keys if key.state == "active" and key.algorithm == ALGORITHMS[0]]
    return ["ownership", *signing, *(["dmarc"] if settings.domains.dmarc_required else [])]


def slot(domain: Domain, algorithm: str, number: int) -> str:
    """A selector whose name stays while its key changes; the domain's own, so that nobody else's record fits."""
    return f"ph{domain.challenge[:12]}{algorithm[0]}{number}"


def free_slots(domain: Domain, keys: Sequence[DkimKey]) -> list[str]:
    """The delegated selectors that no key has."""
    slots = [slot(domain, algorithm, number) for algorithm in ALGORITHMS for number in SLOTS]
    return [name for name in slots if name not in {key.selector for key in keys}]


def bounce_name(domain: Domain) -> str:
    """The domain's return path (MAIL FROM), where its owner put it."""
    return f"{domain.settings.mail_from}.{domain.name}"


def dkim_target(selector: str, zone: str) -> str:
    """Where a delegated selector leads."""
    return f"{selector}.dkim.{zone}"


def bounce_target(domain: Domain, zone: str) -> str:
    """Where a delegated return path leads; the domain's own, like its selectors."""
    return f"ph{domain.challenge[:12]}.bounce.{zone}"


def bounce_hosts(settings: Settings) -> tuple[str, ...]:
    """The names under which this server takes bounces; the first is the one to publish."""
    return settings.hostname.lower(), (settings.bounce_domain or settings.hostname).lower()


def link_target(settings: Settings) -> str:
    """Where a host of tracked links leads: to this server's public address, by name."""
    host = (urlsplit(settings.api.public_url).hostname or "").rstrip(".")
    return host if "." in host and not host.rpartition(".")[2].isdigit() else settings.hostname.lower()


def spf_value(settings: Settings) -> str:
    """The record that allows our addresses (RFC 7208 §5)."""
    addresses = settings.outbound.source_addresses
    allowed = [f"ip6:{address}" if ":" in address else f"ip4:{address}" for address in addresses]
    return f"v=spf1 {' '.join(allowed) or f'a:{settings.hostname}'} -all"


def retired_until(key: DkimKey, settings: Settings) -> int:
    """When a retired key's record may go (epoch ms): mail that it signed is at its end by then."""
    return (key.retired_at or 0) + settings.retry.lifetime_s * 1000 + RETIRED_KEPT_DAYS * DAY_MS


def _ownership(domain: Domain) -> Record:
    value = f"posthouse-verification={domain.challenge}"
    text = "Shows that the domain is yours."
    return Record("ownership", "ownership", "TXT", f"_posthouse.{domain.name}", value, True, text)


def _dkim(domain: Domain, keys: Sequence[DkimKey], settings: Settings) -> list[Record]:
    by_selector = {key.selector: key for key in sorted(keys, key=lambda key: key.id)}
    made = [_key_record(domain, key, settings) for key in by_selector.values()]
    if settings.dns_zone:
        made += [_slot_record(domain, selector, settings.dns_zone) for selector in free_slots(domain, keys)]
    return made


def _key_record(domain: Domain, key: DkimKey, settings: Settings) -> Record:
    rsa = key.algorithm == ALGORITHMS[0]
    purpose, text = "DKIM", "Lets receivers check our signature."
    if not rsa:
        purpose, text = "DKIM Ed25519", "A second, shorter signature; it is made once this record is found."
    if key.state == "next" and rsa:
        purpose, text = f"{purpose}, next key", "The key that signs as soon as this record is found."
    if key.state == "retired":
        last = datetime.fromtimestamp(retired_until(key, settings) / 1000, UTC).date().isoformat()
        purpose = f"{purpose}, retired key"
        text = f"Mail signed with the key before is under way: leave this record until {last}, then remove it."
    type, value = "TXT", key.dns_value
    if settings.dns_zone:
        type, value = "CNAME", dkim_target(key.selector, settings.dns_zone)
        if key.state == "retired":
            text = "Leave this record: the next key uses it again."
    name = f"{key.selector}._domainkey.{domain.name}"
    return Record(check_name(key.selector), purpose, type, name, value, rsa and key.state == "active", text)


def _slot_record(domain: Domain, selector: str, zone: str) -> Record:
    """The selector of a key to come: with its CNAME in place, keys change without anybody's help."""
    rsa = selector in (slot(domain, ALGORITHMS[0], number) for number in SLOTS)
    purpose = "DKIM, second selector" if rsa else "DKIM Ed25519, second selector"
    text = "Lets the signing key change later without another visit here."
    name = f"{selector}._domainkey.{domain.name}"
    return Record(check_name(selector), purpose, "CNAME", name, dkim_target(selector, zone), False, text)


def _return_path(domain: Domain, settings: Settings) -> list[Record]:
    name = bounce_name(domain)
    text = "Brings bounces back to this server under your own name."
    if settings.dns_zone:
        target = bounce_target(domain, settings.dns_zone)
        return [Record("return_path", "return path", "CNAME", name, target, False, f"{text} It carries SPF too.")]
    spf = "Lets this server send with that return path, so that SPF passes and is aligned with the From address."
    return [
        Record("return_path", "return path", "MX", name, bounce_hosts(settings)[0], False, text, priority=10),
        Record("spf", "SPF", "TXT", name, spf_value(settings), False, spf),
    ]


def _dmarc(domain: Domain, settings: Settings) -> Record:
    required = settings.domains.dmarc_required
    text = "Large mailbox providers ask for it. Any policy counts; this one only observes."
    return Record("dmarc", "DMARC", "TXT", f"_dmarc.{domain.name}", "v=DMARC1; p=none", required, text)


def _tracking(domain: Domain, settings: Settings) -> list[Record]:
    host = domain.settings.tracking_host
    if not host:
        return []
    text = "Puts your own name into tracked links; until it is found they lead through the server's."
    return [Record("tracking", "tracked links", "CNAME", host, link_target(settings), False, text)]


def _with_finding(record: Record, checks: Checks) -> Record:
    finding = checks.get(record.check)
    if not finding or finding.get("host", record.name) != record.name:
        return record
    return replace(
        record,
        status=finding["status"],
        found=tuple(finding["found"]),
        explanation=f"{record.explanation} {finding.get('said', '')}".rstrip(),
    )
