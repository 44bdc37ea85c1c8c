"""Which deliveries this process has in hand. Claims live in memory: one process owns the queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mta.model import Queued


class Claims:
    """At most `limit` deliveries, each claimed once until it is released."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: set[str] = set()
        self._by_domain: Counter[str] = Counter()

    def __contains__(self, delivery_id: str) -> bool:
        return delivery_id in self._ids

    @property
    def free(self) -> int:
        """How many more fit."""
        return self._limit - len(self._ids)

    def of(self, domain: str) -> int:
        """How many of them are for this recipient domain."""
        return self._by_domain[domain]

    def take(self, queued: Queued) -> bool:
        """False: it is claimed already, or there is no room."""
        if queued.delivery_id in self._ids or self.free <= 0:
            return False
        self._ids.add(queued.delivery_id)
        self._by_domain[queued.recipient.domain] += 1
        return True

    def release(self, released: Iterable[Queued]) -> None:
        for queued in released:
            if queued.delivery_id not in self._ids:
                continue
            domain = queued.recipient.domain
            self._ids.remove(queued.delivery_id)
            self._by_domain[domain] -= 1
            if not self._by_domain[domain]:
                del self._by_domain[domain]
