"""What an event carries as every surface shows it: its recipient and its facts, never a body or a code."""

from __future__ import annotations

import re
from typing import Any

from api.times import moment
from mta.model import Event

_WORD_START = re.compile(r"_([a-z0-9])")


def event_data(event: Event) -> dict[str, Any]:
    """In camelCase, times in RFC 3339."""
    data = {"recipient": event.recipient} if event.recipient else {}
    return data | {_camel(name): _shown(name, value) for name, value in event.data.items()}


def _camel(name: str) -> str:
    return _WORD_START.sub(lambda found: found[1].upper(), name)


def _shown(name: str, value: Any) -> Any:
    if name.endswith("_at") and isinstance(value, int):
        return moment(value)
    return value
