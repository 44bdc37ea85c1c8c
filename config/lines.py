"""On which line of a TOML file a key stands: tomllib does not say, and an error should."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]")
_ARRAY_TABLE = re.compile(r"\s*\[\[([^\[\]]+)\]\]")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def keys(text: str) -> Iterator[tuple[int, str, bool]]:
    """`(line number from 1, dotted path, whether it is a table header)`, like `(7, "listeners[0].role", False)`.

    Lines inside a value that spans several may be taken for keys; an error message is all that depends on it.
    """
    table, counts = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if found := _ARRAY_TABLE.match(line):
            name = _plain(found[1])
            counts[name] = counts.get(name, -1) + 1
            table = f"{name}[{counts[name]}]"
            yield number, table, True
        elif found := _TABLE.match(line):
            table = _plain(found[1])
            yield number, table, True
        elif found := _KEY.match(line):
            yield number, f"{table}.{_plain(found[1])}" if table else _plain(found[1]), False


def _plain(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
