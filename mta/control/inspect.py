"""What the DNS says to the records of a sending domain: a status, what was found, and a sentence with the way out.

The lookups behind `Domains.verify`. A server that does not answer, or answers with SERVFAIL, says nothing about a
record: that is `pending`, never `failed`. SPF is evaluated for each of our addresses, not compared as text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from config.settings import Settings
from mta.control.records import (
    FAILED,
    MISSING,
    NO_KEY,
    PENDING,
    VERIFIED,
    Checks,
    Record,
    bounce_hosts,
    bounce_name,
    bounce_target,
    records_of,
    spf_value,
)
from mta.model import DkimKey, Domain
from mta.net.dns import Answer, DnsError, DnsTemporary, Resolver
from mta.net.spf import check_host

MAX_FOUND: Final = 10  # what others publish is not ours to store without bounds
MAX_FOUND_CHARS: Final = 1000
PLACEHOLDER: Final = "192.0.2.1"  # our address where our name has none yet (RFC 5737)
NO_ANSWER: Final = "The DNS did not answer this time; it is asked again by itself."

Finding = dict[str, Any]  # status, found, said


def finding(status: str, said: str, found: Sequence[str] = ()) -> Finding:
    return {"status": status, "said": said, "found": [text[:MAX_FOUND_CHARS] for text in found[:MAX_FOUND]]}


def unsure(found: Sequence[str] = ()) -> Finding:
    return finding(PENDING, NO_ANSWER, found) | {"unsure": True}


async def inspect(
    domain: Domain, keys: Sequence[DkimKey], settings: Settings, resolver: Resolver
) -> dict[str, Finding]:
    """A finding for every check of the domain, looked up now, past all caches. Never raises for what the DNS says."""
    look = _Look(domain, keys, settings, resolver)
    records = {record.check: record for record in records_of(domain, keys, settings)}
    checks: dict[str, Callable[[], Awaitable[Finding]]] = {
        "ownership": lambda: look.ownership(records["ownership"]),
        "spf": look.spf,
        "return_path": look.return_path,
        "dmarc": look.dmarc,
    }
    for check, record in records.items():
        if check == "tracking":
            checks[check] = lambda record=record: look.tracking(record)  # type: ignore[misc]
        if check.startswith("dkim/"):
            checks[check] = lambda record=record: look.dkim(record)  # type: ignore[misc]
    findings = await asyncio.gather(*(_certain(ask) for ask in checks.values()))
    return dict(zip(checks, findings, strict=True))


def merge(before: Checks, found: Checks, now: int) -> dict[str, Finding]:
    """What is known after a look at `now` (epoch ms), each with `since`: no answer takes nothing away that was verified."""
    kept: dict[str, Finding] = {}
    for name, each in found.items():
        old = before.get(name)
        if old and each.get("unsure") and old["status"] == VERIFIED:
            kept[name] = {**old, "said": f"{old['said']} {NO_ANSWER}"} if NO_ANSWER not in old["said"] else {**old}
        else:
            since = old.get("since", now) if old and old["status"] == each["status"] else now
            kept[name] = {**each, "since": since}
    path, spf = kept["return_path"], kept["spf"]
    if path["status"] == VERIFIED and spf["status"] != VERIFIED:  # of no use before SPF allows us to send with it
        path |= {"status": PENDING, "said": f"{path['said']} It is used once SPF allows it: {spf['said']}"}
    return kept


async def source_addresses(settings: Settings, resolver: Resolver) -> tuple[str, ...]:
    """Those we send from, as far as anybody knows. Raises DnsTemporary."""
    if settings.outbound.source_addresses:
        return settings.outbound.source_addresses
    resolver.forget(settings.hostname)
    try:
        return tuple(await resolver.addresses(settings.hostname))
    except DnsTemporary:
        raise
    except DnsError:
        return ()


async def _certain(ask: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await ask()
    except DnsTemporary:
        return unsure()


class _Look:
    """One look at one domain; every method raises DnsTemporary where the DNS does not say."""

    def __init__(self, domain: Domain, keys: Sequence[DkimKey], settings: Settings, resolver: Resolver) -> None:
        self.domain = domain
        self.keys = {key.selector: key for key in keys}
        self.settings = settings
        self.resolver = resolver

    async def lookup(self, name: str, kind: str) -> Answer:
        self.resolver.forget(name)
        return await self.resolver.lookup(name, kind)

    async def records(self, name: str, kind: str) -> list[Any]:
        """None of that kind, and no such name, are an empty list."""
        try:
            return list((await self.lookup(name, kind)).records)
        except DnsTemporary:
            raise
        except DnsError:
            return []

    async def absent(self, record: Record) -> Finding:
        """Nothing under the name: maybe where a panel that adds the domain by itself put it."""
        doubled = f"{record.name}.{self.domain.name}"
        if await self.records(doubled, record.type):
            short = record.name.removesuffix(f".{self.domain.name}")
            said = f"It is published as {doubled}: your DNS panel adds the domain itself. Enter {short} as the name."
            return finding(FAILED, said)
        return finding(MISSING, f"There is no {record.type} record at {record.name} yet: publish it as shown.")

    async def ownership(self, record: Record) -> Finding:
        found = [text for text in await self.records(record.name, "TXT") if _flat(text).startswith("posthouse-")]
        if not found:
            return await self.absent(record)
        if record.value in map(_flat, found):
            return finding(VERIFIED, "It is there.", found)
        said = f"The value at {record.name} is another one, of another account or an earlier try: add ours beside it."
        return finding(FAILED, said, found)

    async def dkim(self, record: Record) -> Finding:
        selector = record.check.removeprefix("dkim/")
        key = self.keys.get(selector)
        found = [text for text in await self.records(record.name, "TXT") if text != NO_KEY]
        if key and found:
            status, said = judge_key(found, key.dns_value, record.name)
            return finding(status, said, found)
        if record.type == "TXT":
            return await self.absent(record)
        aliases = await self.records(record.name, "CNAME")
        if not aliases:
            return await self.absent(record)
        if aliases[0] != record.value:
            return finding(FAILED, f"It leads to {aliases[0]}; it must lead to {record.value}.", aliases)
        if key is None:
            return finding(VERIFIED, "It leads where it should.", aliases)
        said = "The CNAME is right; the operator of this server has not published the key behind it yet."
        return finding(PENDING, said, aliases)

    async def return_path(self) -> Finding:
        name, ours = bounce_name(self.domain), bounce_hosts(self.settings)
        hosts = sorted(await self.records(name, "MX"))
        shown = [f"{preference} {host}" for preference, host in hosts]
        if any(host in ours for preference, host in hosts if preference == hosts[0][0]):
            return finding(VERIFIED, "Bounces come back to this server.", shown)
        if hosts:
            said = f"Mail for {name} goes to {hosts[0][1]}; it must go to {ours[0]}: remove the other MX records."
            return finding(FAILED, said, shown)
        aliases = await self.records(name, "CNAME")
        if aliases and aliases[0] in ours:
            return finding(VERIFIED, "Bounces come back to this server.", aliases)
        zone = self.settings.dns_zone
        if aliases and zone and aliases[0] == bounce_target(self.domain, zone):
            said = "The CNAME is right; the operator of this server has not published what is behind it yet."
            return finding(PENDING, said, aliases)
        if aliases:
            said = f"It leads to {aliases[0]}, which does not take mail for this server: publish the record as shown."
            return finding(FAILED, said, aliases)
        records = records_of(self.domain, (), self.settings)
        return await self.absent(next(record for record in records if record.check == "return_path"))

    async def tracking(self, record: Record) -> Finding:
        """By a CNAME, or where a panel flattens it, by the same addresses."""
        seen = {"host": record.name}
        aliases = await self.records(record.name, "CNAME")
        if aliases:
            leads = aliases[0] == record.value
            said = "Tracked links use it." if leads else f"It leads to {aliases[0]}; it must lead to {record.value}."
            return finding(VERIFIED if leads else FAILED, said, aliases) | seen
        found = [address for kind in ("A", "AAAA") for address in await self.records(record.name, kind)]
        if not found:
            return await self.absent(record) | seen
        ours = [address for kind in ("A", "AAAA") for address in await self.records(record.value, kind)]
        if set(found) <= set(ours):
            return finding(VERIFIED, "It has this server's addresses: tracked links use it.", found) | seen
        return (
            finding(FAILED, f"Its addresses are not those of {record.value}: publish the record as shown.", found)
            | seen
        )

    async def spf(self) -> Finding:
        """RFC 7208 evaluated as a receiver would, with the return path and each address that we send from."""
        name = bounce_name(self.domain)
        found = [text for text in await self.records(name, "TXT") if _flat(text).startswith("v=spf1")]
        addresses = await source_addresses(self.settings, self.resolver)
        asked = [
            check_host(address, f"postmaster@{name}", self.settings.hostname, self._with_our_name(not addresses))
            for address in addresses or (PLACEHOLDER,)
        ]
        results = list(zip(addresses or (PLACEHOLDER,), await asyncio.gather(*asked), strict=True))
        bad = [(address, result, why) for address, (result, why) in results if result not in ("pass", "temperror")]
        if bad and bad[0][1] == "none":
            record = "the record as shown" if self.settings.dns_zone else f'"{spf_value(self.settings)}"'
            return finding(MISSING, f"There is no SPF record at {name} yet: publish {record}.")
        if bad:
            address, result, why = bad[0]
            who = address if addresses else self.settings.hostname
            said = f"It does not let {who} send: {result} ({why.removeprefix('SPF Permanent Error: ')}). "
            return finding(FAILED, f"{said}Publish one SPF record only, as shown.", found)
        if any(result == "temperror" for _, (result, _) in results):
            return unsure(found)
        if addresses:
            return finding(VERIFIED, f"It lets {', '.join(addresses)} send.", found)
        said = f"It lets {self.settings.hostname} send, which has no address in the DNS: its operator must publish one."
        return finding(VERIFIED, said, found)

    def _with_our_name(self, unknown: bool) -> Callable[[str, str], Awaitable[Answer]]:
        """The DNS, but for our own name where that is `unknown`: judged as if it had an address already."""

        async def lookup(name: str, kind: str) -> Answer:
            if unknown and kind == "A" and name == self.settings.hostname.lower():
                return Answer((PLACEHOLDER,), 0, False)
            return await self.lookup(name, kind)

        return lookup

    async def dmarc(self) -> Finding:
        """The domain's own record, else that of the nearest name above it (RFC 7489 §6.6.3)."""
        labels = self.domain.name.split(".")
        for start in range(len(labels) - 1):
            above = ".".join(labels[start:])
            found = [text for text in await self.records(f"_dmarc.{above}", "TXT") if _tags(text).get("v") == "DMARC1"]
            if found:
                return judge_dmarc(found, above, self.domain.name)
        records = records_of(self.domain, (), self.settings)
        return await self.absent(next(record for record in records if record.check == "dmarc"))


