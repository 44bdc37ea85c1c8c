#!/usr/bin/env python3
"""kill -9 at random moments during submissions over SMTP and HTTP: is anything acknowledged missing at the end?

usage: python bench/kill.py [--messages 2000] [--kills 20] [--seed 1]

Prints the account, and exits with 1 where an acknowledged message neither arrived nor is in the queue.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.daemon import Daemon
from tests.e2e.load import kill_under_load
from tests.fakes.mx import ScriptedMx

WAITING = ("queued", "sending", "deferred", "held")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="posthouse-kill-") as home, ScriptedMx().in_thread() as sink:
        route = f'[[outbound.routes]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {sink.port}\ntls = "off"\n'
        daemon = Daemon(Path(home), route)
        daemon.cli("domain", "add", "example.org", "--trust")
        key = daemon.key()
        begun = time.monotonic()
        daemon.start()
        try:
            tally = kill_under_load(daemon, sink, key, args.messages, args.kills, args.seed)
            lost = [
                token
                for token, id in tally.missing().items()
                if daemon.api("GET", f"/v1/mail/messages/{id}", key=key)[1]["data"]["status"] not in WAITING
            ]
        finally:
            daemon.close()
    print(f"{tally}; lost: {len(lost)}; {time.monotonic() - begun:.0f} s")
    return 1 if lost or tally.kills != args.kills else 0


if __name__ == "__main__":
    sys.exit(main())
