"""Webhooks at rest: where events go, under which secret, and how the endpoint does."""

from __future__ import annotations

from dataclasses import fields

from mta.model import Webhook
from mta.store.sqlite import Row, Tx, from_json, to_json

_NAMES = [each.name for each in fields(Webhook)]
COLUMNS = ", ".join(_NAMES)
ADD = f"INSERT INTO webhooks ({COLUMNS}) VALUES ({', '.join(':' + name for name in _NAMES)})"
SAVE = f"UPDATE webhooks SET {', '.join(f'{name} = :{name}' for name in _NAMES[3:])} WHERE id = :id"
BY_ID = f"SELECT {COLUMNS} FROM webhooks WHERE id = :id"
PAGE = f"""
    SELECT {COLUMNS} FROM webhooks WHERE organization_id = :organization_id AND test = :test AND id < :before
    ORDER BY id DESC LIMIT :limit"""
DELETE = "DELETE FROM webhooks WHERE id = :id"


def webhook(row: Row) -> Webhook:
    named = dict(zip(_NAMES, row, strict=True))
    named["test"] = bool(named["test"])
    for name in ("event_types", "matches"):
        named[name] = tuple(from_json(named[name]))
    return Webhook(**named)


def _columns(made: Webhook) -> dict[str, object]:
    named: dict[str, object] = {name: getattr(made, name) for name in _NAMES}
    return named | {
        "test": int(made.test),
        "event_types": to_json(made.event_types),
        "matches": to_json(made.matches),
    }


def add(tx: Tx, made: Webhook) -> None:
    tx.run(ADD, **_columns(made))


def save(tx: Tx, changed: Webhook) -> None:
    """All but whose it is. Read and save in one transaction."""
    named = _columns(changed)
    for name in ("organization_id", "test"):
        del named[name]
    tx.run(SAVE, **named)


def by_id(tx: Tx, id: str) -> Webhook | None:
    row = tx.one(BY_ID, id=id)
    return webhook(row) if row else None


def page(tx: Tx, organization_id: str, test: bool, limit: int, before: str) -> list[Webhook]:
    """Newest first."""
    found = tx.all(PAGE, organization_id=organization_id, test=int(test), limit=limit, before=before)
    return [webhook(row) for row in found]


def delete(tx: Tx, id: str) -> None:
    tx.run(DELETE, id=id)
