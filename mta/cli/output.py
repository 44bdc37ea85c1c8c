"""What commands print: plain tables for people, JSON lines for programs.

Remote servers' replies end up here: whatever could move a terminal's cursor is shown escaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Row = Mapping[str, Any]


def print_json(value: Any) -> None:
    """One line."""
    print(json.dumps(value, ensure_ascii=False))


def print_rows(rows: Iterable[Row], columns: Sequence[str], as_json: bool, *, empty: str) -> None:
    """A line for each row: JSON with all its keys, or a table of the named columns; `empty` says that there is none."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    cells = [[cell(column, row.get(column)) for column in columns] for row in rows]
    if not cells:
        print(empty, file=sys.stderr)
        return
    titles = [column.removesuffix("_at").replace("_", " ").upper() for column in columns]
    widths = [max(len(line[index]) for line in [titles, *cells]) for index in range(len(columns))]
    for line in [titles, *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def print_fields(row: Row, names: Sequence[str]) -> None:
    """A line for each named value that is there."""
    width = max(map(len, names)) + 1
    for name in names:
        if row.get(name) not in (None, "", []):
            print(f"{name.removesuffix('_at').replace('_', ' ') + ':':<{width}} {cell(name, row[name])}")


def note(text: str) -> None:
    """A sentence for the person at the terminal; standard output stays for values."""
    print(text, file=sys.stderr)


def cell(name: str, value: Any) -> str:
    """A value as people read it; `name` tells times."""
    if value is None or value == "":
        return "-"
    if (name == "at" or name.endswith("_at")) and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return printable(", ".join(map(str, value))) or "-"
    return printable(str(value))


def printable(text: str) -> str:
    """The text with control characters, line ends and their like as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
