"""Messages found by many filters at once, with how many there are: for lists with an offset and a total.

An index finds the candidates, SCANNED at most, and only of those the rest is looked at: what a list costs has a bound,
however large the store is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mta import ids
from mta.model import MessageStatus, Search
from mta.store.messages import LAST
from mta.store.milestones import TYPES
from mta.store.sqlite import Tx, to_json

SCANNED: Final = 10_000  # candidates, the first in the order that is asked for

# A candidate is a message's id and what it is sorted by; its index has both.
_MINE = "organization_id = :organization_id AND test = :test"
_ALL = f"SELECT id, id AS at FROM messages WHERE {_MINE} AND id > :after AND id < :before"
_BY_STATUS = f"{_ALL} AND status = :status"
_BY_SENDER = f"{_ALL} AND from_address = :sender"
_BY_RECIPIENT = f"""
    SELECT message_id AS id, message_id AS at FROM deliveries
    WHERE {_MINE} AND recipient_key = :recipient AND message_id > :after AND message_id < :before"""
_BY_EVENT = f"SELECT message_id AS id, id AS at FROM events WHERE {_MINE} AND type = :event AND id > :event_after"
# What else must hold of it; an empty parameter asks for nothing.
_SIFTED = """
    SELECT m.id, c.at FROM ({candidates}) c CROSS JOIN messages m ON m.id = c.id
    WHERE m.id > :after AND m.id < :before
      AND (:statuses = '' OR instr(:statuses, ',' || m.status || ',') > 0)
      AND (:sender = '' OR m.from_address = :sender)
      AND (:recipient = '' OR EXISTS (
          SELECT 1 FROM deliveries d WHERE d.organization_id = m.organization_id AND d.test = m.test
            AND d.recipient_key = :recipient AND d.message_id = m.id))
      AND (:subject = '' OR instr(lower(m.subject), :subject) > 0)
      AND (:tag = '' OR instr(m.tags, '{{' || :tag) > 0 OR instr(m.tags, ',' || :tag) > 0)"""
_HAPPENED = f"EXISTS (SELECT 1 FROM events WHERE message_id = m.id AND {TYPES} AND type = '%s')"

SENDERS = f"""
    SELECT from_address, status, count(*) FROM (
        SELECT from_address, status FROM messages WHERE {_MINE} ORDER BY id DESC LIMIT {SCANNED})
    GROUP BY from_address, status"""


def matching(tx: Tx, organization_id: str, test: bool, search: Search) -> list[str]:
    """The ids of all that it finds among the candidates, in order."""
    asked = {
        "organization_id": organization_id,
        "test": int(test),
        "after": ids.floor("msg", search.start),
        "before": LAST if search.end is None else ids.floor("msg", search.end),
        "event_after": ids.floor("evt", search.start),
        "event": search.by or search.happened,
        "statuses": "".join(f",{status}" for status in search.statuses) + "," if search.statuses else "",
        "sender": search.sender,
        "recipient": search.recipient,
        "subject": search.subject.lower(),
        "tag": f"{to_json(search.tag)}:" if search.tag else "",
    }
    found: dict[str, str] = {}
    for sql, status in _queries(search):
        for id, at in tx.all(sql, **asked, status=status):
            found[id] = min(at, found.get(id, at))
    return sorted(found, key=lambda id: found[id] if search.by else id, reverse=not search.ascending)


def _queries(search: Search) -> Iterator[tuple[str, str]]:
    """The statements that find them, each with the status that it takes."""
    order = f"ORDER BY at {'ASC' if search.ascending else 'DESC'} LIMIT {SCANNED}"
    rest = (search.sender, search.recipient, search.subject, search.tag, search.happened, *search.not_happened)
    if search.by or search.happened:
        yield _sifted(search, f"{_BY_EVENT} {order}"), ""
    elif search.recipient:
        yield _sifted(search, f"{_BY_RECIPIENT} {order}"), ""
    elif search.sender:
        yield _sifted(search, f"{_BY_SENDER} {order}"), ""
    else:
        for status in search.statuses or ("",):
            candidates = f"{_BY_STATUS if status else _ALL} {order}"
            yield _sifted(search, candidates) if any(rest) else candidates, status


def _sifted(search: Search, candidates: str) -> str:
    happened = f" AND {_HAPPENED % search.happened}" if search.happened else ""
    return (
        _SIFTED.format(candidates=candidates)
        + happened
        + "".join(f" AND NOT {_HAPPENED % type}" for type in search.not_happened)
    )


def senders(tx: Tx, organization_id: str, test: bool) -> list[tuple[str, MessageStatus, int]]:
    """Who sent the newest messages (SCANNED), with how many of them are in each status."""
    rows = tx.all(SENDERS, organization_id=organization_id, test=int(test))
    return [(row[0], MessageStatus(row[1]), row[2]) for row in rows]