def judge_key(found: Sequence[str], wanted: str, name: str) -> tuple[str, str]:
    """Whether the TXT records of a selector are our public key (RFC 6376 §3.6.1), and what is wrong."""
    keys = [tags for tags in map(_tags, found) if "p" in tags]
    ours = _tags(wanted)
    if not keys:
        return FAILED, f"The text at {name} is no DKIM key: replace it."
    if len(keys) > 1:
        return FAILED, f"There are {len(keys)} keys at {name}, so receivers may take the wrong one: leave only ours."
    (key,) = keys
    if not key["p"]:
        return FAILED, 'The key is empty ("p="), which revokes it: replace it.'
    if key["p"] != ours["p"]:
        cut = ours["p"].startswith(key["p"])
        return FAILED, f"The key is {'cut off: paste it whole' if cut else 'another one: replace it by ours'}."
    if key.get("v", "DKIM1") != "DKIM1" or key.get("k", "rsa") != ours.get("k", "rsa"):
        return FAILED, 'The key is ours, but its "v=" or "k=" is not: paste the whole value.'
    if "sha256" not in key.get("h", "sha256").split(":") or not {"*", "email"} & set(key.get("s", "*").split(":")):
        return FAILED, 'Its "h=" or "s=" forbids our signature: paste the whole value.'
    testing = ' It says "t=y" (testing): receivers may ignore the signature.' if "y" in key.get("t", "") else ""
    return VERIFIED, f"Our key is there.{testing}"


