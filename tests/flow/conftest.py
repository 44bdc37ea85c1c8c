"""What every flow needs: a store with an organization and a trusted sending domain; and the event loops to run on,
`LOOPS = ("asyncio", "uvloop")` in a module where transports behave differently."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from mta import ids
from mta.model import DkimKey, Domain, Organization
from mta.protocol import dkim
from mta.store import domains, organizations
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx

_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {name: _FACTORIES[name] for name in getattr(item.module, "LOOPS", ("asyncio",))}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path / "posthouse.sqlite", floor_bytes=0)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(b"s" * 32)


@functools.cache
def key_pem(algorithm: dkim.Algorithm) -> bytes:
    return dkim.generate(algorithm)


def add_domain(tx: Tx, secrets: Secrets, organization_id: str, name: str) -> Domain:
    """A trusted domain with both keys, selectors `r` and `e`."""
    now = ids.now_ms()
    made = Domain(ids.new("dom"), organization_id, name, "verified", True, "c", {}, now, now, None)
    domains.add(tx, made)
    algorithms: tuple[dkim.Algorithm, ...] = ("rsa-sha256", "ed25519-sha256")
    for selector, algorithm in zip("re", algorithms, strict=True):
        id = ids.new("dkim")
        pem = key_pem(algorithm)
        sealed = secrets.seal(pem, f"dkim/{id}")
        value = dkim.dns_value(dkim.load(pem))
        domains.add_key(tx, DkimKey(id, made.id, name, selector, algorithm, sealed, value, "active", now))
    return made


@pytest.fixture
async def organization(database: Database, secrets: Secrets) -> Organization:
    def make(tx: Tx) -> Organization:
        found = organizations.add(tx, "default", "custom")
        add_domain(tx, secrets, found.id, "example.org")
        return found

    return await database.write(make)
