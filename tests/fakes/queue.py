"""A queue that delivers nothing, for the tests of what stands before it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mta.control.queue import SiteView


class IdleQueue:
    def wake(self) -> None:
        """Nothing waits for it."""

    def end_back_offs(self, domains: Iterable[str]) -> None:
        """There are none."""

    def sites(self) -> Sequence[SiteView]:
        return ()

    def site_of(self, domain: str) -> SiteView | None:
        return None

    def explain(self, delivery_id: str) -> Mapping[str, Any]:
        return {"lines": []}
