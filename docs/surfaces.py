"""Writes the tables of docs/api/surfaces.md from the code: `make surfaces`.

What a surface calls a field stands in its request types, what it calls a status or an event in its names; nothing is
written here twice. A field that no row below knows stops it, so that none is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from api import mailstack, resend, stack0, stackshift
from api.mailstack import names as mailstack_names
from api.resend import names as resend_names
from api.routing import Route, Surface
from api.stack0 import names as stack0_names
from api.stackshift import names as stackshift_names
from api.stackshift import shapes as stackshift_shapes
from mta.model import DeliveryStatus, MessageStatus

PAGE = Path(__file__).parent / "api" / "surfaces.md"
_TABLE = re.compile(r"(<!-- (\w+): make surfaces -->\n).*?(<!-- end -->)", re.DOTALL)
NONE = "–"

# What a message can be asked to be -> the fields, as the types name them, that say it.
ROWS: Mapping[str, tuple[str, ...]] = {
    "sender": ("from_", "from_name"),
    "recipients": ("to", "cc", "bcc"),
    "where answers go": ("reply_to",),
    "subject": ("subject",),
    "words": ("html", "text"),
    "a template's words": ("template", "template_id"),
    "what fills them": ("data", "variables", "template_variables", "template.variables"),
    "files": ("attachments",),
    "header fields": ("headers", "in_reply_to", "references"),
    "tags": ("tags",),
    "metadata": ("metadata",),
    "stream": ("stream",),
    "tracking": ("tracking",),
    "send later": ("scheduled_at", "send_at"),
    "idempotency": ("idempotency_key",),
    "test mail": ("simulation", "environment"),
    "taken, not kept": ("project_slug",),
    "refused": ("topic_id",),
}


@dataclass(frozen=True)
class Column:
    """A surface: its send operation, and its words for ours, where it has any."""

    surface: Surface
    send: str
    statuses: Mapping[MessageStatus, str] = field(default_factory=dict)
    recipients: Mapping[DeliveryStatus, str] = field(default_factory=dict)
    events: Mapping[str, str] = field(default_factory=dict)


COLUMNS = (
    Column(
        stackshift.SURFACE,
        "/send",
        stackshift_shapes.MESSAGE_STATUS,
        stackshift_shapes.RECIPIENT_STATUS,
        {ours: f"`{name}`" for ours, (name, _) in stackshift_names.EVENTS.items()},
    ),
    Column(
        mailstack.SURFACE,
        "/emails",
        mailstack_names.MESSAGE_STATUS,
        mailstack_names.RECIPIENT_STATUS,
        {ours: f"`{named.type}`, {named.number} {named.name}" for ours, named in mailstack_names.EVENTS.items()},
    ),
    Column(
        stack0.SURFACE,
        "/send",
        stack0_names.MESSAGE_STATUS,
        events={ours: f"status `{shown}`" for ours, shown in stack0_names.EVENTS.items()},
    ),
    Column(
        resend.SURFACE,
        "/emails",
        events={
            ours: ", ".join([f"`{name}`"] * bool(name) + [f"last_event `{last}`"] * bool(last))
            for ours, (name, last) in resend_names.EVENTS.items()
        },
    ),
)


def main() -> None:
    PAGE.write_text(rewritten(PAGE.read_text()))


def rewritten(page: str) -> str:
    """The page with its tables as the code has them."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page)


def surfaces() -> str:
    rows = [
        (column.surface.name, _codes(column.surface.mounts), f"`POST {column.surface.mounts[0]}{column.send}`")
        for column in COLUMNS
    ]
    return _table(("surface", "mounts", "send"), rows)


def fields() -> str:
    for column in COLUMNS:
        known = {name for names in ROWS.values() for name in names}
        if unknown := {name for name in _wire(_send(column)) if "." not in name} - known:
            raise LookupError(f"docs/surfaces.py: no row for {unknown} of {column.surface.name}")
    rows = [(row, *(_field(column, names) for column in COLUMNS)) for row, names in ROWS.items()]
    return _table(("what", *(column.surface.name for column in COLUMNS)), rows)


def statuses() -> str:
    return _words(MessageStatus, lambda column: column.statuses, "a message is")


def recipients() -> str:
    return _words(DeliveryStatus, lambda column: column.recipients, "a recipient's copy is")


def events() -> str:
    """Those that more than one of them has a word for."""
    counted = Counter(type for column in COLUMNS for type in column.events)
    ours = [type for type, count in counted.items() if count > 1]
    rows = [(f"`{type}`", *(column.events.get(type, NONE) for column in COLUMNS)) for type in ours]
    return _table(("event", *(column.surface.name for column in COLUMNS)), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    made.__name__: made for made in (surfaces, fields, statuses, recipients, events)
}


def _send(column: Column) -> Route:
    (found,) = [route for _, route in column.surface.routes() if (route.method, route.path) == ("POST", column.send)]
    return found


def _wire(route: Route) -> dict[str, str]:
    """The fields of a request, and those of its objects after a dot, by the names that the code has for them."""
    if not (isinstance(route.body, type) and issubclass(route.body, msgspec.Struct)):
        return {}
    made = {}
    described = msgspec.inspect.type_info(route.body)
    assert isinstance(described, msgspec.inspect.StructType)
    for each in described.fields:
        made[each.name] = each.encode_name
        kinds = each.type.types if isinstance(each.type, msgspec.inspect.UnionType) else (each.type,)
        for kind in kinds:
            if isinstance(kind, msgspec.inspect.StructType):
                inner = {f"{each.name}.{one.name}": f"{each.encode_name}.{one.encode_name}" for one in kind.fields}
                made.update(inner)
    return made


def _field(column: Column, names: tuple[str, ...]) -> str:
    """Its fields of the send operation, else of the first other way of sending that has them."""
    others = [route for _, route in column.surface.routes() if route.scope == "emails:send" and route.method == "POST"]
    others.sort(key=lambda route: not route.path.startswith("/send"))
    for route in (_send(column), *others):
        wire = _wire(route)
        if found := [wire[name] for name in names if name in wire]:
            return _codes(found) + ("" if route.path == column.send else f" of `{route.path}`")
    return "header `Idempotency-Key`" if "idempotency_key" in names else NONE


def _words(ours: Iterable[Any], words: Callable[[Column], Mapping[Any, str]], title: str) -> str:
    columns = [column for column in COLUMNS if words(column)]
    rows = [(f"`{status}`", *(f"`{words(column)[status]}`" for column in columns)) for status in ours]
    return _table((title, *(column.surface.name for column in columns)), rows)


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    main()
