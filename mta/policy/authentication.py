"""From a key's secret to who acts. HTTP asks on every request, SMTP at AUTH and again at every command.

Keys are 256 random bits and are kept as SHA-256: a lookup by hash tells a stranger nothing by its timing, for whoever
tries secrets cannot choose their hashes. Good keys are remembered for a minute; `revoked` forgets one at once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from mta import ids
from mta.errors import Forbidden, Unauthenticated
from mta.model import ApiKey, Principal
from mta.store import organizations
from mta.store.database import Database

REMEMBERED_MS = 60_000
TOUCH_MS = 60_000  # last_used_at is at most this much behind
CAPACITY = 10_000  # keys remembered


@dataclass(slots=True)
class _Known:
    key: ApiKey
    principal: Principal
    read_at: int
    touched_at: int


class Authenticator:
    """Secrets and principals, checked against the store with a small memory in between."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = ids.now_ms) -> None:
        """`clock` gives epoch milliseconds."""
        self._database = database
        self._clock = clock
        self._by_hash: OrderedDict[str, _Known] = OrderedDict()
        self._by_id: dict[str, _Known] = {}
        self._revocations = 0

    async def authenticate(self, secret: str) -> Principal:
        """Who this secret stands for; raises Unauthenticated with a sentence that says what is wrong with it."""
        if not secret:
            raise Unauthenticated("An API key is needed, and none was given.")
        hash = secret_hash(secret)
        known = self._by_hash.get(hash)
        now = self._clock()
        if known is None or now - known.read_at >= REMEMBERED_MS:
            known = await self._read(hash, now)
        self._check(known.key, now)
        self._touch(known, now)
        return known.principal

    def is_live(self, principal: Principal) -> bool:
        """True: its key is good, as we know without asking the store. False: ask `confirm`."""
        if not principal.key_id:
            return True
        known = self._by_id.get(principal.key_id)
        now = self._clock()
        if known is None or now - known.read_at >= REMEMBERED_MS:
            return False
        if known.key.expires_at is not None and known.key.expires_at <= now:
            return False
        self._touch(known, now)
        return True

    async def confirm(self, principal: Principal) -> None:
        """Raises Unauthenticated where the key that this principal came with has been revoked or has expired."""
        if self.is_live(principal):
            return
        self._check(await self._database.read(organizations.key_by_id, principal.key_id), self._clock())

    def revoked(self, key_id: str) -> None:
        """Forgets a key; call it once the revocation is durable."""
        self._revocations += 1
        known = self._by_id.pop(key_id, None)
        if known is not None:
            self._by_hash = OrderedDict((hash, one) for hash, one in self._by_hash.items() if one is not known)

    async def _read(self, hash: str, now: int) -> _Known:
        revocations = self._revocations
        key = await self._database.read(organizations.key_by_hash, hash)
        if key is None:
            raise Unauthenticated("There is no such API key. Check that the whole key was copied.")
        principal = Principal(key.organization_id, key.id, frozenset(key.scopes), key.test, key.domain)
        known = _Known(key, principal, now, key.last_used_at or 0)
        if key.revoked_at is None and revocations == self._revocations:  # what was read may be from before a revocation
            self._remember(hash, known)
        return known

    def _remember(self, hash: str, known: _Known) -> None:
        self._by_hash.pop(hash, None)
        self._by_hash[hash] = self._by_id[known.key.id] = known
        if len(self._by_hash) > CAPACITY:
            _, oldest = self._by_hash.popitem(last=False)
            del self._by_id[oldest.key.id]

    def _touch(self, known: _Known, now: int) -> None:
        if now - known.touched_at >= TOUCH_MS:
            known.touched_at = now
            self._database.post(organizations.touch_key, known.key.id, now)

    @staticmethod
    def _check(key: ApiKey | None, now: int) -> None:
        if key is None or key.revoked_at is not None:
            raise Unauthenticated("This API key has been revoked. Make a new one.", code="key_revoked")
        if key.expires_at is not None and key.expires_at <= now:
            raise Unauthenticated("This API key has expired. Make a new one.", code="key_expired")


def secret_hash(secret: str) -> str:
    """How a key's secret is kept: SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def in_world(principal: Principal, test: bool | None) -> Principal:
    """The same among what test keys do, or live ones; None: as its key. Raises Forbidden: a test key sees no live mail."""
    if test is None or test is principal.test:
        return principal
    if principal.test:
        raise Forbidden("A test key sees only what test keys sent; ask with a live key.", code="test_key", field="test")
    return replace(principal, test=test)
