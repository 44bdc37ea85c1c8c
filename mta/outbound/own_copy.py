"""Each recipient's own copy of a tracked message: its links and its pixel, written right before it is signed.

The plan of a body is made once and kept while its recipients are served; after that a copy costs 0.1 ms for 5 KB
(docs/decisions/0008-tracking-at-delivery.md). The same delivery gets the same links, however often it is tried.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from mta.model import Body, Queued
from mta.protocol import tracking
from mta.protocol.tracking import Hit, Plan
from mta.store.spool import Spool

KEPT_PLANS = 16
WINDOW = 2 * 1024 * 1024  # bytes of a body in which links are looked for: text stands before what is attached


class OwnCopies:
    """`key` makes the tokens; `public_url` is where links of ours lead, which are never tracked."""

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._ours = f"{public_url.rstrip('/')}/t/"
        self._plans: OrderedDict[str, Plan | None] = OrderedDict()

    def none_in(self, body: Body) -> bool:
        """True once it is known that there is nothing to track."""
        return self._plans.get(body.id, self) is None

    def chunks(self, queued: Queued, body: Body, url: str, source: Spool) -> Iterator[bytes] | None:
        """The body for this recipient, its links at `url`; None where there is nothing to track. `source` is the body."""
        plan = self._plan(body, source)
        if plan is None:
            return None
        return self._filled(plan, queued, url, source)

    def _plan(self, body: Body, source: Spool) -> Plan | None:
        try:
            return self._plans[body.id]
        except KeyError:
            plan = tracking.plan(body.head, source.read(0, WINDOW), whole=source.size <= WINDOW)
            found = None if plan.bare else plan
            self._plans[body.id] = found
            if len(self._plans) > KEPT_PLANS:
                self._plans.popitem(last=False)
            return found

    def _filled(self, plan: Plan, queued: Queued, url: str, source: Spool) -> Iterator[bytes]:
        ours = (self._ours, f"{url}/t/")

        def link(target: str) -> str | None:
            if not queued.track_clicks or target.startswith(ours):
                return None
            return f"{url}{tracking.CLICK_PATH}{tracking.encode(Hit(queued.delivery_id, target), self._key)}"

        pixel = f"{url}{tracking.OPEN_PATH}{tracking.encode(Hit(queued.delivery_id, ''), self._key)}"
        yield plan.fill(link, pixel if queued.track_opens else "")
        yield from source.chunks(WINDOW)
