"""The header block of a message, as bytes: what an app wrote stays exactly as it was, what we add is safe.

Every message passes here on its way in (which From? how many hops?) and on its way out (our own fields, the signature).
Rules for mail that an app submits are in hygiene.py; address lists are read in mailboxes.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.header import Header, decode_header

from .address import Address
from .mailboxes import Mailbox, parse_mailboxes

MAX_HEAD = 100 * 1024  # octets of a header block
MAX_LINE = 998  # octets without CRLF, RFC 5322 §2.1.1
FOLD_AT = 78  # octets without CRLF, the same section
MAX_NAME = 76  # octets of a field name that we write: name and colon stay under FOLD_AT

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\r\n\0]*\r\n(?:[ \t][^\r\n\0]*\r\n)*)")
_NAME = re.compile(r"[!-9;-~]+")
_WORDS = re.compile(rb"[ \t]*[^ \t]+")
# Whatever some parser somewhere takes for the end of a line, and what UTF-8 cannot carry. A tab is allowed.
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENCODED_WORD = r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?="  # RFC 2047 §2, and the spaces inside that some senders leave
_ENCODED_RUN = re.compile(rf"{_ENCODED_WORD}(?:\s+{_ENCODED_WORD})*")
_UNREADABLE = frozenset({"punycode", "idna"})  # no charsets of text, and slow enough to be an attack
_HARD_SPACE = b"\0"  # stands for a space where no line may be broken; no value holds it
_MAX_QUOTED = 64  # octets of a quoted display name, so that lines can stay short
_PLAIN_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*")  # RFC 5322 §3.2.3 atoms between single spaces


class HeaderError(ValueError):
    """The header block breaks a rule; the text says which one, in a sentence."""


@dataclass(frozen=True, slots=True)
class Field:
    """`name` as it was written; `raw` is the whole field with its folding and the CRLF at its end."""

    name: str
    raw: bytes

    @property
    def value(self) -> bytes:
        """Unfolded (RFC 5322 §2.2.3), without the white space around it."""
        return self.raw.partition(b":")[2].replace(b"\r\n", b"").strip(b" \t")

    @property
    def text(self) -> str:
        """The value as a person reads it."""
        return decode(self.value)


@dataclass(frozen=True, slots=True)
class Headers:
    """Fields in their order. Names compare without case; every change returns a new value."""

    fields: tuple[Field, ...] = ()

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __bytes__(self) -> bytes:
        """The header block, ready for the blank line and the body."""
        return b"".join(field.raw for field in self.fields)

    def all(self, name: str) -> tuple[Field, ...]:
        wanted = name.lower()
        return tuple(field for field in self.fields if field.name.lower() == wanted)

    def get(self, name: str) -> Field | None:
        """The first field of that name."""
        wanted = name.lower()
        return next((field for field in self.fields if field.name.lower() == wanted), None)

    def remove(self, *names: str) -> Headers:
        """Without any field of these names."""
        unwanted = {name.lower() for name in names}
        return Headers(tuple(field for field in self.fields if field.name.lower() not in unwanted))

    def prepend(self, *raw: bytes) -> Headers:
        """With these fields on top, in the order given; raises HeaderError."""
        return Headers(parse(b"".join(raw)).fields + self.fields)


def split_head(data: bytes) -> tuple[bytes, int]:
    """The header block of a message and the offset of its body.

    `data` is the message or at least its first MAX_HEAD + 4 octets. The blank line belongs to neither; a message
    without one is all header (RFC 5322 §3.5 makes the body optional). Raises HeaderError where the block is too large.
    """
    if data.startswith(b"\r\n"):
        return b"", 2
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
    if end >= 0 and end + 2 <= MAX_HEAD:
        return data[: end + 2], end + 4
    if len(data) > MAX_HEAD:
        raise HeaderError(f"The header has more than {MAX_HEAD // 1024} KiB; shorten it or move content to the body.")
    return data, len(data)


def parse(head: bytes) -> Headers:
    """The fields of a header block that ends with CRLF, without its blank line.

    White space before a colon (RFC 5322 §4.5.8) is read, so that no `From :` hides from our rules. Raises HeaderError
    for a line that is neither a field nor a continuation, for a bare CR or LF and for a NUL.
    """
    if len(head) > MAX_HEAD:
        raise HeaderError(f"The header has more than {MAX_HEAD // 1024} KiB; shorten it or move content to the body.")
    fields = []
    position = 0
    while position < len(head):
        found = _FIELD.match(head, position)
        if not found:
            raise HeaderError(_complaint(head, position))
        fields.append(Field(found[1].decode("ascii"), found[0]))
        position = found.end()
    return Headers(tuple(fields))


def _complaint(head: bytes, position: int) -> str:
    number = head.count(b"\r\n", 0, position) + 1
    line = head[position:].split(b"\r\n", 1)[0]
    shown = line[:60].decode("utf-8", "replace")
    if line.startswith((b" ", b"\t")):
        return f"Header line {number} continues a field, but none stands before it: {shown!r}."
    if position + len(line) == len(head):
        return f"The last header line does not end with CRLF: {shown!r}."
    return f"Header line {number} is neither a field nor its continuation: {shown!r}; a blank line ends the header."


def decode(value: bytes | str) -> str:
    """A field's value as a person reads it (RFC 2047, raw UTF-8), at best effort: never raises, no controls in it."""
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    return _CONTROL.sub(" ", _ENCODED_RUN.sub(lambda run: _decode_run(run[0]), text))


