"""Sending domains: made with a challenge and DKIM keys, verified by DNS, or vouched for by the operator.

Challenge, selectors and the targets of CNAME records are random for each organization and domain, so that what one
organization published never verifies the domain for another. A name may be several organizations': each is verified
while its own records are there.
"""

from __future__ import annotations

import asyncio
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from config.settings import Settings
from mta import ids
from mta.control import rotation
from mta.control.blocklist import BlocklistReport, listings_of
from mta.control.domain_settings import SettingChanges, changed, domain_name
from mta.control.inspect import inspect, merge, unsure
from mta.control.records import (
    ALGORITHMS,
    FAILED,
    MISSING,
    PENDING,
    VERIFIED,
    Record,
    check_name,
    needed_checks,
    records_of,
)
from mta.control.zone import zone_file
from mta.errors import Conflict, NotFound
from mta.model import DkimKey, Domain, Page
from mta.net.dns import Resolver
from mta.policy import senders
from mta.protocol.address import AddressError, ascii_domain
from mta.store import audit, domains, events, organizations
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx

DISABLED: Final = "disabled"
FIRST_CHECK_MS: Final = (
    300_000  # who adds a domain publishes its records first; a "no such name" is remembered for long
)
BATCH: Final = 100  # domains read at once
MAX_LISTED: Final = 1000
PATH_CHECKS: Final = ("return_path", "spf")  # what was found at the name of the return path
MAX_LOOKS: Final = 20  # domains looked up at once: whoever asks in a loop does not flood the DNS


@dataclass(frozen=True, slots=True)
class DomainView:
    """A domain with the records that it needs."""

    domain: Domain
    records: tuple[Record, ...]

    def status(self, check: str) -> str:
        """What the last look at the DNS made of spf, return_path, dmarc or dkim (the key that signs)."""
        if check == "dkim":
            signing = [each.status for each in self.records if each.check.startswith("dkim/") and each.required]
            return signing[0] if signing else MISSING
        found = self.domain.checks.get(check)
        return str(found["status"]) if found else PENDING

    @property
    def may_send(self) -> bool:
        return senders.may_send(self.domain)

    @property
    def verdict(self) -> str:
        """Whether it may send, in sentences; if not, what is missing."""
        if self.may_send:
            return f"{self.domain.name} may send."
        if self.domain.status == DISABLED:
            return f"Sending from {self.domain.name} is switched off. Ask the operator of this server why."
        wrong = [each.explanation for each in self.records if each.required and each.status != VERIFIED]
        return " ".join([f"{self.domain.name} may not send yet.", *wrong])


