"""Inbound domains and the mail that came for them, as their organization sees it; and raw mail from another server."""

from __future__ import annotations

import asyncio
from typing import Final

from config.settings import Settings
from mta import ids
from mta.accept.submission import InMemory
from mta.control.domain_settings import domain_name
from mta.errors import Conflict, InvalidInput, NotFound
from mta.inbound import content
from mta.inbound.content import Download
from mta.inbound.receive import Arrival, Inbound, Received
from mta.model import InboundDomain, InboundMessage, Page, Principal
from mta.net.dns import DnsError, DnsTemporary, Resolver
from mta.protocol.address import Address, AddressError, parse_address
from mta.protocol.mailboxes import parse_mailboxes
from mta.store import audit, bodies, events, inbound
from mta.store.database import Database
from mta.store.sqlite import Tx

LISTED_TEXT: Final = 10_000  # characters of each text and HTML in a list
PREFERENCE: Final = 10


class InboundMail:
    """`door` is where listeners hand in what arrives."""

    def __init__(self, database: Database, resolver: Resolver, settings: Settings, door: Inbound) -> None:
        self.door = door
        self._database = database
        self._resolver = resolver
        self._settings = settings

    @property
    def mx_host(self) -> str:
        """What an inbound domain's MX record points to."""
        return self._settings.hostname

    @property
    def mx_preference(self) -> int:
        return PREFERENCE

    async def create(self, principal: Principal, name: str) -> InboundDomain:
        """It receives from now on. Raises InvalidInput, Conflict where somebody has it."""
        domain = domain_name(name)
        if domain in (self._settings.hostname, self._settings.bounce_domain):
            raise Conflict(f"{domain} is this server's own name.", code="domain_exists", field="domain")
        made = InboundDomain(ids.new("ind"), principal.organization_id, domain, "pending", (), ids.now_ms())
        await self._database.write(_add_domain, made)
        return made

    async def domains(self, principal: Principal, limit: int = 50, cursor: str | None = None) -> Page[InboundDomain]:
        """Newest first."""
        found = await self._database.read(inbound.domains, principal.organization_id, limit + 1, cursor or "~")
        return Page.cut(found, limit)

    async def domain(self, principal: Principal, id: str) -> InboundDomain:
        """Raises NotFound."""
        return await self._database.read(_owned_domain, principal.organization_id, id)

    async def verify(self, principal: Principal, id: str) -> InboundDomain:
        """Looks the MX up now. It only reports: mail is taken whatever the DNS says. Raises NotFound."""
        domain = await self.domain(principal, id)
        self._resolver.forget(domain.name)
        try:
            found = [f"{preference} {host}" for preference, host in await self._resolver.mx(domain.name)]
            hosts = {line.partition(" ")[2].rstrip(".").lower() for line in found}
            status = "verified" if self.mx_host in hosts else "failed"
        except DnsTemporary:
            found, status = list(domain.found), "pending"
        except DnsError:
            found, status = [], "missing"
        return await self._database.write(_keep_check, principal.organization_id, id, status, found, ids.now_ms())

    async def delete(self, principal: Principal, id: str) -> None:
        """No more mail for it; what came stays. Raises NotFound."""
        await self._database.write(_delete_domain, principal.organization_id, id, ids.now_ms())

    async def messages(self, principal: Principal, limit: int = 50, cursor: str | None = None) -> Page[InboundMessage]:
        """Newest first; of text and HTML the first LISTED_TEXT characters."""
        found = await self._database.read(
            inbound.page, principal.organization_id, limit + 1, cursor or "~", LISTED_TEXT
        )
        return Page.cut(found, limit)

    async def message(self, principal: Principal, id: str) -> InboundMessage:
        """Raises NotFound."""
        return await self._database.read(_owned_message, principal.organization_id, id)

    async def raw(self, principal: Principal, id: str) -> bytes:
        """The whole message with our trace fields. Raises NotFound, also where it was deleted."""
        message = await self.message(principal, id)
        return await self._database.read(_raw, message)

    async def attachment(self, principal: Principal, id: str, attachment_id: str) -> Download:
        """One part, decoded. Raises NotFound."""
        found = await asyncio.to_thread(content.attachment, await self.raw(principal, id), attachment_id)
        if found is None:
            raise NotFound(f"Message {id} has no attachment {attachment_id}.")
        return found

    async def html(self, message: InboundMessage) -> str | None:
        """Its HTML with the images that came with it in it, as long as its content is there."""
        if message.html is None or not any(each.content_id for each in message.attachments):
            return message.html
        try:
            data = await self._database.read(_raw, message)
        except NotFound:
            return message.html
        return await asyncio.to_thread(content.with_images, message.html, data)

    async def ingest(
        self, data: bytes, sender: str | None, recipients: list[str], ip: str = "", helo: str = ""
    ) -> Received:
        """A raw message that another server took for us. Raises InvalidInput where nobody of these is here."""
        arrival = []
        for text in recipients:
            address = _address(text, "to")
            target = await self.door.find(address)
            if target is None:
                raise InvalidInput(f"{address} is nobody here.", code="recipient_unknown", field="to")
            arrival.append((address, target))
        if not arrival:
            raise InvalidInput("Say for whom this came: to=ADDRESS.", code="recipient_missing", field="to")
        path = _address(sender, "from") if sender and sender != "<>" else None
        made = Arrival(path, arrival, ip or "127.0.0.1", helo or "localhost", "HTTP")
        return await self.door.receive(made, InMemory(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")))


def header_fields(message: InboundMessage) -> dict[str, str]:
    """By their names in lower case; the values of one that stands several times, with line feeds between them."""
    found: dict[str, str] = {}
    for name, value in message.headers:
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def addresses_in(message: InboundMessage, field: str) -> list[str]:
    """Of a header field, without names: those that can be read."""
    values = (value for name, value in message.headers if name == field)
    return [str(address) for value in values for _, address in parse_mailboxes(value).mailboxes]


def _address(text: str, field: str) -> Address:
    try:
        return parse_address(text.strip().strip("<>"))
    except AddressError as error:
        raise InvalidInput(f"{field}: {error}", code="invalid_address", field=field) from error


def _add_domain(tx: Tx, made: InboundDomain) -> None:
    taken = inbound.domain_by_name(tx, made.name)
    if taken is not None:
        whose = "this" if taken.organization_id == made.organization_id else "another"
        raise Conflict(f"{made.name} receives for {whose} organization already.", code="domain_exists", field="domain")
    inbound.add_domain(tx, made)
    _tell(tx, made, "inbound.domain.created", made.created_at)
    audit.add(tx, made.organization_id, "inbound_domain.created", made.id, domain=made.name)


def _owned_domain(tx: Tx, organization_id: str, id: str) -> InboundDomain:
    found = inbound.domain_by_id(tx, id)
    if found is None or found.organization_id != organization_id:
        raise NotFound(f"There is no inbound domain {id}.")
    return found


def _keep_check(tx: Tx, organization_id: str, id: str, status: str, found: list[str], now: int) -> InboundDomain:
    before = _owned_domain(tx, organization_id, id)
    inbound.keep_check(tx, id, status, found, now)
    if status != before.status and status == "verified":
        _tell(tx, before, "inbound.domain.verified", now)
    return _owned_domain(tx, organization_id, id)


def _delete_domain(tx: Tx, organization_id: str, id: str, now: int) -> None:
    domain = _owned_domain(tx, organization_id, id)
    inbound.delete_domain(tx, id)
    _tell(tx, domain, "inbound.domain.deleted", now)
    audit.add(tx, organization_id, "inbound_domain.deleted", id, domain=domain.name)


def _tell(tx: Tx, domain: InboundDomain, type: str, now: int) -> None:
    events.add(tx, domain.organization_id, type, "inbound_domain", domain.id, data={"domain": domain.name}, at=now)


def _owned_message(tx: Tx, organization_id: str, id: str) -> InboundMessage:
    found = inbound.by_id(tx, id)
    if found is None or found.organization_id != organization_id:
        raise NotFound(f"There is no inbound message {id}.")
    return found


def _raw(tx: Tx, message: InboundMessage) -> bytes:
    body = bodies.by_id(tx, message.body_id, inline=0)
    if body is None:
        raise NotFound(f"The content of message {message.id} has been deleted.", code="content_gone")
    chunks = [body.head, b"\r\n"]
    while (chunk := bodies.chunk(tx, body.id, len(chunks) - 2)) is not None:
        chunks.append(chunk)
    return b"".join(chunks)
