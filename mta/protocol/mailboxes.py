"""Address lists of header fields (RFC 5322 §3.4): From, To, Cc, Reply-To.

Who may send as whom hangs on what is read here, so the grammar is ours and strict: the parsers of the standard library
have read `alice@example.org]<bob@evil.example>` as Alice. Encoded words are opaque here; they never change an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from .address import Address, AddressError, parse_address

Mailbox: TypeAlias = tuple[str, Address]  # display name, address

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<quoted>"(?:[^"\\\r\n]|\\.|\r\n[ \t])*")
      | (?P<literal>\[[^\[\]\\\r\n]*\])
      | (?P<special>[<>,:;@])
      | (?P<atom>[^\x00-\x20()<>\[\]:;@\\,"\x7f]+)
    """,
    re.VERBOSE,
)
_COMMENT_PART = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)
_ROUTE = re.compile(r"@[^,:<>@]+(?:,@[^,:<>@]+)*:")  # obsolete source route inside the brackets, ignored


@dataclass(frozen=True, slots=True)
class AddressList:
    """`mailboxes` are the addresses that could be read; `problem` is a sentence about the first that could not."""

    mailboxes: tuple[Mailbox, ...]
    problem: str | None = None


def parse_mailboxes(text: str) -> AddressList:
    """An address list, groups flattened, comments dropped, display names unquoted but not decoded. Never raises."""
    mailboxes: list[Mailbox] = []
    problem: str | None = None
    for entry in _entries(text):
        try:
            if any(kind != "space" for kind, _ in entry):  # RFC 5322 §4.4 allows empty places between commas
                mailboxes.append(_mailbox(entry))
        except AddressError as error:
            problem = problem or str(error)
    return AddressList(tuple(mailboxes), problem)


def _entries(text: str) -> Iterator[list[tuple[str, str]]]:
    """The tokens of each mailbox: commas separate, `name:` opens a group, `;` closes it."""
    entry: list[tuple[str, str]] = []
    bracket = address = False
    for kind, token in _tokens(text):
        special = token if kind == "special" else ""
        bracket = special == "<" or (bracket and special != ">")
        if special in (",", ";") and not bracket:
            yield entry
            entry, address = [], False
        elif special == ":" and not (bracket or address):
            entry = []  # that was the name of a group
        else:
            entry.append((kind, token))
            address = address or special == "@"
    yield entry


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        if text[position] == "(":
            position = _after_comment(text, position)
            yield "space", " "
            continue
        found = _TOKEN.match(text, position)
        if not found:
            yield "bad", text[position:]  # a quote that never ends, a stray bracket: nothing after it can be trusted
            return
        position = found.end()
        kind = str(found.lastgroup)
        yield kind, " " if kind == "space" else found[0]


def _after_comment(text: str, start: int) -> int:
    depth = 0
    for part in _COMMENT_PART.finditer(text, start):
        depth += (part[0] == "(") - (part[0] == ")")
        if depth == 0:
            return part.end()
    return len(text)


def _mailbox(entry: list[tuple[str, str]]) -> Mailbox:
    specials = [token for kind, token in entry if kind == "special"]
    shown = "".join(token for _, token in entry).strip()[:100]
    if any(kind == "bad" for kind, _ in entry):
        raise AddressError(f"{shown!r} holds a character that an address list may not hold.")
    if "<" not in specials:
        return "", _address(entry, shown)
    opening = entry.index(("special", "<"))
    phrase, rest = entry[:opening], entry[opening + 1 :]
    while rest and rest[-1][0] == "space":
        rest = rest[:-1]
    if rest[-1:] != [("special", ">")]:
        raise AddressError(f"{shown!r} is not of the form: Name <local@domain>.")
    display, address = _display(phrase), _address(rest[:-1], shown)
    # Unquoted, `alice@a.example <bob@b.example>` is Alice to some; the same address twice is common and harmless.
    if any(kind in ("special", "literal") for kind, _ in phrase) and display.lower() != str(address).lower():
        raise AddressError(f"{shown!r} has a display name that needs quotation marks.")
    return display, address


def _display(phrase: list[tuple[str, str]]) -> str:
    words = (_unquote(token) if kind == "quoted" else token for kind, token in phrase)
    return "".join(words).strip()


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1].replace("\r\n", ""), flags=re.DOTALL)


def _address(tokens: list[tuple[str, str]], shown: str) -> Address:
    text = "".join(token for kind, token in tokens if kind != "space")
    route = _ROUTE.match(text)
    if route:
        text = text[route.end() :]
    spaced = _spaced_words(tokens)
    if spaced or text.count("<") or text.count(">"):
        raise AddressError(f"{shown!r} is not an address of the form local@domain.")
    return parse_address(text)


def _spaced_words(tokens: list[tuple[str, str]]) -> bool:
    """Two words with only white space between them: `alice bob@example.org` is nobody's address."""
    kinds = [kind for kind, _ in tokens]
    inner = range(1, len(kinds) - 1)
    return any(kinds[n] == "space" and kinds[n - 1] == "atom" and kinds[n + 1] == "atom" for n in inner)
