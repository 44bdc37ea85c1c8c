"""Tracked mail: which links of a message lead through us and where its pixel stands, and the tokens in both.

A message's `plan` is made once, at its first delivery; `fill` writes each recipient's own copy just before it is signed.
Nothing changes but the values of links and, for the pixel, one inserted tag: no MIME structure, no header, no text part,
no transfer encoding. What is signed or encrypted by its author, attached or forwarded is left alone.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from mta.protocol.headers import HeaderError, parse
from mta.protocol.html import Tag, attribute_value, tokens
from mta.protocol.mime_parts import Part, decode_bytes, parse_parts
from mta.protocol.token import seal, unseal
from mta.protocol.verp import delivery_of, number_of

KEY: Final = "tracking"  # label of the key that is derived for these tokens
CLICK_PATH: Final = "/t/c/"  # before the token
OPEN_PATH: Final = "/t/o/"
MAX_HTML: Final = 1024 * 1024  # bytes of one part, decoded
# Octets of a destination: with token and host the link stays below 2,083, which is what Outlook opens.
MAX_DESTINATION: Final = 1400
MAX_TOKEN: Final = 2048  # characters; a longer text is not looked at

_KIND: Final = b"posthouse-track"
_WEB = re.compile(r"https?://[^/?#\\]", re.IGNORECASE)
_STRIPPED: Final = "".join(map(chr, range(33)))  # what browsers take off both ends of a link
_DROPPED = re.compile(r"[\t\r\n]")  # and anywhere in it (URL standard §4.4)
_UNPRINTABLE = re.compile(r"[^!-~]+")
_LINKS: Final = ("a", "area")
# A link with one of these is not tracked: ours, and those that mail written for other services carries.
_OPT_OUT: Final = {
    "data-posthouse-track": ("off", "false", "no"),
    "clicktracking": ("off",),
    "data-pm-no-track": None,  # whatever its value
    "ses:no-track": None,
}
_SEALED: Final = ("multipart/signed", "multipart/encrypted", "multipart/report")
_QP = re.compile(rb"=(?:([0-9A-Fa-f]{2})|[ \t]*\r?\n)")
_QP_WIDTH: Final = 75  # octets of a line before its soft break (RFC 2045 §6.7)
_SHIFTED = re.compile(rb"\x1b\$[^\x1b]*")  # ISO 2022: what is not ASCII, until the next escape
_MARKUP: Final = b"<a href='x\" y=>&#;/!--"
_URI = re.compile(r"<([^<>]+)>")


@dataclass(frozen=True, slots=True)
class Hit:
    """What a token says: whose copy, and the link that was followed; "" is the pixel."""

    delivery_id: str
    url: str


def encode(hit: Hit, key: bytes) -> str:
    """URL-safe letters; the same hit gives the same token. `key` has 16 to 64 octets."""
    return seal(number_of(hit.delivery_id).to_bytes(16, "big") + hit.url.encode(), key, _KIND)


def decode(token: str, key: bytes) -> Hit | None:
    """None where the token is not ours."""
    payload = unseal(token, key, _KIND) if len(token) <= MAX_TOKEN else None
    if payload is None or len(payload) < 16:
        return None
    return Hit(delivery_of(int.from_bytes(payload[:16], "big")), payload[16:].decode())


def base_url(public_url: str, host: str) -> str:
    """What tracked links begin with: the server's own address, at `host` where a domain has one."""
    if not host:
        return public_url
    scheme, _, rest = public_url.partition("://")
    port = re.search(r":\d+$", rest)
    return f"{scheme}://{host}{port[0] if port else ''}"


def location(url: str) -> str:
    """A destination as the Location field takes it: what is not printable ASCII is percent-encoded UTF-8."""
    return _UNPRINTABLE.sub(lambda found: quote(found[0]), url)


def destination(value: str) -> str | None:
    """Where a browser goes with this `href`; None for all that is not an absolute web address of bearable length."""
    url = _DROPPED.sub("", value.strip(_STRIPPED))
    return url if _WEB.match(url) and len(url.encode("utf-8", "replace")) <= MAX_DESTINATION else None


