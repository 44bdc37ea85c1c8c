"""/api-keys: keys that do everything, and keys that only send, from one domain if it is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from api.resend.shapes import Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment, moment_or_none
from mta.control.keys import SEND
from mta.errors import InvalidInput
from mta.model import ApiKey

routes = Routes("api keys")

Permission = Literal["full_access", "sending_access"]
SCOPES: Final[Mapping[Permission, tuple[str, ...]]] = {"full_access": ("*",), "sending_access": (SEND,)}
PREFIXES: Final = {False: "re_", True: "re_test_"}  # of a live key and of a test key


class KeyRequest(Shape):
    """`domain_id` is for `sending_access` only."""

    name: str
    permission: Permission = "full_access"
    domain_id: str | None = None


class KeyChange(Shape):
    name: str


class NewKey(Shape):
    """`token` is the secret, which is never shown again."""

    id: str
    token: str


class KeyShape(Shape):
    id: str
    name: str
    created_at: str
    last_used_at: str | None


class Changed(Shape, kw_only=True):
    object: Literal["api_key"] = "api_key"
    id: str


class Deleted(Changed, kw_only=True):
    deleted: bool = True


@routes.post("/api-keys", scope="keys:write", status=201)
async def create(call: Call, body: KeyRequest) -> NewKey:
    """Make a key that may do no more than the one that asks; a test key makes test keys."""
    principal, domain = call.principal, ""
    if body.domain_id is not None:
        if body.permission != "sending_access":
            raise InvalidInput("domain_id goes with the permission sending_access only.", field="domain_id")
        domain = (await call.control.domains.get(principal.organization_id, body.domain_id)).domain.name
    key, secret = await call.control.keys.create(
        principal, body.name, SCOPES[body.permission], prefix=PREFIXES[principal.test], domain=domain
    )
    return NewKey(id=key.id, token=secret)


@routes.get("/api-keys", scope="keys:read")
async def list_(call: Call, query: Paging) -> Listed[KeyShape]:
    """The organization's keys, newest first, without their secrets."""
    page = await call.control.keys.page(call.principal.organization_id, query.limit, older_than(query))
    return listed([_key(key) for key in page.items], page.next_cursor is not None)


@routes.patch("/api-keys/{id}", scope="keys:write")
async def rename(call: Call, id: str, body: KeyChange) -> Changed:
    """Give a key another name."""
    return Changed(id=(await call.control.keys.rename(id, body.name, call.principal.organization_id)).id)


@routes.delete("/api-keys/{id}", scope="keys:write", status=200)
async def revoke(call: Call, id: str) -> Deleted:
    """End a key at once: at its next request, and at the next command of an SMTP session."""
    await call.control.keys.revoke(id, call.principal.organization_id)
    return Deleted(id=id)


def _key(key: ApiKey) -> KeyShape:
    return KeyShape(
        id=key.id, name=key.name, created_at=moment(key.created_at), last_used_at=moment_or_none(key.last_used_at)
    )