def judge_dmarc(found: Sequence[str], at: str, domain: str) -> Finding:
    """Whether the records at `_dmarc.{at}` make a policy for mail of `domain`, and how our mail is aligned with it."""
    if len(found) > 1:
        return finding(FAILED, f"There are {len(found)} DMARC records, so none counts: leave one.", found)
    tags = _tags(found[0])
    policy = tags.get("p", "none" if tags.get("rua") else "")
    if at != domain:
        policy = tags.get("sp", policy)
    if policy not in ("none", "quarantine", "reject"):
        return finding(
            FAILED, f'Its policy "{policy[:40]}" is none of none, quarantine, reject: write "p=none".', found
        )
    where = "" if at == domain else f" It is that of {at}, which holds for this domain too."
    aligned = "Our DKIM signature is aligned with it"
    aligned += (
        '; the return path is not ("aspf=s"), which does no harm.'
        if tags.get("aspf") == "s"
        else ", and so is the return path once it is verified."
    )
    return finding(VERIFIED, f"The policy is {policy}.{where} {aligned}", found)


def _flat(text: str) -> str:
    """Lower case, without the white space and the quotes that panels leave in a value."""
    return " ".join(text.replace('"', "").split()).lower()


def _tags(text: str) -> dict[str, str]:
    """The tags of a DKIM or DMARC record (RFC 6376 §3.2), without the white space that panels put into long values.

    The keys are names in lower case; the values keep their case, but for those of DMARC's words.
    """
    pairs = (part.partition("=") for part in text.replace('"', "").split(";"))
    tags = {name.strip().lower(): "".join(value.split()) for name, _, value in pairs}
    if "p" in tags and len(tags["p"]) < 20 and tags.get("v", "").upper() == "DMARC1":
        tags |= {name: tags[name].lower() for name in ("p", "sp", "aspf", "adkim") if name in tags}
    if "v" in tags:
        tags["v"] = tags["v"].upper()
    return tags
