"""The openspf.org suite for RFC 7208 (203 cases), run through our `check_host`: prints the score and what differs.

python bench/spf_suite.py rfc7208-tests.yml
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mta.net.dns import Answer, DnsTemporary, NoRecords, NoSuchName
from mta.net.spf import check_host

Zone = dict[str, list[Any]]


class SuiteDns:
    """`lookup` over one scenario's zone data, as a recursive server would answer."""

    def __init__(self, zone: Mapping[str, list[Any]]) -> None:
        self.zone: Zone = {name.rstrip(".").lower(): entries for name, entries in zone.items()}

    async def lookup(self, name: str, kind: str) -> Answer:
        asked = name
        for _ in range(10):
            entries = self.zone.get(name)
            if entries is None:
                raise NoSuchName(asked, kind, "no such name")
            if found := self._found(name, kind, entries):
                return Answer(tuple(found), 300, False)
            alias = next((entry["CNAME"] for entry in entries if isinstance(entry, dict) and "CNAME" in entry), None)
            if alias is None:
                if "TIMEOUT" in entries:
                    raise DnsTemporary(asked, kind, "timed out")
                raise NoRecords(asked, kind, "no such records")
            name = alias.rstrip(".").lower()
        raise DnsTemporary(asked, kind, "a loop of CNAMEs")

    def _found(self, name: str, kind: str, entries: list[Any]) -> list[Any]:
        records = [entry for entry in entries if isinstance(entry, dict)]
        # The suite gives type SPF (99) and means both, unless TXT is there too (see its head).
        has_txt = any("TXT" in record for record in records)
        kinds = {kind} if kind != "TXT" or has_txt else {"TXT", "SPF"}
        return [
            _value(kind, value) for record in records for at, value in record.items() if at in kinds and value != "NONE"
        ]


def _value(kind: str, value: Any) -> Any:
    if kind == "MX":
        return value[0], value[1].rstrip(".").lower()
    if kind == "TXT":
        return "".join(value) if isinstance(value, list) else value
    return str(value).rstrip(".")


async def run(suite: str) -> tuple[int, list[str]]:
    """How many cases of the suite's text were run, and a line for each that came out otherwise."""
    count, wrong = 0, []
    for scenario in yaml.safe_load_all(suite):
        dns = SuiteDns(scenario["zonedata"])
        for name, test in scenario["tests"].items():
            count += 1
            result, explanation = await check_host(str(test["host"]), test["mailfrom"], test["helo"], dns.lookup)
            wanted = test["result"] if isinstance(test["result"], list) else [test["result"]]
            said = test.get("explanation")
            if result not in wanted:
                wrong.append(f"{name}: {result} ({explanation}), expected {' or '.join(wanted)}")
            elif result == "fail" and said not in (None, "DEFAULT", explanation):
                wrong.append(f"{name}: explained as {explanation!r}, expected {said!r}")
    return count, wrong


def main() -> None:
    start = time.perf_counter()
    count, wrong = asyncio.run(run(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"{count - len(wrong)}/{count} in {time.perf_counter() - start:.2f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