class Domains:
    def __init__(self, database: Database, resolver: Resolver, secrets: Secrets, settings: Settings) -> None:
        self._database = database
        self._resolver = resolver
        self._secrets = secrets
        self._settings = settings
        self._looks = asyncio.Semaphore(MAX_LOOKS)

    async def create(
        self, organization_id: str, name: str, settings: SettingChanges | None = None, *, trusted: bool = False
    ) -> DomainView:
        """A new domain; `trusted` is the operator's word for it. Raises InvalidInput, Conflict."""
        now = ids.now_ms()
        domain = Domain(
            id=ids.new("dom", now),
            organization_id=organization_id,
            name=domain_name(name),
            status=VERIFIED if trusted else PENDING,
            trusted=trusted,
            challenge=random.token_hex(16),
            checks={},
            created_at=now,
            verified_at=now if trusted else None,
            last_checked_at=None,
        )
        domain = replace(domain, settings=changed(domain, settings or {}))
        await self._database.read(_refuse_taken, organization_id, domain.name)  # before keys are made for nothing
        wanted = rotation.selectors(domain, (), self._settings, force=False)
        keys = await asyncio.to_thread(self._make_keys, domain, wanted, first=True)
        await self._database.write(_add, domain, keys)
        return self._view(domain, keys)

    async def page(self, organization_id: str, limit: int = 50, cursor: str | None = None) -> Page[DomainView]:
        """Newest first."""
        found = await self._database.read(_page, organization_id, limit + 1, cursor or "~")
        more = found[limit - 1][0].id if len(found) > limit else None
        return Page(tuple(self._view(domain, keys) for domain, keys in found[:limit]), more)

    async def newest(self, organization_id: str) -> list[DomainView]:
        """The newest `MAX_LISTED`, for who has no pages."""
        found: list[DomainView] = []
        cursor: str | None = None
        while len(found) < MAX_LISTED:
            page = await self.page(organization_id, BATCH, cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def get(self, organization_id: str, id: str) -> DomainView:
        """Raises NotFound, for another organization's too."""
        return self._view(*await self._database.read(_owned, organization_id, id))

    async def by_name(self, organization_id: str, name: str) -> DomainView:
        """Raises NotFound."""
        return self._view(*await self._database.read(_named, organization_id, name))

    async def verify(self, organization_id: str, id: str, *, patient: bool = False) -> DomainView:
        """Looks every record up now, past all caches, and keeps what was found. Raises NotFound.

        A domain whose records are gone fails at once; `patient`: after `domains.grace_s`, unless the DNS shows the name
        to be another organization's by now.
        """
        domain, keys = await self._database.read(_owned, organization_id, id)
        async with self._looks:
            checks = await inspect(domain, keys, self._settings, self._resolver)
        now = ids.now_ms()
        return self._view(
            *await self._database.write(_keep_checks, organization_id, domain, checks, self._settings, now, patient)
        )

    async def rotate(self, organization_id: str, id: str, *, force: bool = False) -> DomainView:
        """New keys. They sign once a verification finds them published; at once where the operator forces it, or where
        a trusted domain's keys were never seen in the DNS. Raises NotFound, Conflict (`rotated_lately`).
        """
        domain, keys = await self._database.read(_owned, organization_id, id)
        wanted = rotation.selectors(domain, keys, self._settings, force=force)
        made = await asyncio.to_thread(self._make_keys, domain, wanted)
        return self._view(*await self._database.write(_rotate, organization_id, id, made, ids.now_ms(), force))

    async def change(self, organization_id: str, id: str, changes: SettingChanges) -> DomainView:
        """What its owner chooses for it. Bounces of mail that went out with another return path are read as before.

        Raises NotFound, InvalidInput.
        """
        return self._view(*await self._database.write(_change, organization_id, id, changes, ids.now_ms()))

    async def default(self, organization_id: str) -> str | None:
        """The id of the domain of mail that names no sender; None: none may send."""
        found = await self._database.read(senders.default_domain, organization_id)
        return found.id if found else None

    async def make_default(self, organization_id: str, id: str) -> DomainView:
        """Mail that names no sender comes from it. Raises NotFound, InvalidInput where it may not send."""
        return self._view(*await self._database.write(_make_default, organization_id, id))

    async def blocklist(self, organization_id: str, id: str) -> BlocklistReport:
        """What the blocklists of the settings say of the domain and of our addresses. Raises NotFound."""
        domain, _ = await self._database.read(_owned, organization_id, id)
        async with self._looks:
            found = await listings_of(domain.name, self._settings, self._resolver)
        return BlocklistReport(domain.name, found, ids.now_ms())

    async def trust(self, organization_id: str, id: str) -> DomainView:
        """The operator vouches: it may send whatever the DNS says. Raises NotFound."""
        return self._view(*await self._database.write(_trust, organization_id, id, ids.now_ms()))

    async def disable(self, organization_id: str, id: str, reason: str = "The operator switched it off.") -> DomainView:
        """No mail is accepted from it until `enable`. Raises NotFound."""
        return self._view(*await self._database.write(_disable, organization_id, id, ids.now_ms(), reason))

    async def enable(self, organization_id: str, id: str) -> DomainView:
        """It sends again where the last look at the DNS, or the operator's word, lets it. Raises NotFound."""
        return self._view(*await self._database.write(_enable, organization_id, id, self._settings, ids.now_ms()))

    async def delete(self, organization_id: str, id: str) -> DomainView:
        """No new mail from it; its keys live until its queue is empty. Raises NotFound."""
        return self._view(*await self._database.write(_delete, organization_id, id, ids.now_ms()))

    async def zone(self, *, bare: bool = False) -> str:
        """The file of the operator's own zone. Raises NotFound where there is none."""
        if not self._settings.dns_zone:
            raise NotFound("dns_zone is empty: name a zone of yours in the configuration first.", code="no_dns_zone")
        found: list[Found] = []
        while more := await self._database.read(_everything, found[-1][0].id if found else "", BATCH):
            found += more
        published = [(domain, keys) for domain, keys in found if keys]  # deleted, and its mail at its end
        return zone_file(published, self._settings, ids.now_ms() // 1000, bare=bare)

    def _view(self, domain: Domain, keys: Sequence[DkimKey]) -> DomainView:
        return DomainView(domain, tuple(records_of(domain, keys, self._settings)))

    def _make_keys(self, domain: Domain, wanted: Mapping[str, str], first: bool = False) -> list[DkimKey]:
        """In a thread. The first RSA key signs; of an unverified domain, the second signature waits to be published."""
        made = []
        for algorithm in ALGORITHMS:
            if algorithm in wanted:
                signs = first and (domain.trusted or algorithm == ALGORITHMS[0])
                state = "active" if signs else "next"
                made.append(rotation.make_key(domain, algorithm, wanted[algorithm], state, self._secrets))
        return made


Found = tuple[Domain, list[DkimKey]]


def _refuse_taken(tx: Tx, organization_id: str, name: str) -> None:
    if found := domains.by_name(tx, organization_id, name):
        raise Conflict(
            f"{name} is a domain of this organization already ({found.id}).", code="domain_exists", field="domain"
        )


def _add(tx: Tx, domain: Domain, keys: Sequence[DkimKey]) -> None:
    _refuse_taken(tx, domain.organization_id, domain.name)
    domains.add(tx, domain)
    domains.check_at(tx, domain.id, domain.created_at + FIRST_CHECK_MS)
    for key in keys:
        domains.add_key(tx, key)
    _tell(tx, domain, "domain.created", domain.created_at)
    _note(tx, domain, "created", trusted=domain.trusted)
    if domain.status == VERIFIED:
        _tell(tx, domain, "domain.verified", domain.created_at)


def _page(tx: Tx, organization_id: str, limit: int, before: str) -> list[Found]:
    return [(domain, domains.keys(tx, domain.id)) for domain in domains.page(tx, organization_id, limit, before)]


def _everything(tx: Tx, after: str, limit: int) -> list[Found]:
    return [(domain, domains.keys(tx, domain.id)) for domain in domains.everything(tx, after, limit)]


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


def _keep_checks(
    tx: Tx, organization_id: str, seen: Domain, checks: Mapping[str, Any], settings: Settings, now: int, patient: bool
) -> Found:
    id = seen.id
    domain, keys = _owned(tx, organization_id, id)
    if domain.settings.mail_from != seen.settings.mail_from:  # moved while we looked
        checks = {**checks, **{name: unsure() for name in PATH_CHECKS}}
    kept = merge(domain.checks, checks, now)
    rotation.switch(tx, keys, checks, now, demote=not domain.trusted)
    rotation.expire(tx, keys, settings, now)
    keys = domains.keys(tx, id)
    status = judge(domain, needed_checks(keys, settings), kept)
    if status == FAILED and domain.status == VERIFIED and patient and not _taken_over(tx, domain, kept):
        since = min(kept[each]["since"] for each in needed_checks(keys, settings) if _is_bad(kept.get(each)))
        if now - since < settings.domains.grace_s * 1000:
            status = VERIFIED
    verified_at = now if status == VERIFIED and domain.verified_at is None else domain.verified_at
    domains.update(
        tx, id, status=status, trusted=domain.trusted, checks=kept, verified_at=verified_at, last_checked_at=now
    )
    if status != domain.status:
        _tell_change(tx, domain, status, kept, needed_checks(keys, settings), now)
    return _owned(tx, organization_id, id)


def _is_bad(found: Mapping[str, Any] | None) -> bool:
    return found is not None and found["status"] in (MISSING, FAILED)


def judge(domain: Domain, needed: Sequence[str], checks: Mapping[str, Any]) -> str:
    """The domain's status: only what the DNS says for sure changes it.

    One that was verified once and whose records are gone has failed; a new one waits for them.
    """
    if domain.status == DISABLED or domain.trusted:
        return domain.status
    states = {checks[name]["status"] if name in checks else PENDING for name in needed}
    if states == {VERIFIED}:
        return VERIFIED
    if not states & {MISSING, FAILED}:
        return domain.status
    return FAILED if FAILED in states or domain.verified_at else PENDING


def _taken_over(tx: Tx, domain: Domain, checks: Mapping[str, Any]) -> bool:
    """The proof is gone, and the DNS has proved the name to be another organization's."""
    return _is_bad(checks.get("ownership")) and domains.verified_elsewhere(tx, domain)


def _rotate(tx: Tx, organization_id: str, id: str, made: Sequence[DkimKey], now: int, force: bool) -> Found:
    domain, keys = _owned(tx, organization_id, id)
    rotation.add_next(tx, keys, made)
    keys = domains.keys(tx, id)
    active = [domain.checks.get(check_name(key.selector), {}) for key in keys if key.state == "active"]
    never_seen = all(each.get("status") != VERIFIED for each in active)
    if force or (domain.trusted and never_seen):
        rotation.switch(tx, keys, {}, now, force=True)
    _note(tx, domain, "rotated", force=force)
    return _owned(tx, organization_id, id)


def _change(tx: Tx, organization_id: str, id: str, changes: SettingChanges, now: int) -> Found:
    domain, _ = _owned(tx, organization_id, id)
    settings = changed(domain, changes)
    domains.set_settings(tx, id, settings)
    if settings.mail_from != domain.settings.mail_from:  # nothing is known of the new name: the server's own until then
        known = {name: found for name, found in domain.checks.items() if name not in PATH_CHECKS}
        _set_status(tx, replace(domain, checks=known), domain.status, domain.verified_at)
        domains.check_at(tx, id, now)
    _note(tx, domain, "changed", **changes)
    return _owned(tx, organization_id, id)


def _make_default(tx: Tx, organization_id: str, id: str) -> Found:
    domain, _ = _owned(tx, organization_id, id)
    senders.sending_domain(tx, organization_id, domain.name)
    organization = organizations.by_id(tx, organization_id)
    assert organization is not None
    settings = {**organization.settings, senders.DEFAULT_DOMAIN: domain.name}
    organizations.update(tx, replace(organization, settings=settings))
    return _owned(tx, organization_id, id)


def _trust(tx: Tx, organization_id: str, id: str, now: int) -> Found:
    domain, keys = _owned(tx, organization_id, id)
    _set_status(tx, domain, VERIFIED, domain.verified_at or now, trusted=True)
    if not any(key.state == "active" for key in keys):
        rotation.switch(tx, keys, {}, now, force=True)
    if domain.status != VERIFIED:
        _tell(tx, domain, "domain.verified", now)
    _note(tx, domain, "trusted")
    return _owned(tx, organization_id, id)


def _disable(tx: Tx, organization_id: str, id: str, now: int, reason: str) -> Found:
    domain, _ = _owned(tx, organization_id, id)
    if domain.status != DISABLED:
        _set_status(tx, domain, DISABLED, domain.verified_at)
        _tell(tx, domain, "domain.failed", now, status=DISABLED, reason=reason)
        _note(tx, domain, "disabled")
    return _owned(tx, organization_id, id)


def _enable(tx: Tx, organization_id: str, id: str, settings: Settings, now: int) -> Found:
    domain, keys = _owned(tx, organization_id, id)
    if domain.status != DISABLED:
        raise Conflict(f"{domain.name} is not disabled; it is {domain.status}.", code="domain_not_disabled")
    before = replace(domain, status=VERIFIED if domain.trusted else PENDING)
    status = judge(before, needed_checks(keys, settings), domain.checks)
    _set_status(tx, domain, status, domain.verified_at)
    domains.check_at(tx, id, now)
    _note(tx, domain, "enabled")
    if status == VERIFIED:
        _tell(tx, domain, "domain.verified", now)
    return _owned(tx, organization_id, id)


def _delete(tx: Tx, organization_id: str, id: str, now: int) -> Found:
    found = _owned(tx, organization_id, id)
    domains.delete(tx, id, now)
    _tell(tx, found[0], "domain.deleted", now)
    _note(tx, found[0], "deleted")
    return found


def _set_status(tx: Tx, domain: Domain, status: str, verified_at: int | None, *, trusted: bool | None = None) -> None:
    domains.update(
        tx,
        domain.id,
        status=status,
        trusted=domain.trusted if trusted is None else trusted,
        checks=domain.checks,
        verified_at=verified_at,
        last_checked_at=domain.last_checked_at,
    )


def _tell_change(
    tx: Tx, domain: Domain, status: str, checks: Mapping[str, Any], needed: Sequence[str], now: int
) -> None:
    if status == VERIFIED:
        _tell(tx, domain, "domain.verified", now)
        domains.check_others(tx, domain)  # who had the name before may have it no longer
    elif status == FAILED:
        wrong = {name: checks[name]["said"] for name in needed if _is_bad(checks.get(name))}
        _tell(tx, domain, "domain.failed", now, status=FAILED, reason=" ".join(wrong.values()), checks=sorted(wrong))


def _note(tx: Tx, domain: Domain, what: str, **details: Any) -> None:
    audit.add(tx, domain.organization_id, f"domain.{what}", domain.id, domain=domain.name, **details)


def _tell(tx: Tx, domain: Domain, type: str, now: int, **data: Any) -> None:
    events.add(tx, domain.organization_id, type, "domain", domain.id, data={"domain": domain.name, **data}, at=now)