@dataclass(frozen=True, slots=True)
class Link:
    """The place of one link's value: `raw` is what stands there, `quoted` that the part is quoted-printable."""

    url: str
    raw: bytes
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Pixel:
    """The place of the pixel."""

    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """A base64 part; `end` is the white space after it."""

    pieces: tuple[bytes | Link | Pixel, ...]
    end: bytes


Piece = bytes | Link | Pixel | Packed
Address = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A body in pieces: what stays, and the places of links and pixel."""

    pieces: tuple[Piece, ...]

    def fill(self, link: Address, pixel: str = "") -> bytes:
        """One recipient's body. `link` gives the tracked address of a destination, None leaves it; `pixel` is its
        address, "" for none. Both are of printable ASCII without quotes, brackets and &."""
        return _fill(self.pieces, link, pixel)

    @property
    def bare(self) -> bool:
        """Nothing can be tracked."""
        return len(self.pieces) == 1

    @property
    def links(self) -> Iterator[str]:
        """Every destination, in order."""
        for piece in self.pieces:
            for inner in piece.pieces if isinstance(piece, Packed) else (piece,):
                if isinstance(inner, Link):
                    yield inner.url


def _fill(pieces: tuple[Piece, ...], link: Address, pixel: str) -> bytes:
    written: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            written.append(piece)
        elif isinstance(piece, Link):
            address = link(piece.url)
            written.append(piece.raw if address is None else _written(address, piece.quoted))
        elif isinstance(piece, Packed):
            lines = base64.encodebytes(_fill(piece.pieces, link, pixel)).replace(b"\n", b"\r\n")
            written.append(lines.removesuffix(b"\r\n") + piece.end)
        elif pixel:
            tag = f'<img src="{pixel}" alt="" width="1" height="1" style="display:block;width:1px;height:1px;border:0">'
            written.append(_written(tag, piece.quoted))
    return b"".join(written)


def _written(text: str, quoted: bool) -> bytes:
    """In quoted-printable it stands on lines of its own, so that no other line grows."""
    if not quoted:
        return text.encode("ascii")
    escaped = text.replace("=", "=3D")
    lines, at = [], 0
    while at < len(escaped):
        end = at + _QP_WIDTH
        cut = escaped.rfind("=", end - 2, end)  # no cut inside an escape
        end = cut if cut > at and end < len(escaped) else end
        lines.append(escaped[at:end])
        at = end
    return "=\r\n".join(["", *lines, ""]).encode("ascii")


def plan(head: bytes, body: bytes, *, whole: bool = True) -> Plan:
    """What can be tracked in a message; `head` is its header block. Never raises, and fills to `body` where nothing is.

    `whole` False: `body` is only the beginning, so a part that its end may cut is left alone.
    """
    data = head + b"\r\n" + body
    root = parse_parts(data, len(data))
    start = len(head) + 2
    keep = _way_out(head)
    pieces: list[Piece] = []
    at = start
    pixel = True
    for part in _shown_html(root):
        end = part.at + len(part.body)
        if part.at < at or (not whole and end >= len(data)):
            continue
        found = _part_pieces(part, keep, pixel)
        if found:
            pixel = False
            pieces += [data[at : part.at], *found]
            at = end
    return Plan((*pieces, data[at:]))


def _way_out(head: bytes) -> frozenset[str]:
    """The links that List-Unsubscribe offers: who leaves is not watched."""
    try:
        fields = parse(head).all("List-Unsubscribe")
    except HeaderError:
        return frozenset()
    return frozenset(uri.strip() for field in fields for uri in _URI.findall(field.text))


def _shown_html(root: Part) -> Iterator[Part]:
    """The HTML that a reader shows as the message, in order."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.content_type in _SEALED or part.content_type.startswith("message/"):
            continue
        waiting.extend(reversed(part.parts))
        disposition = part.header("content-disposition").strip().lower()
        attached = disposition.startswith("attachment") or "filename" in disposition or "name" in part.parameters
        if part.content_type == "text/html" and not part.parts and not attached:
            yield part


