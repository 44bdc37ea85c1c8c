"""Which streams there are: two that everybody has, and those that an organization made."""

from __future__ import annotations

from typing import Final

from mta.errors import InvalidInput
from mta.model import Stream, StreamType
from mta.store import streams
from mta.store.sqlite import Tx

DEFAULTS: Final = {
    type.value: Stream(type.value, "", type.value, type.value.capitalize(), type, 0) for type in StreamType
}


def named(tx: Tx, organization_id: str, slug: str) -> Stream:
    """Raises InvalidInput (`stream_not_found`): a slip of the pen must not turn a newsletter into receipts."""
    found = DEFAULTS.get(slug) or streams.by_slug(tx, organization_id, slug)
    if found is None:
        raise InvalidInput(
            f'There is no stream "{slug}". Use {" or ".join(DEFAULTS)}, or make it first (POST /mail/streams).',
            code="stream_not_found",
            field="stream",
        )
    return found
