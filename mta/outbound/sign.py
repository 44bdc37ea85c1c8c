"""The last look at the bytes: re-encode for what the peer offers, sign, hand out as chunks.

Stands between an open connection and MAIL, so that a rotated key takes effect in the queue. What is signed is made once
for all recipients with the same bytes: the signature covers content, not the envelope. A tracked message has other
bytes for each (`own_copy`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from mta.ids import now_ms
from mta.model import Body, DkimKey, Queued
from mta.outbound.own_copy import OwnCopies
from mta.protocol import tracking
from mta.protocol.dkim import BodyDigest, SigningKey, sign
from mta.protocol.dkim import load as load_key
from mta.protocol.encoding import to_seven_bit
from mta.store import bodies, domains
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.spool import Spool
from mta.store.sqlite import Tx

KEPT_SIGNED = 128  # signed header blocks at hand, for messages with many recipients
KEPT_ENCODED = 4  # of them, with a re-encoded body, which may be 35 MB of disk; what is on the wire stays in any case
KEPT_KEYS_S = 30  # what changed is seen at once by `forget`, in any case within this many seconds
MAX_LINE = 998  # octets, RFC 5321 §4.5.3.1.6


class NoKey(Exception):
    """The sender's domain has no signing key: the message is held, never sent unsigned."""


