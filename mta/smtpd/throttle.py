"""How often an address may fail to log in. A table in memory: a restart forgives, and that is harmless.

Pure: the clock is an argument. `mta.smtpd.connection` asks before it bothers a handler with credentials.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict


class LoginThrottle:
    """At most `failures` failed logins from one address (IPv6: one /64) within `window_ms`, then none at all.

    Knows `capacity` addresses at most and forgets the one that failed longest ago.
    """

    def __init__(self, failures: int = 10, window_ms: int = 300_000, capacity: int = 10_000) -> None:
        self._failures = failures
        self._window_ms = window_ms
        self._capacity = capacity
        self._table: OrderedDict[str, tuple[int, int]] = OrderedDict()  # network -> count, time of the first of them

    def blocked(self, ip: str, now_ms: int) -> bool:
        """True while this address has used up its failures."""
        count, since = self._table.get(_network(ip), (0, now_ms))
        return count >= self._failures and now_ms - since < self._window_ms

    def failed(self, ip: str, now_ms: int) -> None:
        """Counts a failed login."""
        network = _network(ip)
        count, since = self._table.pop(network, (0, now_ms))
        if now_ms - since >= self._window_ms:
            count, since = 0, now_ms
        self._table[network] = (count + 1, since)
        if len(self._table) > self._capacity:
            self._table.popitem(last=False)

    def succeeded(self, ip: str) -> None:
        """A good login: the failures before it were somebody's slips."""
        self._table.pop(_network(ip), None)


def _network(ip: str) -> str:
    return ip if ":" not in ip else str(ipaddress.ip_network((ip.partition("%")[0], 64), strict=False))
