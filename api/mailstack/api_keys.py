"""/api-keys: the keys of an organization. A secret is in the answer to its making, and nowhere else."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from api.mailstack.shapes import Done, Listing, Shape
from api.routing import Call, Routes
from api.times import instant, moment, moment_or_none
from mta import ids
from mta.control.keys import SCOPES, is_good
from mta.model import ApiKey, Principal

routes = Routes("api keys")
PREFIXES: Final = {False: "ms_live_", True: "ms_test_"}  # of a live key and of a test key
MASK: Final = "_" + "*" * 8
Scope = Annotated[str, Meta(examples=list(SCOPES))]


class KeyShape(Shape):
    id: str
    name: str
    key_prefix: str
    masked_key: str
    scopes: list[str]
    is_active: bool
    is_test: bool
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class NewKey(Shape):
    """`fullKey` is the secret, which is never shown again."""

    key: KeyShape
    full_key: str


class KeyRequest(Shape):
    """`test` left out: as the key that asks."""

    name: str
    scopes: list[Scope]
    expires_at: str | None = None
    test: bool | None = None


class KeyChange(Shape):
    name: str


@routes.get("/api-keys", scope="keys:read")
async def list_keys(call: Call, query: Listing) -> list[KeyShape]:
    """The organization's keys, newest first; one that has expired is not active."""
    found = await call.control.keys.page(call.principal.organization_id, query.limit, query.cursor)
    return [_key(key) for key in found.items]


@routes.post("/api-keys", scope="keys:write", status=201)
async def create(call: Call, body: KeyRequest) -> NewKey:
    """Make a key that may do no more than the one that asks."""
    return await new_key(call, call.principal, body)


@routes.get("/api-keys/{id}", scope="keys:read")
async def get(call: Call, id: str) -> KeyShape:
    """One key, without its secret."""
    return _key(await call.control.keys.get(call.principal.organization_id, id))


@routes.patch("/api-keys/{id}", scope="keys:write")
async def rename(call: Call, id: str, body: KeyChange) -> KeyShape:
    """Give a key another name."""
    return _key(await call.control.keys.rename(id, body.name, call.principal.organization_id))


@routes.delete("/api-keys/{id}", scope="keys:write", status=200)
async def revoke(call: Call, id: str) -> Done:
    """End a key at once: at its next request, and at the next command of an SMTP session."""
    await call.control.keys.revoke(id, call.principal.organization_id)
    return Done()


async def new_key(call: Call, giver: Principal, body: KeyRequest) -> NewKey:
    """A key of the giver's organization, as this surface makes and shows it."""
    test = giver.test if body.test is None else body.test
    key, secret = await call.control.keys.create(
        giver,
        body.name,
        body.scopes,
        test=test,
        expires_at=instant(body.expires_at, "expiresAt") if body.expires_at else None,
        prefix=PREFIXES[test],
        unique=True,
    )
    return NewKey(key=_key(key), full_key=secret)


def _key(key: ApiKey) -> KeyShape:
    return KeyShape(
        id=key.id,
        name=key.name,
        key_prefix=key.prefix,
        masked_key=key.prefix + MASK,
        scopes=list(key.scopes),
        is_active=is_good(key, ids.now_ms()),
        is_test=key.test,
        created_at=moment(key.created_at),
        expires_at=moment_or_none(key.expires_at),
        last_used_at=moment_or_none(key.last_used_at),
    )