class BodyGone(Exception):
    """The body was purged or cannot be found."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a peer can take (RFC 6152, RFC 6531)."""

    eight_bit: bool
    smtputf8: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message ready for the wire. `content` makes its chunks anew for each transaction; `head` is as sent.

    `body` is there where it is not the stored one: re-encoded, or the recipient's own.
    """

    head: bytes
    size: int
    eight_bit: bool
    smtputf8: bool
    content: Callable[[], Iterator[bytes] | AsyncIterator[bytes]]
    body: Spool | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """What delivery knows of a sending domain; `return_path` is where its bounces go, `tracking_url` where its links."""

    keys: tuple[SigningKey, ...]
    return_path: str
    tracking_url: str = ""
    require_tls: bool = False


class Signer:
    """Prepares messages. Signs in two threads: RSA takes 0.7 ms and lets the interpreter go meanwhile."""

    def __init__(
        self, database: Database, secrets: Secrets, bounce_domain: str, spool_dir: Path, public_url: str
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._bounce_domain = bounce_domain
        self._public_url = public_url.rstrip("/")
        self._own_copies = OwnCopies(secrets.derive(tracking.KEY), public_url)
        self._spool_dir = spool_dir
        self._threads = ThreadPoolExecutor(2, "sign")
        self._senders: dict[tuple[str, str], tuple[int, Sender]] = {}
        self._changes = 0
        self._signed: OrderedDict[tuple[str, bool, tuple[str, ...]], asyncio.Task[Prepared]] = OrderedDict()

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def sender(self, organization_id: str, domain: str) -> Sender:
        """Keys, return path and wishes of a sending domain, as of its last change."""
        kept = self._senders.get((organization_id, domain))
        now = now_ms()
        if kept and kept[0] > now:
            return kept[1]
        changes = self._changes
        rows, return_path, require_tls, host = await self._database.read(_facts, organization_id, domain)
        keys = tuple(
            SigningKey(row.domain, row.selector, load_key(self._secrets.open(row.sealed, f"dkim/{row.id}")))
            for row in rows
        )
        url = tracking.base_url(self._public_url, host)
        found = Sender(keys, return_path or self._bounce_domain, url, require_tls)
        if changes == self._changes:  # what was read may be from before a change
            self._senders[organization_id, domain] = (now + KEPT_KEYS_S * 1000, found)
        return found

    def forget(self, organization_id: str, domain: str) -> None:
        """It changed: look it up again."""
        self._changes += 1
        self._senders.pop((organization_id, domain), None)

    async def prepare(self, queued: Queued, sender: Sender, peer: Wanted) -> Prepared:
        """Raises NoKey, BodyGone."""
        if not sender.keys:
            raise NoKey(f"{queued.sender_domain} has no DKIM key.")
        body = queued.body or await self._body(queued.body_id)
        if (queued.track_opens or queued.track_clicks) and not self._own_copies.none_in(body):
            spool = await self._spool(body)
            loop = asyncio.get_running_loop()
            own = await loop.run_in_executor(self._threads, self._sign_own, queued, body, sender, peer, spool)
            if own is not None:
                return own
        fits = _fits(body, peer)
        key = (queued.body_id, fits, tuple(key.selector for key in sender.keys))
        task = self._signed.get(key)
        if task is None or (task.done() and not task.cancelled() and task.exception() is not None):
            task = asyncio.ensure_future(self._sign(body, sender.keys, fits))
            self._signed[key] = task
            self._forget_oldest()
        return await asyncio.shield(task)

    def _forget_oldest(self) -> None:
        encoded = [key for key in self._signed if not key[1]]
        for key in encoded[:-KEPT_ENCODED]:
            del self._signed[key]
        while len(self._signed) > KEPT_SIGNED:
            self._signed.popitem(last=False)

    async def _body(self, body_id: str) -> Body:
        body = await self._database.read(bodies.by_id, body_id)
        if body is None:
            raise BodyGone("The body of this message is gone.")
        return body

    async def _sign(self, body: Body, keys: tuple[SigningKey, ...], fits: bool) -> Prepared:
        loop = asyncio.get_running_loop()
        if not fits:
            return await loop.run_in_executor(self._threads, self._sign_encoded, body, keys, await self._spool(body))
        signed = await loop.run_in_executor(self._threads, sign, body.head, body.body_hash, keys, now_ms() // 1000)
        head = signed + body.head
        content: Callable[[], Iterator[bytes] | AsyncIterator[bytes]]
        if body.data is not None:
            whole = head + b"\r\n" + body.data
            content = lambda: iter((whole,))  # noqa: E731
        else:
            content = lambda: self._stream(body.id, head)  # noqa: E731
        return Prepared(head, len(head) + 2 + body.size, body.eight_bit, not body.head.isascii(), content)

    async def _stream(self, body_id: str, head: bytes) -> AsyncIterator[bytes]:
        """Chunk by chunk, each in a read of its own: no read stays open while bytes go to a slow peer."""
        yield head + b"\r\n"
        n = 0
        while (data := await self._database.read(bodies.chunk, body_id, n)) is not None:
            yield data
            n += 1

    async def _spool(self, body: Body) -> Spool:
        """The body as bytes that a thread can walk through, in a file where it is large."""
        spool = Spool(self._spool_dir)
        if body.data is not None:
            spool.write(body.data)
            return spool
        n = 0
        while (data := await self._database.read(bodies.chunk, body.id, n)) is not None:
            spool.write(data)
            n += 1
        return spool

    def _sign_own(self, queued: Queued, body: Body, sender: Sender, peer: Wanted, plain: Spool) -> Prepared | None:
        """In a thread: the recipient's own body into a second spool, digest, signature. None: nothing to track."""
        own, digest = Spool(self._spool_dir), BodyDigest()
        with plain:
            chunks = self._own_copies.chunks(queued, body, sender.tracking_url, plain)
            if chunks is None:
                return None
            for chunk in chunks:
                own.write(chunk)
                digest.update(chunk)
        mine = replace(
            body,
            size=digest.size,
            body_hash=digest.digest(),
            eight_bit=digest.eight_bit,
            longest_line=digest.longest_line,
        )
        if not _fits(mine, peer):
            return self._sign_encoded(mine, sender.keys, own)
        head = sign(body.head, mine.body_hash, sender.keys, now_ms() // 1000) + body.head

        def content() -> Iterator[bytes]:
            yield head + b"\r\n"
            yield from own.chunks()

        return Prepared(head, len(head) + 2 + own.size, mine.eight_bit, not head.isascii(), content, own)

    def _sign_encoded(self, body: Body, keys: tuple[SigningKey, ...], plain: Spool) -> Prepared:
        """In a thread: 7-bit form into a second spool, digest, signature."""
        encoded, digest = Spool(self._spool_dir), BodyDigest()
        with plain:
            head, chunks = to_seven_bit(body.head, plain.chunks())
            for chunk in chunks:
                encoded.write(chunk)
                digest.update(chunk)
        signed = sign(head, digest.digest(), keys, now_ms() // 1000) + head

        def content() -> Iterator[bytes]:
            yield signed + b"\r\n"
            yield from encoded.chunks()

        return Prepared(signed, len(signed) + 2 + encoded.size, False, not signed.isascii(), content, encoded)


def _fits(body: Body, peer: Wanted) -> bool:
    """The peer takes it as it is."""
    plain = body.head.isascii()
    return body.longest_line <= MAX_LINE and (peer.eight_bit or not body.eight_bit) and (peer.smtputf8 or plain)


def _facts(tx: Tx, organization_id: str, name: str) -> tuple[list[DkimKey], str | None, bool, str]:
    """Of a deleted domain too, while its mail is in the queue; but its records may be gone, and its return path."""
    keys = domains.signing_keys(tx, organization_id, name)
    found = domains.by_name(tx, organization_id, name)
    verified = found is not None and found.checks.get("return_path", {}).get("status") == "verified"
    path = f"{found.settings.mail_from}.{name}" if found is not None and verified else None
    last = found or domains.last_deleted(tx, organization_id, name)
    host = found.link_host if found is not None else ""
    return keys, path, last is not None and last.settings.require_tls, host
