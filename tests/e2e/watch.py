"""What tests ask a daemon about itself: its published keys, what became of a message."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.e2e.daemon import Daemon


def published(daemon: Daemon, domain: str = "example.org") -> dict[bytes, bytes]:
    """Record values by name with a final dot."""
    shown = daemon.cli("domain", "records", domain, "--json").stdout
    entries = [json.loads(line) for line in shown.splitlines()]
    records = [record for entry in entries for record in entry.get("records", [entry])]
    return {f"{one['name']}.".encode(): one["value"].encode() for one in records if "_domainkey" in one["name"]}


def settled(daemon: Daemon, key: str, id: str) -> dict[str, Any]:
    """The message, once it was tried."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        shown = daemon.api("GET", f"/v1/mail/messages/{id}", key=key)[1]["data"]
        if shown["status"] not in ("queued", "sending"):
            return dict(shown)
        time.sleep(0.02)
    raise AssertionError(f"{id} did not settle")
