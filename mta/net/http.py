"""HTTP calls to addresses that strangers name: never into our own network, never longer or larger than allowed.

The name is resolved once, every address that it has must be public, and the connection goes to one of those addresses:
an answer that changes afterwards changes nothing. Certificates are verified. A call does not follow redirects; a file
that is fetched may be a few away, each judged as the first.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from mta.net.dns import DnsError, Resolver
from mta.net.tls import client_context
from mta.protocol.web_address import WebAddressError, is_public, parse_web_address

READ_BYTES = 65_536  # of an answer
KEPT_CHARACTERS = 1024  # of them, for people to read
CONNECTIONS = 200
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3  # to a file


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended. `cause` is None for a 2xx; else address, name, connection, tls, timeout or status.

    `error` is a sentence, `response` the beginning of the answer as plain text. `retry_after` in seconds, where it says.
    """

    status: int | None
    cause: str | None
    error: str
    response: str
    duration_ms: int
    retry_after: int | None = None

    @property
    def ok(self) -> bool:
        return self.cause is None


class FetchError(Exception):
    """There is no file to be had at that address; the text says why, in a sentence."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file, and what its server calls its type ("" where it says nothing)."""

    content: bytes
    content_type: str


class HttpClient:
    """Keeps connections for a while; `close` at the end. `allow_private` lifts the guard: development and tests."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        allow_private: bool = False,
        timeout_s: float = 15.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver = _Guard(resolver, allow_private)
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One call; every way to fail is an Answer."""
        start = time.monotonic()
        try:
            target = parse_web_address(url, allow_private=self._allow_private)
            status, text, wait = await self._call(target.url, body, headers)
        except Exception as error:
            cause, sentence = self._explain(error)
            return Answer(None, cause, sentence, "", _since(start))
        if 200 <= status < 300:
            return Answer(status, None, "", text, _since(start))
        sentence = f"It answered {status}."
        if 300 <= status < 400:
            sentence = f"It answered {status}: redirects are not followed."
        return Answer(status, "status", sentence, text, _since(start), wait)

    async def get(self, url: str, limit: int, *, redirects: int = MAX_REDIRECTS) -> Fetched:
        """A whole file of at most `limit` bytes, redirects and all within the client's time. Raises FetchError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(redirects + 1):
                    found = await self._fetch(parse_web_address(url, allow_private=self._allow_private).url, limit)
                    if isinstance(found, Fetched):
                        return found
                    url = found
        except FetchError:
            raise
        except Exception as error:
            raise FetchError(self._explain(error)[1]) from error
        raise FetchError(f"It redirects more than {redirects} times." if redirects else "It redirects.")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _fetch(self, url: str, limit: int) -> Fetched | str:
        """The file, or the address that it redirects to."""
        async with self._open().get(url, allow_redirects=False) as response:
            if response.status in REDIRECTS and (location := response.headers.get("location")):
                try:
                    return urljoin(url, location)
                except ValueError as error:
                    raise FetchError("It redirects to something that is no URL.") from error
            if response.status != 200:
                raise FetchError(f"It answered {response.status}.")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise FetchError("It sent the file compressed, which was not asked for.")
            chunks: list[bytes] = []
            size = 0
            async for chunk in response.content.iter_chunked(READ_BYTES):
                size += len(chunk)
                if size > limit or (response.content_length or 0) > limit:
                    raise FetchError(f"It has more than the {limit} bytes that fit.")
                chunks.append(chunk)
            return Fetched(b"".join(chunks), response.headers.get("content-type", ""))

    async def _call(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, int | None]:
        async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as response:
            read = b""
            while len(read) < READ_BYTES and (chunk := await response.content.read(READ_BYTES - len(read))):
                read += chunk
            if not response.content.at_eof():
                response.close()  # the rest is not wanted, and so the connection is of no more use
            return response.status, _plain(read), retry_after(response.headers.get("retry-after", ""), time.time())

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                ssl=self._tls or client_context("verify"),
                limit=CONNECTIONS,
                keepalive_timeout=15,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _explain(self, error: BaseException) -> tuple[str, str]:
        """Cause and sentence."""
        if isinstance(error, WebAddressError):
            return "address", str(error)
        if isinstance(error, DnsError):
            return "name", str(error)
        if isinstance(error, TimeoutError):
            return "timeout", f"It did not answer within {self._timeout_s:g} seconds."
        if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
            return "tls", f"TLS failed: {_first_line(error)}"
        if isinstance(error, aiohttp.ClientError | OSError):
            return "connection", f"The connection failed: {_first_line(error)}"
        raise error


class _Guard(AbstractResolver):
    """Names to addresses for aiohttp, through our resolver; refuses the name if one of its addresses is not public."""

    def __init__(self, resolver: Resolver, allow_private: bool) -> None:
        self._resolver = resolver
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        local = host == "localhost" or host.endswith(".localhost")
        addresses = ["127.0.0.1"] if local else await self._resolver.addresses(host)  # RFC 6761 §6.3
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    raise WebAddressError(f"{host} has the address {address}, which is not public.")
        return [_found(host, port, address) for address in addresses]

    async def close(self) -> None:
        pass


def _found(host: str, port: int, address: str) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)


def retry_after(text: str, now: float) -> int | None:
    """The seconds that a Retry-After asks for (RFC 9110 §10.2.3: a number or a date); None where it says neither.

    `now` is epoch seconds; a date that has passed is 0.
    """
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        return max(0, round(parsedate_to_datetime(text).timestamp() - now))
    except (ValueError, OverflowError):
        return None


def _since(start: float) -> int:
    return round((time.monotonic() - start) * 1000)


def _plain(raw: bytes) -> str:
    """Hostile bytes as text that a page or a terminal can show."""
    text = raw[: 4 * KEPT_CHARACTERS].decode("utf-8", "replace")[:KEPT_CHARACTERS]
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)


def _first_line(error: BaseException) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0][:200]
    return text if text.endswith(".") else f"{text}."
