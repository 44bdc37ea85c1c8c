"""A store with one organization, its verified domain and the one door, for the tests of what comes in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from config.settings import Settings
from mta import ids
from mta.accept.broadcast import WayOut
from mta.accept.submission import InMemory, Raw, Submission
from mta.accept.submit import Accept
from mta.errors import PosthouseError
from mta.model import ApiKey, Delivery, Domain, Message, Options, Organization, Principal, Queued, Recipient
from mta.policy.authentication import secret_hash
from mta.protocol.address import Address, parse_address
from mta.protocol.mime import Draft
from mta.store import bodies, deliveries, domains, messages, organizations, suppressions
from mta.store.database import Database
from mta.store.sqlite import Tx

SETTINGS = Settings(hostname="mx.example.net")
WAY_OUT = WayOut(b"w" * 32, "https://mail.example.net", "mx.example.net")
NOON = 1_800_000_000_000 - 1_800_000_000_000 % 86_400_000 + 43_200_000


@dataclass
class House:
    """A store with one organization, its verified domain, and the door."""

    database: Database
    organization: Organization
    settings: Settings = SETTINGS
    now: int = NOON
    offered: list[Queued] = field(default_factory=list)

    @property
    def accept(self) -> Accept:
        return Accept(self.database, self.settings, self.offered.extend, WAY_OUT, clock=lambda: self.now)

    @property
    def owner(self) -> Principal:
        return Principal(self.organization.id)

    async def domain(self, name: str, status: str = "verified", *, trusted: bool = False) -> None:
        made = Domain(ids.new("dom"), self.organization.id, name, status, trusted, "c", {}, 0, 0, None)
        await self.database.write(domains.add, made)

    async def suppress(self, email: str, reason: str = "hard_bounce", stream: str = "", *, test: bool = False) -> None:
        def add(tx: Tx) -> None:
            suppressions.add(tx, self.organization.id, email, reason, "user", 0, stream=stream, test=test)

        await self.database.write(add)

    async def key(self, secret: str, *scopes: str, test: bool = False, expires_at: int | None = None) -> str:
        """Makes an API key; returns its id."""
        made = ApiKey(ids.new("key"), self.organization.id, "a key", secret[:4], scopes or ("*",), test, 0, expires_at)
        await self.database.write(organizations.add_key, made, secret_hash(secret))
        return made.id

    async def message(self, id: str) -> Message:
        found = await self.database.read(messages.by_id, id)
        assert found is not None
        return found

    async def deliveries(self, id: str) -> list[Delivery]:
        return await self.database.read(deliveries.by_message, id)

    async def head(self, id: str) -> str:
        body = await self.database.read(bodies.by_id, (await self.message(id)).body_id)
        assert body is not None
        return body.head.decode()

    async def count(self, table: str) -> int:
        row = await self.database.read(lambda tx: tx.one(f"SELECT count(*) FROM {table}"))
        assert row is not None
        return int(row[0])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = Database(tmp_path / "posthouse.sqlite", floor_bytes=0)
    await database.start()
    house = House(database, await database.write(organizations.add, "shop", "custom"))
    await house.domain("example.com")
    yield house
    await database.close()


def raw(*lines: str, sender: str = "Shop <shop@example.com>") -> Raw:
    return Raw(InMemory("\r\n".join([f"From: {sender}", *lines, "", "Hello", ""]).encode()))


def to(*addresses: str) -> tuple[Recipient, ...]:
    return tuple(Recipient(parse_address(address)) for address in addresses)


def smtp(*lines: str, recipients: tuple[Recipient, ...] | None = None, **more: object) -> Submission:
    content = raw("To: ann@example.org", "Subject: Hi", *lines)
    made = Submission("smtp", content, recipients or to("ann@example.org"), protocol="ESMTPSA")
    return replace(made, **more)  # type: ignore[arg-type]


DRAFT = Draft(
    ("Shop", Address("shop", "example.com")), to=[("Ann", Address("ann", "example.org"))], subject="Hi", text="Yo"
)


def api(draft: Draft = DRAFT, *addresses: str, **options: object) -> Submission:
    chosen = Options(**options)  # type: ignore[arg-type]
    return Submission("api", draft, to(*(addresses or ("ann@example.org",))), options=chosen)


async def refused(house: House, submission: Submission, principal: Principal | None = None) -> PosthouseError:
    with pytest.raises(PosthouseError) as caught:
        await house.accept.submit(principal or house.owner, submission)
    assert await house.count("messages") == await house.count("bodies") == await house.count("deliveries") == 0
    assert house.offered == []
    return caught.value
