"""A domain's DKIM keys through their life: next (to be published), active (signs), retired (published, signs no more).

    next --found in the DNS, or by the operator's word--> active --its successor is active--> retired --time--> gone

The signer reads the active keys at each delivery, so a switch takes effect in the queue. A second signature (Ed25519)
that nobody could check is not made: its key goes back to `next` while its record is gone.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from config.settings import Settings
from mta import ids
from mta.control.records import ALGORITHMS, FAILED, MISSING, SLOTS, VERIFIED, check_name, retired_until, slot
from mta.errors import Conflict
from mta.model import DkimKey, Domain
from mta.protocol import dkim
from mta.store import domains
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx


def make_key(domain: Domain, algorithm: dkim.Algorithm, selector: str, state: str, secrets: Secrets) -> DkimKey:
    """Takes 50 ms and more for RSA: in a thread."""
    pem, now = dkim.generate(algorithm), ids.now_ms()
    id = ids.new("dkm", now)
    value = dkim.dns_value(dkim.load(pem))
    return DkimKey(id, domain.id, domain.name, selector, algorithm, secrets.seal(pem, f"dkim/{id}"), value, state, now)


def selectors(domain: Domain, keys: Iterable[DkimKey], settings: Settings, *, force: bool) -> dict[str, str]:
    """The selector of the next key of each algorithm that has none yet.

    Behind CNAME records there are two selectors in turn. Raises Conflict where the other one's key retired just now,
    unless forced: mail that it signed could no longer be checked.
    """
    keys = list(keys)
    made: dict[str, str] = {}
    for algorithm in ALGORITHMS:
        own = [key for key in keys if key.algorithm == algorithm]
        if any(key.state == "next" for key in own):
            continue
        if not settings.dns_zone:
            made[algorithm] = f"ph{random.token_hex(6)}{algorithm[0]}"
            continue
        taken = {key.selector for key in own}
        slots = [slot(domain, algorithm, number) for number in SLOTS]
        free = [name for name in slots if name not in taken]
        retired = [key for key in own if key.state == "retired" and key.selector in slots]
        if not free and not force:
            until = datetime.fromtimestamp(retired_until(retired[0], settings) / 1000, UTC).isoformat(
                timespec="minutes"
            )
            raise Conflict(
                f"The keys of {domain.name} changed not long ago, and mail signed with the ones before may be under way. "
                f"Rotate after {until}, or force it.",
                code="rotated_lately",
            )
        made[algorithm] = free[0] if free else retired[0].selector
    return made


def add_next(tx: Tx, keys: Sequence[DkimKey], made: Iterable[DkimKey]) -> None:
    """Keeps the new keys; a retired one under the same selector makes room."""
    for key in made:
        if any(old.state == "next" and old.algorithm == key.algorithm for old in keys):
            continue  # somebody was faster
        for old in keys:
            if old.state == "retired" and old.selector == key.selector:
                domains.delete_key(tx, old.id)
        domains.add_key(tx, key)


def switch(
    tx: Tx, keys: Sequence[DkimKey], checks: Mapping[str, Any], now: int, *, force: bool = False, demote: bool = True
) -> None:
    """A published `next` key signs from now on; `force`: without being seen."""
    for key in keys:
        status = checks.get(check_name(key.selector), {}).get("status")
        if key.state == "next" and (force or status == VERIFIED):
            for old in keys:
                if old.state == "active" and old.algorithm == key.algorithm:
                    domains.set_key_state(tx, old.id, "retired", now)
            domains.set_key_state(tx, key.id, "active")
        elif demote and key.state == "active" and key.algorithm != ALGORITHMS[0] and status in (MISSING, FAILED):
            domains.set_key_state(tx, key.id, "next")


def expire(tx: Tx, keys: Iterable[DkimKey], settings: Settings, now: int) -> None:
    """Retired keys whose mail is at its end are gone for good."""
    for key in keys:
        if key.state == "retired" and retired_until(key, settings) <= now:
            domains.delete_key(tx, key.id)
