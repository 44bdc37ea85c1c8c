"""What a domain demands of TLS (MTA-STS, RFC 8461): asked before its mail is routed, kept as long as it says.

A record in the DNS announces a policy, a file on an HTTPS server of the domain holds it. What we know already holds when
either cannot be had: whoever can forge DNS answers today cannot undo what was fetched yesterday.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import structlog

from mta.errors import Unavailable
from mta.ids import now_ms
from mta.net.dns import DnsTemporary, NoRecords, NoSuchName, Resolver
from mta.net.http import FetchError, HttpClient
from mta.protocol.mtasts import MAX_POLICY, PolicyError, StsPolicy, parse_policy, record_id
from mta.store import sts
from mta.store.database import Database
from mta.store.sts import Kept

log = structlog.get_logger("outbound")

REFRESH_MS = 86_400_000  # a policy is fetched again after a day, so that it seldom runs out (RFC 8461 §10.2)
FAILED_MS = 300_000  # and one that cannot be had, after five minutes (§3.3)
MAX_REMEMBERED = 10_000  # failures


class StsPolicies:
    """Asks once for all who ask at the same time. `port` is that of the policy hosts' HTTPS servers."""

    def __init__(
        self,
        database: Database,
        resolver: Resolver,
        http: HttpClient,
        *,
        port: int = 443,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._resolver = resolver
        self._http = http
        self._port = port
        self._clock = clock
        self._failed: OrderedDict[str, int] = OrderedDict()
        self._asking: dict[str, asyncio.Task[StsPolicy | None]] = {}

    async def enforced(self, domain: str) -> StsPolicy | None:
        """The policy that mail to this domain must obey, if there is one."""
        task = self._asking.get(domain)
        if task is None:
            task = self._asking[domain] = asyncio.create_task(self._policy(domain))
            task.add_done_callback(lambda _: self._asking.pop(domain, None))
        policy = await asyncio.shield(task)
        return policy if policy is not None and policy.mode == "enforce" else None

    async def _policy(self, domain: str) -> StsPolicy | None:
        kept: Kept | None = await self._database.read(sts.get, domain, self._clock())
        announced = await self._announced(domain)
        if announced is not None and not self._is_fresh(domain, kept, announced):
            fetched = await self._fetch(domain, announced)
            if fetched is not None:
                return fetched
        return kept.policy if kept else None

    async def _announced(self, domain: str) -> str | None:
        try:
            return record_id(await self._resolver.txt(f"_mta-sts.{domain}"))
        except (NoSuchName, NoRecords, DnsTemporary):
            return None

    def _is_fresh(self, domain: str, kept: Kept | None, announced: str) -> bool:
        now = self._clock()
        if self._failed.get(domain, 0) > now:
            return True  # as fresh as it gets for now
        return kept is not None and kept.record_id == announced and now - kept.fetched_at < REFRESH_MS

    async def _fetch(self, domain: str, announced: str) -> StsPolicy | None:
        port = "" if self._port == 443 else f":{self._port}"
        url = f"https://mta-sts.{domain}{port}/.well-known/mta-sts.txt"
        try:
            found = await self._http.get(url, MAX_POLICY, redirects=0)  # RFC 8461 §3.3 forbids to follow them
            if found.content_type.partition(";")[0].strip().lower() != "text/plain":
                raise PolicyError("It is not text/plain.")
            policy = parse_policy(found.content.decode("utf-8", "replace"))
        except (FetchError, PolicyError) as error:
            log.warning("MTA-STS policy cannot be had", domain=domain, error=str(error))
            self._failed[domain] = self._clock() + FAILED_MS
            self._failed.move_to_end(domain)
            if len(self._failed) > MAX_REMEMBERED:
                self._failed.popitem(last=False)
            return None
        try:
            await self._database.write(sts.put, domain, announced, policy, self._clock())
        except Unavailable as error:  # it still holds for this time
            log.warning("MTA-STS policy cannot be kept", domain=domain, error=error.message)
        return policy
