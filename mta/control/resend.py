"""A message once more: its stored header and body, to the same recipients, as a new message with a new id."""

from __future__ import annotations

from config.settings import Settings
from mta.accept.submission import Accepted, Raw, Submission
from mta.accept.submit import Accept
from mta.errors import Conflict, NotFound
from mta.model import Message, Options, Principal, Recipient
from mta.protocol.address import parse_address
from mta.protocol.headers import parse
from mta.protocol.unsubscribe import PATH
from mta.store import bodies, deliveries, messages
from mta.store.database import Database
from mta.store.spool import Spool
from mta.store.sqlite import Tx

# What the server had written: the new message gets its own.
_OURS = ("Received", "Date", "Message-ID")
_WAY_OUT = ("List-Unsubscribe", "List-Unsubscribe-Post")


class Resend:
    def __init__(self, database: Database, accept: Accept, settings: Settings) -> None:
        self._database = database
        self._accept = accept
        self._spool_directory = settings.data_dir / "spool"
        self._page = settings.api.public_url

    async def again(self, principal: Principal, id: str, idempotency_key: str | None = None) -> Accepted:
        """Raises NotFound, Conflict (`body_expired`) once the body is deleted, and what accepting raises."""
        with Spool(self._spool_directory) as spool:
            message, recipients = await self._database.read(self._read, principal, id, spool)
            kept = message.options
            options = Options(
                stream=message.stream,
                tags=message.tags,
                metadata=message.metadata,
                idempotency_key=idempotency_key,
                track_opens=kept.get("track_opens"),
                track_clicks=kept.get("track_clicks"),
                simulation=kept.get("simulation"),
                template_id=kept.get("template_id"),
            )
            submission = Submission(
                source="api",
                content=Raw(spool),
                recipients=recipients,
                options=options,
                fingerprint=f"resend {id}",
            )
            return await self._accept.submit(principal, submission)

    def _read(self, tx: Tx, principal: Principal, id: str, spool: Spool) -> tuple[Message, tuple[Recipient, ...]]:
        message = messages.by_id(tx, id)
        if message is None or not principal.owns(message):
            raise NotFound(f"There is no message {id}.")
        body = bodies.by_id(tx, message.body_id, inline=0)
        if body is None:
            raise Conflict(
                f"The content of message {id} has been deleted, so it cannot be sent again.", code="body_expired"
            )
        headers = parse(body.head).remove(*_OURS)
        way_out = headers.get(_WAY_OUT[0])
        if way_out is not None and f"<{self._page}{PATH}/".encode() in way_out.value:
            headers = headers.remove(*_WAY_OUT)
        spool.write(bytes(headers) + b"\r\n")
        n = 0
        while (chunk := bodies.chunk(tx, body.id, n)) is not None:
            spool.write(chunk)
            n += 1
        recipients = tuple(Recipient(parse_address(one.recipient)) for one in deliveries.by_message(tx, id))
        return message, recipients
