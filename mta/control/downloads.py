"""Files behind links: what is attached to a message, or the message itself, without a key, for an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mta import ids
from mta.control.inbound import InboundMail
from mta.control.messages import Messages
from mta.errors import NotFound
from mta.inbound.content import Download
from mta.model import Principal
from mta.protocol import downloads
from mta.protocol.downloads import FileLink
from mta.store.secrets import Secrets

LIFE_MS: Final = 3_600_000
MESSAGE_TYPE: Final = "message/rfc822"
_RECEIVED: Final = "inm_"


@dataclass(frozen=True, slots=True)
class Link:
    """`token` opens the file until `expires_at`."""

    token: str
    expires_at: int


class Downloads:
    """`public_url` is what the world reaches this server's HTTP by."""

    def __init__(
        self,
        messages: Messages,
        inbound: InboundMail,
        secrets: Secrets,
        public_url: str,
        *,
        clock: Callable[[], int] = ids.now_ms,
    ) -> None:
        self.public_url = public_url
        self._messages = messages
        self._inbound = inbound
        self._key = secrets.derive(downloads.KEY)
        self._clock = clock

    def link(self, principal: Principal, message_id: str, part: str = "") -> Link:
        """To a part of a message that the caller has found, or to the whole of it."""
        until = self._clock() + LIFE_MS
        named = FileLink(principal.organization_id, principal.test, message_id, part, until)
        return Link(downloads.encode(named, self._key), until)

    async def open(self, token: str) -> Download:
        """Raises NotFound, also where the link has expired or the message's content was deleted."""
        found = downloads.decode(token, self._key)
        if found is None:
            raise NotFound("This link is not one of ours, or it was cut short.")
        if found.until <= self._clock():
            raise NotFound("This link has expired; ask for the file's address again.", code="link_expired")
        owner = Principal(found.organization_id, test=found.test)
        mail = self._inbound if found.message_id.startswith(_RECEIVED) else self._messages
        if found.part:
            return await mail.attachment(owner, found.message_id, found.part)
        return Download(f"{found.message_id}.eml", MESSAGE_TYPE, await mail.raw(owner, found.message_id))
