"""What waits in memory for one site: lanes before one another, organizations in turn within a lane."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from mta.model import Lane, Queued


class LaneQueue:
    """A lane that comes first is emptied first; within one, each organization gives one delivery in its turn."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, OrderedDict[str, deque[Queued]]] = {lane: OrderedDict() for lane in sorted(Lane)}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Queued]:
        for organizations in self._lanes.values():
            for waiting in organizations.values():
                yield from waiting

    def push(self, queued: Queued, *, front: bool = False) -> None:
        waiting = self._lanes[queued.lane].setdefault(queued.organization_id, deque())
        if front:
            waiting.appendleft(queued)
        else:
            waiting.append(queued)
        self._count += 1

    def pop(self) -> Queued | None:
        for organizations in self._lanes.values():
            if organizations:
                organization_id, waiting = organizations.popitem(last=False)
                queued = waiting.popleft()
                if waiting:
                    organizations[organization_id] = waiting  # to the end of the turn
                self._count -= 1
                return queued
        return None

    def clear(self) -> list[Queued]:
        """Empties the queue; returns what was in it."""
        found = list(self)
        for organizations in self._lanes.values():
            organizations.clear()
        self._count = 0
        return found
