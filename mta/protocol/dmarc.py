"""DMARC (RFC 7489, and RFC 9989's walk up the tree): what a domain asks for, and whether SPF or DKIM speak for it.

Pure: `names` says which records to look up, `evaluate` what they come to. Used for inbound mail (`mta.inbound`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Result = Literal["pass", "fail", "none", "temperror", "permerror"]
MAX_LOOKUPS = 8  # RFC 9989 §4.10
_POLICIES = ("none", "quarantine", "reject")
_TAG = re.compile(r"\s*([A-Za-z]+)\s*=\s*([^;]*?)\s*(?:;|$)")


@dataclass(frozen=True, slots=True)
class Record:
    """What a domain publishes at `_dmarc`. `strict_*`: the identifier must be the same name, not only the same family."""

    policy: str
    subdomain_policy: str
    strict_dkim: bool = False
    strict_spf: bool = False
    public_suffix: str = "u"  # y, n, or u: unknown


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`policy` is what the author's domain asks for, `domain` where it says so ("" where nobody does)."""

    result: Result
    policy: str = ""
    domain: str = ""


def parse_record(text: str) -> Record | None:
    """A TXT record as DMARC, or None where it is none."""
    tags = {found[1].lower(): found[2] for found in _TAG.finditer(text[:2000])}
    if not re.match(r"\s*v\s*=\s*DMARC1\s*(?:;|$)", text):
        return None
    policy = tags.get("p", "none").lower()
    policy = policy if policy in _POLICIES else "none"
    sub = tags.get("sp", policy).lower()
    suffix = tags.get("psd", "u").lower()
    return Record(
        policy,
        sub if sub in _POLICIES else policy,
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        suffix if suffix in ("y", "n") else "u",
    )


def names(domain: str) -> list[str]:
    """The domains to ask for `_dmarc` of an author's domain, from itself up (RFC 9989 §4.10)."""
    labels = domain.split(".")
    found = [domain]
    rest = labels[1:] if len(labels) <= MAX_LOOKUPS else labels[-(MAX_LOOKUPS - 1) :]
    while rest and len(found) < MAX_LOOKUPS:
        found.append(".".join(rest))
        rest = rest[1:]
    return found


def evaluate(
    domain: str, records: Mapping[str, Record], spf_domain: str | None, dkim_domains: Sequence[str]
) -> Evaluation:
    """The result for an author's domain. `records` has what was found among `names`; the others are names that passed."""
    family, found = _organizational(domain, records)
    if found is None:
        return Evaluation("none")
    own = records.get(domain)
    record = own or found
    policy = record.policy if own is not None else record.subdomain_policy
    by_spf = spf_domain is not None and _aligned(domain, spf_domain, family, record.strict_spf)
    by_dkim = any(_aligned(domain, signer, family, record.strict_dkim) for signer in dkim_domains)
    return Evaluation("pass" if by_spf or by_dkim else "fail", policy, domain if own is not None else family)


def _organizational(domain: str, records: Mapping[str, Record]) -> tuple[str, Record | None]:
    """The top of the author's family and a record of it; the domain itself where nobody above says anything."""
    last: tuple[str, Record | None] = (domain, None)
    below = domain
    for name in names(domain):
        record = records.get(name)
        if record is not None:
            if record.public_suffix == "n":
                return name, record
            if record.public_suffix == "y" and name != domain:
                return below, records.get(below) or record
            last = (name, record)
        below = name
    return last


def _aligned(domain: str, identifier: str, family: str, strict: bool) -> bool:
    """RFC 7489 §3.1: relaxed is any name of the author's family."""
    identifier = identifier.lower().rstrip(".")
    if identifier == domain:
        return True
    return not strict and (identifier == family or identifier.endswith(f".{family}"))
