"""Sending domains: made with a challenge and DKIM keys, verified by DNS, or vouched for by the operator.

Challenge, selectors and the targets of CNAME records are random for each organization and domain, so that what one
organization published never verifies the domain for another. A name may be several organizations': each is verified
while its own records are there.
"""

from __future__ import annotations

import asyncio
import secrets as random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from config.settings import Settings
from mta import ids
from mta.control import domain_changes as stored
from mta.control import rotation
from mta.control.blocklist import BlocklistReport, listings_of
from mta.control.domain_settings import SettingChanges, changed, domain_name
from mta.control.inspect import inspect
from mta.control.records import (
    ALGORITHMS,
    MISSING,
    PENDING,
    VERIFIED,
    Record,
    records_of,
)
from mta.control.zone import zone_file
from mta.errors import NotFound
from mta.model import DkimKey, Domain, Page
from mta.net.dns import Resolver
from mta.policy import senders
from mta.store.database import Database
from mta.store.secrets import Secrets

BATCH: Final = 100  # domains read at once
MAX_LISTED: Final = 1000
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
        if self.domain.status == stored.DISABLED:
            return f"Sending from {self.domain.name} is switched off. Ask the operator of this server why."
        wrong = [each.explanation for each in self.records if each.required and each.status != VERIFIED]
        return " ".join([f"{self.domain.name} may not send yet.", *wrong])


class Domains:
    def __init__(
        self,
        database: Database,
        resolver: Resolver,
        secrets: Secrets,
        settings: Settings,
        on_change: Callable[[str, str], None] = lambda organization_id, name: None,
    ) -> None:
        """`on_change` is told of each domain whose keys, return path or wishes may have changed."""
        self._on_change = on_change
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
        await self._database.read(stored.refuse_taken, organization_id, domain.name)  # before keys are made for nothing
        wanted = rotation.selectors(domain, (), self._settings, force=False)
        keys = await asyncio.to_thread(self._make_keys, domain, wanted, first=True)
        await self._database.write(stored.add, domain, keys)
        self._on_change(organization_id, domain.name)
        return self._view(domain, keys)

    async def page(self, organization_id: str, limit: int = 50, cursor: str | None = None) -> Page[DomainView]:
        """Newest first."""
        found = await self._database.read(stored.page, organization_id, limit + 1, cursor or "~")
        return Page.cut([self._view(*one) for one in found], limit, lambda view: view.domain.id)

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
        return self._view(*await self._database.read(stored.owned, organization_id, id))

    async def by_name(self, organization_id: str, name: str) -> DomainView:
        """Raises NotFound."""
        return self._view(*await self._database.read(stored.named, organization_id, name))

    async def verify(self, organization_id: str, id: str, *, patient: bool = False) -> DomainView:
        """Looks every record up now, past all caches, and keeps what was found. Raises NotFound.

        A domain whose records are gone fails at once; `patient`: after `domains.grace_s`, unless the DNS shows the name
        to be another organization's by now.
        """
        domain, keys = await self._database.read(stored.owned, organization_id, id)
        async with self._looks:
            checks = await inspect(domain, keys, self._settings, self._resolver)
        now = ids.now_ms()
        return await self._write(stored.keep_checks, organization_id, domain, checks, self._settings, now, patient)

    async def rotate(self, organization_id: str, id: str, *, force: bool = False) -> DomainView:
        """New keys. They sign once a verification finds them published; at once where the operator forces it, or where
        a trusted domain's keys were never seen in the DNS. Raises NotFound, Conflict (`rotated_lately`).
        """
        domain, keys = await self._database.read(stored.owned, organization_id, id)
        wanted = rotation.selectors(domain, keys, self._settings, force=force)
        made = await asyncio.to_thread(self._make_keys, domain, wanted)
        return await self._write(stored.rotate, organization_id, id, made, ids.now_ms(), force)

    async def change(self, organization_id: str, id: str, changes: SettingChanges) -> DomainView:
        """What its owner chooses for it. Bounces of mail that went out with another return path are read as before.

        Raises NotFound, InvalidInput.
        """
        return await self._write(stored.change, organization_id, id, changes, ids.now_ms())

    async def default(self, organization_id: str) -> str | None:
        """The id of the domain of mail that names no sender; None: none may send."""
        found = await self._database.read(senders.default_domain, organization_id)
        return found.id if found else None

    async def make_default(self, organization_id: str, id: str) -> DomainView:
        """Mail that names no sender comes from it. Raises NotFound, InvalidInput where it may not send."""
        return await self._write(stored.make_default, organization_id, id)

    async def blocklist(self, organization_id: str, id: str) -> BlocklistReport:
        """What the blocklists of the settings say of the domain and of our addresses. Raises NotFound."""
        domain, _ = await self._database.read(stored.owned, organization_id, id)
        async with self._looks:
            found = await listings_of(domain.name, self._settings, self._resolver)
        return BlocklistReport(domain.name, found, ids.now_ms())

    async def trust(self, organization_id: str, id: str) -> DomainView:
        """The operator vouches: it may send whatever the DNS says. Raises NotFound."""
        return await self._write(stored.trust, organization_id, id, ids.now_ms())

    async def disable(self, organization_id: str, id: str, reason: str = "The operator switched it off.") -> DomainView:
        """No mail is accepted from it until `enable`. Raises NotFound."""
        return await self._write(stored.disable, organization_id, id, ids.now_ms(), reason)

    async def enable(self, organization_id: str, id: str) -> DomainView:
        """It sends again where the last look at the DNS, or the operator's word, lets it. Raises NotFound."""
        return await self._write(stored.enable, organization_id, id, self._settings, ids.now_ms())

    async def delete(self, organization_id: str, id: str) -> DomainView:
        """No new mail from it; its keys live until its queue is empty. Raises NotFound."""
        return await self._write(stored.delete, organization_id, id, ids.now_ms())

    async def zone(self, *, bare: bool = False) -> str:
        """The file of the operator's own zone. Raises NotFound where there is none."""
        if not self._settings.dns_zone:
            raise NotFound("dns_zone is empty: name a zone of yours in the configuration first.", code="no_dns_zone")
        found: list[stored.Found] = []
        while more := await self._database.read(stored.everything, found[-1][0].id if found else "", BATCH):
            found += more
        published = [(domain, keys) for domain, keys in found if keys]  # deleted, and its mail at its end
        return zone_file(published, self._settings, ids.now_ms() // 1000, bare=bare)

    async def _write(self, change: Callable[..., stored.Found], *facts: Any) -> DomainView:
        domain, keys = await self._database.write(change, *facts)
        self._on_change(domain.organization_id, domain.name)
        return self._view(domain, keys)

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
