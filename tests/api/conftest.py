"""A control plane on a real store, served by uvicorn on a loopback port, and a DNS server with a literal of records."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api.app import create_app
from api.webhook_formats import FORMATS
from config.settings import Api, Settings, Store
from mta.accept.broadcast import WayOut
from mta.accept.submit import Accept
from mta.control.build import Control, build
from mta.control.webhook_call import Caller
from mta.model import Principal, Queued
from mta.net.dns import Resolver
from mta.net.http import HttpClient
from mta.policy.authentication import Authenticator
from mta.protocol import unsubscribe
from mta.store.database import Database
from mta.store.secrets import Secrets
from tests.fakes.dns import FakeDns
from tests.fakes.queue import IdleQueue


@dataclass
class House:
    """The whole but for delivery: `offered` holds what the runner would get."""

    control: Control
    settings: Settings
    database: Database
    dns: FakeDns
    url: str
    organization_id: str
    secret: str
    ready: list[bool] = field(default_factory=lambda: [True])
    offered: list[Queued] = field(default_factory=list)

    def client(self, secret: str | None = "", **more: Any) -> httpx.AsyncClient:
        """`secret` "" is the house's own key, None no key."""
        key = self.secret if secret == "" else secret
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, verify=False, **more)  # it is all http

    async def key(self, *scopes: str, organization_id: str | None = None, test: bool = False) -> str:
        organization_id = organization_id or self.organization_id
        operator = Principal(organization_id)
        _, secret = await self.control.keys.create(operator, "more", scopes or ("*",), test=test)
        return secret


SECRETS = Secrets(bytes(32))


@dataclass(frozen=True)
class Furniture:
    """A store as every house begins with: an organization, a key, a trusted domain. Copied, for making it takes time."""

    path: Path
    organization_id: str
    secret: str


@pytest.fixture(scope="session")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Furniture:
    path = tmp_path_factory.mktemp("furniture") / "posthouse.sqlite"

    async def furnish() -> Furniture:
        async with opened(path) as (control, *_):
            organization = await control.organizations.ensure_default()
            _, secret = await control.keys.create(Principal(organization.id), "first")
            await control.domains.create(organization.id, "example.com", trusted=True)
        return Furniture(path, organization.id, secret)

    return asyncio.run(furnish())


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[Control, Settings, Database, FakeDns, list[Queued]]]:
    """The control plane on the store at `path`; the list holds what the runner would get."""
    settings = Settings(
        hostname="mail.posthouse.test",
        data_dir=path.parent,
        store=Store(free_floor_bytes=0),
        api=Api(public_url="https://mail.posthouse.test", internal_token="t" * 32),
    )
    database = Database(path, floor_bytes=0)
    await database.start()
    offered: list[Queued] = []
    with FakeDns({}) as dns:
        authenticator = Authenticator(database)
        way_out = WayOut(SECRETS.derive(unsubscribe.KEY), settings.api.public_url, "mail.posthouse.test")
        accept = Accept(database, settings, offered.extend, way_out)
        resolver = Resolver([dns.server], timeout=2)
        caller = Caller(HttpClient(resolver, timeout_s=2), SECRETS, FORMATS)
        control = build(database, accept, authenticator, resolver, SECRETS, settings, IdleQueue(), caller)
        yield control, settings, database, dns, offered
        await caller.close()
    await database.close()


@pytest.fixture
async def house(furniture: Furniture, tmp_path: Path) -> AsyncIterator[House]:
    path = tmp_path / "posthouse.sqlite"
    shutil.copyfile(furniture.path, path)
    ready = [True]
    async with opened(path) as (control, settings, database, dns, offered):
        app = create_app(control, settings, ready=lambda: ready[0])
        async with serving(app) as url:
            owner, secret = furniture.organization_id, furniture.secret
            yield House(control, settings, database, dns, url, owner, secret, ready, offered)


class serving:  # noqa: N801 (used like a function)
    """`async with serving(app) as url`: uvicorn on a free loopback port, or on a unix socket, until the block ends."""

    def __init__(self, app: Callable[..., Any], path: Path | None = None) -> None:
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        family, protocol = (socket.AF_UNIX, 0) if path else (socket.AF_INET, socket.IPPROTO_TCP)  # asyncio: else Nagle
        self.socket = socket.socket(family, socket.SOCK_STREAM, protocol)
        self.socket.bind(str(path) if path else ("127.0.0.1", 0))

    async def __aenter__(self) -> str:
        self.task = asyncio.create_task(self.server.serve(sockets=[self.socket]))
        while not self.server.started:
            await asyncio.sleep(0)
        name = self.socket.getsockname()
        return f"http://{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)

    async def __aexit__(self, *error: object) -> None:
        self.server.should_exit = True
        await self.task
