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

    def pop(self, most: int) -> list[Queued]:
        """The next delivery, with up to `most` in all that may share its transaction; [] where none waits."""
        for organizations in self._lanes.values():
            if organizations:
                organization_id, waiting = organizations.popitem(last=False)
                group = _group(waiting, most)
                if waiting:
                    organizations[organization_id] = waiting  # to the end of the turn
                self._count -= len(group)
                return group
        return []

    def clear(self) -> list[Queued]:
        """Empties the queue; returns what was in it."""
        found = list(self)
        for organizations in self._lanes.values():
            organizations.clear()
        self._count = 0
        return found


def _group(waiting: deque[Queued], most: int) -> list[Queued]:
    """The first, and who goes with it: a message's recipients come in one behind the other."""
    first = waiting.popleft()
    group, passed = [first], list[Queued]()
    while first.batch and len(group) < most and waiting and waiting[0].message_id == first.message_id:
        queued = waiting.popleft()
        (group if first.goes_with(queued) else passed).append(queued)
    waiting.extendleft(reversed(passed))
    return group
