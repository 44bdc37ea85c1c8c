"""Sending domains: made with a challenge and two DKIM keys, verified by DNS, or vouched for by the operator.

Challenge and selectors are random for each organization and domain, so that what one organization published never
verifies the domain for another.
"""

from __future__ import annotations

import asyncio
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.settings import Settings
from mta import ids
from mta.control.records import FAILED, MISSING, VERIFIED, Record, check_name, look_up, records_of
from mta.errors import Conflict, InvalidInput, NotFound
from mta.model import DkimKey, Domain, Page
from mta.net.dns import Resolver
from mta.protocol import dkim
from mta.protocol.address import AddressError, ascii_domain
from mta.store import domains, events
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx

ALGORITHMS: Final[tuple[dkim.Algorithm, ...]] = ("rsa-sha256", "ed25519-sha256")
DISABLED: Final = "disabled"


@dataclass(frozen=True, slots=True)
class DomainView:
    """A domain with the records that it needs."""

    domain: Domain
    records: tuple[Record, ...]


class Domains:
    def __init__(self, database: Database, resolver: Resolver, secrets: Secrets, settings: Settings) -> None:
        self._database = database
        self._resolver = resolver
        self._secrets = secrets
        self._settings = settings

    async def create(self, organization_id: str, name: str, *, trusted: bool = False) -> DomainView:
        """A new domain; `trusted` is the operator's word for it. Raises InvalidInput, Conflict."""
        domain = Domain(
            id=ids.new("dom"),
            organization_id=organization_id,
            name=domain_name(name),
            status=VERIFIED if trusted else "pending",
            trusted=trusted,
            challenge=random.token_hex(16),
            checks={},
            created_at=ids.now_ms(),
            verified_at=ids.now_ms() if trusted else None,
            last_checked_at=None,
        )
        await self._database.read(_refuse_taken, organization_id, domain.name)  # before keys are made for nothing
        keys = await asyncio.to_thread(self._make_keys, domain, "active")
        await self._database.write(_add, domain, keys)
        return self._view(domain, keys)

    async def page(self, organization_id: str, limit: int = 50, cursor: str | None = None) -> Page[DomainView]:
        """Newest first."""
        found = await self._database.read(_page, organization_id, limit + 1, cursor or "~")
        more = found[limit - 1][0].id if len(found) > limit else None
        return Page(tuple(self._view(domain, keys) for domain, keys in found[:limit]), more)

    async def get(self, organization_id: str, id: str) -> DomainView:
        """Raises NotFound, for another organization's too."""
        return self._view(*await self._database.read(_owned, organization_id, id))

    async def by_name(self, organization_id: str, name: str) -> DomainView:
        """Raises NotFound."""
        return self._view(*await self._database.read(_named, organization_id, name))

    async def verify(self, organization_id: str, id: str) -> DomainView:
        """Looks every record up now, past all caches, and keeps what was found. Raises NotFound."""
        domain, keys = await self._database.read(_owned, organization_id, id)
        checks = await look_up(records_of(domain, keys, self._settings), self._resolver)
        return self._view(*await self._database.write(_keep_checks, organization_id, id, checks, ids.now_ms()))

    async def rotate(self, organization_id: str, id: str) -> DomainView:
        """New keys under new selectors. They sign once a verification finds them published. Raises NotFound."""
        domain, keys = await self._database.read(_owned, organization_id, id)
        if not any(key.state == "next" for key in keys):
            made = await asyncio.to_thread(self._make_keys, domain, "next")
            domain, keys = await self._database.write(_add_next, organization_id, id, made)
        return self._view(domain, keys)

    async def trust(self, organization_id: str, id: str) -> DomainView:
        """The operator vouches: it may send whatever the DNS says. Raises NotFound."""
        return self._view(*await self._database.write(_trust, organization_id, id, ids.now_ms()))

    async def delete(self, organization_id: str, id: str) -> DomainView:
        """No new mail from it; its keys live until its queue is empty. Raises NotFound."""
        return self._view(*await self._database.write(_delete, organization_id, id, ids.now_ms()))

    def _view(self, domain: Domain, keys: Sequence[DkimKey]) -> DomainView:
        return DomainView(domain, tuple(records_of(domain, keys, self._settings)))

    def _make_keys(self, domain: Domain, state: str) -> list[DkimKey]:
        """In a thread: an RSA key takes 50 ms and more."""
        token = random.token_hex(4)
        return [self._make_key(domain, algorithm, f"ph{token}{algorithm[0]}", state) for algorithm in ALGORITHMS]

    def _make_key(self, domain: Domain, algorithm: dkim.Algorithm, selector: str, state: str) -> DkimKey:
        pem, now = dkim.generate(algorithm), ids.now_ms()
        id = ids.new("dkm", now)
        value = dkim.dns_value(dkim.load(pem))
        sealed = self._secrets.seal(pem, f"dkim/{id}")
        return DkimKey(id, domain.id, domain.name, selector, algorithm, sealed, value, state, now)


Found = tuple[Domain, list[DkimKey]]