def _part_pieces(part: Part, keep: frozenset[str], pixel: bool) -> list[Piece]:
    """The pieces of one HTML part, together its whole body; none where it is left alone."""
    encoding = part.header("content-transfer-encoding").strip().lower()
    plain, steps = part.body, None
    if encoding == "quoted-printable":
        plain, steps = _unquoted(part.body)
    elif encoding == "base64":
        try:
            plain = base64.b64decode(part.body)
        except (binascii.Error, ValueError):
            return []
    elif encoding not in ("", "7bit", "8bit", "binary"):
        return []
    charset = part.parameters.get("charset", "")
    text = _as_markup(plain, charset) if len(plain) <= MAX_HTML else None
    if text is None:
        return []
    source = plain if steps is None else part.body
    quoted = steps is not None
    pieces: list[bytes | Link | Pixel] = []
    last = 0
    for start, stop, link in _places(text, plain, charset, keep, pixel):
        if steps is not None:
            start, stop = steps.before(start), steps.before(stop) if link is None else steps.after(stop)
        pieces.append(source[last:start])
        pieces.append(Pixel(quoted) if link is None else Link(link, source[start:stop], quoted))
        last = stop
    if not pieces:
        return []
    pieces.append(source[last:])
    if encoding == "base64":
        return [Packed(tuple(pieces), part.body[len(part.body.rstrip()) :])]
    return list(pieces)


def _places(
    text: str, plain: bytes, charset: str, keep: frozenset[str], pixel: bool
) -> Iterator[tuple[int, int, str | None]]:
    """Where links stand and where they lead, in order; None is the pixel's place: before the end of the body."""
    found: list[tuple[int, int, str | None]] = []
    end = len(text)
    for token in tokens(text, conditional=True):
        if not isinstance(token, Tag):
            continue
        if token.end:
            if token.name in ("body", "html") and (token.name == "body" or end == len(text)):
                end = token.at
        elif (token.name in _LINKS or token.name.startswith("v:")) and "href" in token.spans:
            start, stop = token.spans["href"]
            url = destination(attribute_value(decode_bytes(plain[start:stop], charset)))
            if url is not None and url not in keep and not _opted_out(token):
                found.append((start, stop, url))
    if pixel:
        found.append((end, end, None))
        found.sort(key=lambda place: place[0])
    return iter(found)


def _opted_out(tag: Tag) -> bool:
    for name, values in _OPT_OUT.items():
        value = tag.attributes.get(name)
        if value is not None and (values is None or value.strip().lower() in values):
            return True
    return False


def _as_markup(data: bytes, charset: str) -> str | None:
    """The octets one by one as characters, so that offsets stay; what is not ASCII is only ever passed over.

    None for charsets in which markup does not look like ASCII (UTF-16, UTF-7, HZ, EBCDIC).
    """
    try:
        name = codecs.lookup(charset or "utf-8").name
        if name in ("utf-7", "hz") or _MARKUP.decode(name, "replace") != _MARKUP.decode("ascii"):
            return None
        if name.startswith("iso2022"):
            data = _SHIFTED.sub(lambda found: b"\x7f" * len(found[0]), data)
    except (LookupError, ValueError):
        pass  # a charset that nobody knows: readers take it for one like ASCII
    return data.decode("latin-1")


@dataclass(frozen=True, slots=True)
class _Steps:
    """From offsets in decoded octets to those in the quoted-printable that they came from."""

    decoded: list[int]
    encoded: list[int]

    def before(self, offset: int) -> int:
        """In front of the soft breaks that may stand there."""
        step = bisect_left(self.decoded, offset)
        if step == len(self.decoded) or self.decoded[step] != offset:
            step -= 1
        return self.encoded[step] + offset - self.decoded[step]

    def after(self, offset: int) -> int:
        """Behind them."""
        step = bisect_right(self.decoded, offset) - 1
        return self.encoded[step] + offset - self.decoded[step]


def _unquoted(data: bytes) -> tuple[bytes, _Steps]:
    parts: list[bytes] = []
    decoded, encoded = [0], [0]
    size = last = 0
    for found in _QP.finditer(data):
        literal = data[last : found.start()]
        octet = bytes.fromhex(found[1].decode("ascii")) if found[1] else b""
        parts += (literal, octet)
        size += len(literal)
        decoded.append(size)
        encoded.append(found.start())
        size += len(octet)
        last = found.end()
        decoded.append(size)
        encoded.append(last)
    parts.append(data[last:])
    return b"".join(parts), _Steps(decoded, encoded)
