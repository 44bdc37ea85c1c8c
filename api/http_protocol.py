"""The HTTP server's side of one connection: uvicorn's, with a bound on what is read before a request can be understood.

Header fields are kept in memory as they come, and no handler, and so no key, is asked before the last one.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER: Final = 64 * 1024  # bytes of a request's line and header fields; likewise of what follows a chunked body
_TOO_LARGE: Final = (  # RFC 6585 §5
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"The header of this request is larger than 64 KiB.\n"
)


class HttpProtocol(HttpToolsProtocol):
    """Hangs up on a client whose header has no end."""

    _waiting = 0  # bytes since the last part of a request was whole

    def data_received(self, data: bytes) -> None:
        self._waiting += len(data)
        super().data_received(data)
        if self._waiting > MAX_HEADER and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._waiting = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._waiting = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waiting = 0
        super().on_message_complete()
