"""What goes into the one door, and what comes out: SMTP and every HTTP API make a `Submission`, and get an `Accepted`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mta.model import MessageStatus, Options, Recipient, Source
from mta.protocol.address import Address
from mta.protocol.mime import Draft


@dataclass(frozen=True, slots=True)
class Raw:
    """A whole message as an app wrote it, CRLF at each line's end (RFC 5322)."""

    source: Source


@dataclass(frozen=True, slots=True)
class InMemory:
    """A `Source` of bytes that are in RAM anyway."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]

    def chunks(self, start: int = 0, size: int = 262144) -> Iterator[bytes]:
        for offset in range(start, len(self.data), size):
            yield self.data[offset : offset + size]


@dataclass(frozen=True, slots=True)
class Submission:
    """One message to accept: fields to build it from (`Draft`), or the whole of it (`Raw`), and its envelope.

    `source` is "smtp" or "api"; `protocol` goes into Received (RFC 3848: ESMTPSA, HTTP ...). `reverse_path` None: nobody
    wants DSNs. `fingerprint` says what the request was where its content does not show it (a template and its data);
    None: the content, or over SMTP the envelope, is the request.
    """

    source: str
    content: Draft | Raw
    recipients: tuple[Recipient, ...]
    reverse_path: Address | None = None
    options: Options = field(default_factory=Options)
    protocol: str = "HTTP"
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is durable. `replayed`: it was already, this is the first answer again; `status` is its first status.

    `suppressed` are recipients, as given, that mail is not sent to; `message_ids` all messages that a broadcast became.
    """

    message_id: str
    status: MessageStatus
    replayed: bool = False
    suppressed: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