def domain_name(text: str) -> str:
    """A name that mail can come from or go to. Raises InvalidInput."""
    try:
        name = ascii_domain(text.strip())
    except AddressError as error:
        raise InvalidInput(str(error), code="invalid_domain", field="domain") from error
    labels = name.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or "_" in name or len(name) > 200:
        raise InvalidInput(
            f'"{text[:200]}" is no domain that mail can come from; write it like example.com.',
            code="invalid_domain",
            field="domain",
        )
    return name


def _refuse_taken(tx: Tx, organization_id: str, name: str) -> None:
    if found := domains.by_name(tx, organization_id, name):
        raise Conflict(
            f"{name} is a domain of this organization already ({found.id}).", code="domain_exists", field="domain"
        )


def _add(tx: Tx, domain: Domain, keys: Sequence[DkimKey]) -> None:
    _refuse_taken(tx, domain.organization_id, domain.name)
    domains.add(tx, domain)
    for key in keys:
        domains.add_key(tx, key)
    _tell(tx, domain, "domain.created", domain.created_at)
    if domain.status == VERIFIED:
        _tell(tx, domain, "domain.verified", domain.created_at)


def _page(tx: Tx, organization_id: str, limit: int, before: str) -> list[Found]:
    return [(domain, domains.keys(tx, domain.id)) for domain in domains.page(tx, organization_id, limit, before)]


def _owned(tx: Tx, organization_id: str, id: str) -> Found:
    domain = domains.by_id(tx, id)
    if domain is None or domain.organization_id != organization_id:
        raise NotFound(f"There is no domain {id}.")
    return domain, domains.keys(tx, id)


def _named(tx: Tx, organization_id: str, name: str) -> Found:
    try:
        domain = domains.by_name(tx, organization_id, ascii_domain(name))
    except AddressError:
        domain = None
    if domain is None:
        raise NotFound(f"There is no domain {name} in this organization.")
    return domain, domains.keys(tx, domain.id)


def _keep_checks(tx: Tx, organization_id: str, id: str, checks: Mapping[str, Any], now: int) -> Found:
    domain, keys = _owned(tx, organization_id, id)
    _switch_keys(tx, keys, checks, now)
    keys = domains.keys(tx, id)
    status = _status(domain, keys, checks)
    verified_at = now if status == VERIFIED and domain.verified_at is None else domain.verified_at
    domains.update(
        tx,
        id,
        status=status,
        trusted=domain.trusted,
        checks=checks,
        verified_at=verified_at,
        last_checked_at=now,
    )
    if status != domain.status and status in (VERIFIED, FAILED):
        _tell(tx, domain, f"domain.{status}", now)
    return _owned(tx, organization_id, id)


def _status(domain: Domain, keys: Sequence[DkimKey], checks: Mapping[str, Any]) -> str:
    """Verified takes the ownership record and the RSA key; what is verified fails only when the DNS says so for sure."""
    if domain.status == DISABLED or domain.trusted:
        return domain.status
    needed = ["ownership"]
    needed += [check_name(key) for key in keys if key.state == "active" and key.algorithm == "rsa-sha256"]
    states = {checks[name]["status"] if name in checks else "pending" for name in needed}
    if states == {VERIFIED}:
        return VERIFIED
    if domain.status == VERIFIED:
        return FAILED if states & {MISSING, FAILED} else VERIFIED
    return FAILED if FAILED in states else "pending"


def _switch_keys(tx: Tx, keys: Sequence[DkimKey], checks: Mapping[str, Any], now: int) -> None:
    """A published `next` key signs from now on; the one before it keeps its record for the mail that is under way."""
    for key in keys:
        if key.state != "next" or checks.get(check_name(key), {}).get("status") != VERIFIED:
            continue
        for old in keys:
            if old.state == "active" and old.algorithm == key.algorithm:
                domains.set_key_state(tx, old.id, "retired", now)
        domains.set_key_state(tx, key.id, "active")


def _add_next(tx: Tx, organization_id: str, id: str, made: Sequence[DkimKey]) -> Found:
    _, keys = _owned(tx, organization_id, id)
    if not any(key.state == "next" for key in keys):
        for key in made:
            domains.add_key(tx, key)
    return _owned(tx, organization_id, id)


def _trust(tx: Tx, organization_id: str, id: str, now: int) -> Found:
    domain, _ = _owned(tx, organization_id, id)
    domains.update(
        tx,
        id,
        status=VERIFIED,
        trusted=True,
        checks=domain.checks,
        verified_at=domain.verified_at or now,
        last_checked_at=domain.last_checked_at,
    )
    if domain.status != VERIFIED:
        _tell(tx, domain, "domain.verified", now)
    return _owned(tx, organization_id, id)


def _delete(tx: Tx, organization_id: str, id: str, now: int) -> Found:
    found = _owned(tx, organization_id, id)
    domains.delete(tx, id, now)
    _tell(tx, found[0], "domain.deleted", now)
    return found


def _tell(tx: Tx, domain: Domain, type: str, now: int) -> None:
    events.add(tx, domain.organization_id, type, "domain", domain.id, data={"domain": domain.name}, at=now)
