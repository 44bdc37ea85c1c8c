"""What a person does with the link out of a stream: look at it, and leave."""

from __future__ import annotations

from dataclasses import dataclass

from mta import ids
from mta.errors import InvalidInput, NotFound
from mta.model import Suppression
from mta.policy import streams, suppression
from mta.protocol import unsubscribe
from mta.protocol.unsubscribe import Subscription
from mta.store import messages
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who would leave what: `sender` is the domain that wrote, "" where its message is gone."""

    email: str
    stream: str
    sender: str


class Unsubscribes:
    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._key = secrets.derive(unsubscribe.KEY)

    async def look(self, token: str) -> Leaving:
        """Changes nothing: scanners of mail follow every link. Raises NotFound, as `leave` does."""
        return await self._database.read(_look, self._subscription(token))

    async def leave(self, token: str) -> Suppression:
        """No more mail of this stream to this address; a second time is no error."""
        return await self._database.write(suppression.unsubscribe, self._subscription(token), ids.now_ms())

    def _subscription(self, token: str) -> Subscription:
        found = unsubscribe.decode(token, self._key)
        if found is None:
            raise NotFound("This link is not one of ours, or it was cut short.")
        return found


def _look(tx: Tx, subscription: Subscription) -> Leaving:
    message = messages.by_id(tx, subscription.message_id)
    try:
        stream = streams.named(tx, subscription.organization_id, subscription.stream).name
    except InvalidInput:
        stream = subscription.stream
    return Leaving(subscription.email, stream, message.domain if message else "")
