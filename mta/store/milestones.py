"""What a message's events come to: when it first reached each point that senders ask for, and what happened last."""

from __future__ import annotations

import re
from typing import Final

from mta.model import Milestones
from mta.store.sqlite import Tx

# Word for word as in the index that serves it
TYPES: Final = (
    "type IN ('delivery.delivered', 'message.bounced', 'message.complained', 'message.opened', 'message.clicked', "
    "'message.unsubscribed')"
)
# What a program opened or followed is no milestone. In JSON no other text can look like this.
PEOPLE: Final = """data NOT LIKE '%"automated":true%'"""


def _first(type: str) -> str:
    return f"""(
        SELECT created_at FROM events
        WHERE message_id = :id AND {TYPES} AND type = '{type}' AND {PEOPLE}
        ORDER BY id LIMIT 1)"""


FIRSTS = "SELECT " + ", ".join(map(_first, re.findall("'(.+?)'", TYPES)))  # in the order of `Milestones`
# The roll-ups `sent` and `deferred` repeat what a recipient's event has just said.
LAST = f"""
    SELECT type, created_at FROM events
    WHERE message_id = :id AND resource_type = 'message'
      AND type NOT IN ('message.sent', 'message.deferred') AND {PEOPLE}
    ORDER BY id DESC LIMIT 1"""


def of(tx: Tx, message_id: str) -> Milestones:
    """Empty where there is no such message, or its events are no longer kept."""
    first = tx.one(FIRSTS, id=message_id)
    assert first is not None
    return Milestones(*first, *(tx.one(LAST, id=message_id) or (None, None)))
