"""The HTTP server's side of one connection: uvicorn's, with bounds on what comes before a request can be understood.

Header fields are kept in memory as they come, and no handler, and so no key, is asked before the last one. Between two
requests it is uvicorn that hangs up (keep-alive).
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER: Final = 64 * 1024  # bytes of a request's line and header fields; likewise of what follows a chunked body
_TOO_LARGE: Final = (  # RFC 6585 §5
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"The header of this request is larger than 64 KiB.\n"
)
HEADER_S = 30.0  # from the connection, or a request's first byte, to the end of its header
_TOO_LATE: Final = (  # RFC 9110 §15.5.9
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"The header of a request did not end in time.\n"
)


class HttpProtocol(HttpToolsProtocol):
    """Hangs up on a client whose header has no end, or does not come to it."""

    _waiting = 0  # bytes since the last part of a request was whole
    _deadline: asyncio.TimerHandle | None = None  # of a header

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._waiting += len(data)
        super().data_received(data)
        if self._waiting > MAX_HEADER:
            self._hang_up(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_header()

    def on_headers_complete(self) -> None:
        self._waiting = 0
        self._header_ended()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._waiting = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waiting = 0
        super().on_message_complete()

    def _expect_header(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_S, self._late)

    def _header_ended(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self._hang_up(_TOO_LATE)
        else:  # the answer to the request before it is on its way
            self._expect_header()

    def _hang_up(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
