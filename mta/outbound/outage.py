"""Notices a site that suddenly refuses everybody: a provider's outage, not a hundred dead addresses in a row.

Large providers have answered `550 5.1.1` to every recipient for an hour. Between a reply and its settlement: while a
site is `held`, its bounces are recorded and suppress nobody.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

WINDOW: Final = 20  # answers that are "now"
BASELINE: Final = 100  # answers before them that say what is usual; with fewer, nothing is unusual
USUAL_SHARE: Final = 0.05  # of dead addresses: senders with more have bad lists, and are suppressed
SUDDEN_SHARE: Final = 0.5
CALM_SHARE: Final = 0.1
MEMORY: Final = 0.995  # the usual share is of about the last 200 answers
LONGEST_MS: Final = 86_400_000  # after a day it is no outage: the provider has closed
SITES: Final = 1000


@dataclass(slots=True)
class _Site:
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    usual: float = 0.0
    answers: int = 0
    held_since: int | None = None


class Outages:
    """What each site answered last; in memory, since an outage is over before it would be worth a row."""

    def __init__(self) -> None:
        self._sites: OrderedDict[str, _Site] = OrderedDict()

    def answered(self, name: str, dead: bool, now: int) -> bool:
        """Counts an answer about an address (`dead`: there is no such mailbox). True: the site is held from now on."""
        site = self._sites.setdefault(name, _Site())
        self._sites.move_to_end(name)
        while len(self._sites) > SITES:
            self._sites.popitem(last=False)
        if site.held_since is None and len(site.recent) == WINDOW:
            weight = max(1 - MEMORY, 1 / (site.answers + 1))
            site.usual += weight * (site.recent[0] - site.usual)  # what leaves the window becomes the past
            site.answers += 1
        site.recent.append(dead)
        share = sum(site.recent) / WINDOW
        if site.held_since is not None:
            if share <= CALM_SHARE:
                site.held_since = None
            elif now - site.held_since > LONGEST_MS:
                self._sites[name] = _Site()
            return False
        if site.answers >= BASELINE and site.usual <= USUAL_SHARE and share >= SUDDEN_SHARE:
            site.held_since = now
            return True
        return False

    def held(self, name: str) -> bool:
        site = self._sites.get(name)
        return site is not None and site.held_since is not None