def _decode_run(run: str) -> str:
    # Adjacent words of one charset are joined before decoding: some senders cut a character in two.
    try:
        joined: list[tuple[bytes, str]] = []
        for data, charset in decode_header(run):
            if charset is None or charset.lower() in _UNREADABLE:
                return run
            if joined and joined[-1][1] == charset:
                joined[-1] = (joined[-1][0] + data, charset)
            else:
                joined.append((data, charset))
        return "".join(data.decode(charset.partition("*")[0], "replace") for data, charset in joined)
    except (MessageError, LookupError, ValueError):
        return run


def address_list(value: bytes | str) -> list[Mailbox]:
    """The mailboxes that a To, Cc or From value names, display names decoded; what is no address is left out."""
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    return [(decode(display), address) for display, address in parse_mailboxes(text).mailboxes]


def field(name: str, value: str, *, smtputf8: bool = False) -> bytes:
    """A new field: folded at 78 octets where white space allows it, never over 998, non-ASCII as RFC 2047 words.

    With `smtputf8` UTF-8 stays raw (RFC 6532). A value that looks like an encoded word is encoded again: it is read as
    it was given. Only for unstructured fields or ASCII values. Raises ValueError for a bad name or a control character.
    """
    check_name(name)
    check_value(name, value)
    value = value.strip(" \t")
    if _looks_encoded(value) or not (smtputf8 or value.isascii()):
        return _verified(name, fold(name, _encoded_words(name, value)))
    raw = fold(name, value.encode())
    if longest_line(raw) > MAX_LINE:
        raw = fold(name, _encoded_words(name, value))
    return _verified(name, raw)


def address_field(name: str, mailboxes: Iterable[Mailbox], *, smtputf8: bool = False) -> bytes:
    """A new field with an address list (RFC 5322 §3.4), folded. Raises ValueError for unsafe names or addresses.

    A local part beyond ASCII needs `smtputf8`: it has no other form.
    """
    check_name(name)
    rendered = [_mailbox(name, display, address, smtputf8) for display, address in mailboxes]
    if not rendered:
        raise ValueError(f"{name} needs at least one address.")
    return _verified(name, fold(name, b", ".join(rendered)).replace(_HARD_SPACE, b" "))


def check_name(name: str) -> None:
    """Raises ValueError where a field may not be called so (RFC 5322 §3.6.8)."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise ValueError(
            f"{name[:80]!r} is no header name: use 1 to {MAX_NAME} printable ASCII characters without space and colon."
        )


def check_value(name: str, value: str) -> None:
    """Raises ValueError for line ends of any kind and other control characters; a tab is allowed."""
    found = _UNSAFE.search(value)
    if found:
        raise ValueError(f"The value of {name} holds the control character U+{ord(found[0]):04X}; remove it.")


def _mailbox(name: str, display: str, address: Address, smtputf8: bool) -> bytes:
    check_value(name, display)
    check_value(name, str(address))
    if not (smtputf8 or address.is_ascii):
        raise ValueError(f"The address {address} needs SMTPUTF8; use one with an ASCII local part.")
    display = display.strip(" \t")
    if not display:
        return str(address).encode()
    if _looks_encoded(display) or not (smtputf8 or display.isascii()) or len(display.encode()) > _MAX_QUOTED:
        phrase = _encoded_words(name, display)
    elif _PLAIN_PHRASE.fullmatch(display) and "  " not in display:
        phrase = display.encode()
    else:
        escaped = display.replace("\\", "\\\\").replace('"', '\\"')
        # Not folded inside the quotes: Python's own reader takes the line end for the end of the name.
        phrase = f'"{escaped}"'.encode().replace(b" ", _HARD_SPACE).replace(b"\t", _HARD_SPACE)
    return phrase + b" <" + str(address).encode() + b">"


def _encoded_words(name: str, value: str) -> bytes:
    # Words of at most 75 characters (RFC 2047 §2), short enough to stand beside the field's name.
    length = max(30, min(75, 76 - len(name) - 2))
    return Header(value, "utf-8", maxlinelen=length).encode(linesep="").encode("ascii")


def fold(name: str, value: bytes) -> bytes:
    """The field with lines broken before white space, so that unfolding gives the same value; a long word stays whole."""
    start = name.encode("ascii") + b":"
    lines: list[bytes] = []
    line = start
    for word in _WORDS.findall(b" " + value):
        if len(line) + len(word) > FOLD_AT and line != start:
            lines.append(line)
            line = word
        else:
            line += word
    return b"\r\n".join([*lines, line]) + b"\r\n"


def longest_line(raw: bytes) -> int:
    """Octets of the longest line, without its CRLF."""
    return max(map(len, raw.split(b"\r\n")))


def _looks_encoded(text: str) -> bool:
    """Some reader might take it for an encoded word; generous, since readers differ."""
    start = text.find("=?")
    return start >= 0 and text.find("?=", start + 2) >= 0


def _verified(name: str, raw: bytes) -> bytes:
    # The encoder is not ours and has been made to emit line breaks before: what goes out is looked at once more.
    found = _FIELD.fullmatch(raw)
    if not found or found[1].decode("ascii") != name or longest_line(raw) > MAX_LINE:
        raise ValueError(f"The value of {name} cannot be written as one header field; shorten or simplify it.")
    return raw
