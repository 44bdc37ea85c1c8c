"""HTML as a flat run of tags and texts, read in linear time whatever the input; and the text that stands for it.

Used where mail is written (the text part of a template, `lint`, tracked links), never to decide what is safe to show. Hand-made because
the standard library's parser takes quadratic time on unfinished markup (60 KB of `<!--`: 1.5 s) and raises on some.
The states follow the tokenizer of the HTML standard (§13.2.5) as far as mail needs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from html.entities import html5
from typing import Final

VOID: Final = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905
_RAW: Final = frozenset("script style title textarea xmp iframe noembed noframes".split())  # no tags inside  # noqa: SIM905
_CLOSED_BY_NEXT: Final = frozenset(
    "p li dt dd td th tr thead tbody tfoot option".split()  # noqa: SIM905
)  # their end tags may be left out
# White space of markup is that of ASCII, whatever else a charset calls so.
_NAME = re.compile(r"[A-Za-z][^\s/>\0]*", re.ASCII)
_ATTRIBUTE_NAME = re.compile(r"[^\s/>=][^\s/>=]*", re.ASCII)
_SPACES = re.compile(r"[\s/]*", re.ASCII)
_UNQUOTED = re.compile(r"[^\s>]*", re.ASCII)
_CONDITION_END = re.compile(r"\]>|-->")
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|([A-Za-z][A-Za-z0-9]*)(;|=)?)")


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag, or with `end` an end tag. Names are lower case, values decoded; `at` is its offset.

    `spans` says where each attribute's value stands in the source, without its quotes.
    """

    name: str
    at: int
    end: bool = False
    attributes: dict[str, str] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """Characters between tags, decoded. `inside` names the raw element (style, script ...) that holds them."""

    text: str
    at: int
    inside: str = ""


Token = Tag | Text


def tokens(html: str, *, conditional: bool = False) -> Iterator[Token]:
    """Every tag and text, in order; comments, declarations and what is unfinished at the end are left out.

    With `conditional` what stands in `<!--[if mso]>` comments is read too: Outlook shows it.
    """
    at, size, lower = 0, len(html), html.lower()
    if len(lower) != size:  # a character whose lower case is longer: offsets would differ
        lower = html
    while at < size:
        start = html.find("<", at)
        if start < 0:
            start = size
        if start > at:
            yield Text(unescape(html[at:start]), at)
        if start == size:
            return
        if conditional and html.startswith("<!--[if", start):
            opened = _CONDITION_END.search(html, start)
            at = opened.end() if opened else size
            continue
        found, at = _markup(html, start)
        if found is None:
            continue
        yield found
        if isinstance(found, Tag) and found.name in _RAW and not found.end:
            close = lower.find(f"</{found.name}", at)
            close = size if close < 0 else close
            if close > at:
                raw = html[at:close]
                yield Text(unescape(raw) if found.name in ("title", "textarea") else raw, at, found.name)
            at = close


def _markup(html: str, at: int) -> tuple[Token | None, int]:
    """What begins with the `<` at `at`, and where it ends."""
    if html.startswith("<!--", at):
        return None, _after(html, "-->", at + 2)
    if html.startswith(("<!", "<?"), at):
        return None, _after(html, ">", at)
    end = html.startswith("</", at)
    name = _NAME.match(html, at + 1 + end)
    if name is None:
        if end:
            return None, _after(html, ">", at)  # §13.2.5.7: a bogus comment
        return Text("<", at), at + 1
    attributes: dict[str, str] = {}
    spans: dict[str, tuple[int, int]] = {}
    after = _attributes(html, name.end(), attributes, spans)
    if after is None:
        return None, len(html)
    return Tag(name[0].lower(), at, end, attributes, spans), after


def _after(html: str, mark: str, at: int) -> int:
    found = html.find(mark, at)
    return len(html) if found < 0 else found + len(mark)


def _attributes(html: str, at: int, found: dict[str, str], spans: dict[str, tuple[int, int]]) -> int | None:
    """Reads the attributes from `at` to the tag's `>`; the offset after it, None where the tag has no end."""
    while True:
        at = _SPACES.match(html, at).end()  # type: ignore[union-attr] # it matches the empty string
        if at >= len(html):
            return None
        if html[at] == ">":
            return at + 1
        name = _ATTRIBUTE_NAME.match(html, at)
        if name is None:  # a stray =
            at += 1
            continue
        start, stop, after = _value(html, name.end())
        if after is None:
            return None
        key = name[0].lower()
        if key not in found:  # of several, the first counts (§13.2.5.33)
            found[key] = attribute_value(html[start:stop])
            spans[key] = (start, stop)
        at = after


_EQUALS = re.compile(r"\s*=\s*", re.ASCII)


def _value(html: str, at: int) -> tuple[int, int, int | None]:
    """Start and end of an attribute's value, and the offset after it; the last None where its quote stays open."""
    equals = _EQUALS.match(html, at)
    if equals is None:
        return at, at, at
    at = equals.end()
    quote = html[at : at + 1]
    if quote in ('"', "'") and quote:
        close = html.find(quote, at + 1)
        return (at, at, None) if close < 0 else (at + 1, close, close + 1)
    bare = _UNQUOTED.match(html, at)
    assert bare is not None
    return at, bare.end(), bare.end()


def attribute_value(raw: str) -> str:
    """An attribute's value as it is meant: `?a=1&copy=2` holds no copyright sign there (§13.2.5.73)."""
    return _REFERENCE.sub(_reference, raw) if "&" in raw else raw


def _reference(found: re.Match[str]) -> str:
    name, after = found[1], found[2]
    if name is None:
        return unescape(found[0])
    if after == ";":
        return html5.get(f"{name};", found[0])
    return html5.get(name, found[0]) if after is None else found[0]


def depth(html: str) -> int:
    """How deep elements nest, roughly and never too low by more than half: what recursive parsers must be spared."""
    deepest = now = 0
    unclosed: dict[str, int] = {}
    for token in tokens(html):
        if not isinstance(token, Tag) or token.name in VOID or token.name in _CLOSED_BY_NEXT:
            continue
        if not token.end:
            unclosed[token.name] = unclosed.get(token.name, 0) + 1
            now += 1
            deepest = max(deepest, now)
        elif unclosed.get(token.name):
            unclosed[token.name] -= 1
            now -= 1
    return deepest


_HEAD: Final = frozenset("html head title base link meta style script".split())  # noqa: SIM905


def content_start(html: str) -> int:
    """The offset where what is shown begins: behind the body's tag, or where there is none before the first content."""
    for token in tokens(html):
        if isinstance(token, Tag):
            if token.name == "body" and not token.end:
                return _markup(html, token.at)[1]
            if token.name not in _HEAD:
                return token.at
        elif token.inside not in _HEAD and token.text.strip():
            return token.at
    return len(html)


_BLOCKS: Final = frozenset(
    "address article aside blockquote body center div dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr main nav ol "  # noqa: SIM905
    "p pre section table ul".split()
)
_LINES: Final = frozenset("br dd dt li tr caption".split())  # noqa: SIM905
_HIDDEN: Final = frozenset("script style title textarea iframe noembed noframes".split())  # noqa: SIM905
_BLANKS = re.compile(r"[^\S\xa0]+")
_MANY_LINES = re.compile(r"\n{3,}")


def to_text(html: str) -> str:
    """The plain text that stands for HTML: blocks as paragraphs, list items with dashes, links as `text (target)`."""
    return _Writer().write(html)


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.line_empty = True
        self.links: list[tuple[str, int]] = []

    def write(self, html: str) -> str:
        for token in tokens(html):
            if isinstance(token, Text):
                if token.inside not in _HIDDEN:
                    self._text(token.text)
            elif token.end:
                self._end(token.name)
            else:
                self._start(token)
        lines = [line.strip(" ") for line in "".join(self.parts).replace("\xa0", " ").split("\n")]
        return _MANY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")

    def _text(self, text: str) -> None:
        text = _BLANKS.sub(" ", text)
        if self.line_empty:
            text = text.lstrip(" ")
        if text:
            self.parts.append(text)
            self.line_empty = text.endswith(" ") and self.line_empty

    def _break(self, lines: str) -> None:
        self.parts.append(lines)
        self.line_empty = True

    def _start(self, tag: Tag) -> None:
        if tag.name in _BLOCKS:
            self._break("\n\n")
        elif tag.name in _LINES:
            self._break("\n")
        elif tag.name in ("td", "th") and not self.line_empty:
            self.parts.append(" ")
        if tag.name == "li":
            self._text("- ")
            self.line_empty = True
        elif tag.name == "img":
            self._text(tag.attributes.get("alt", ""))
        elif tag.name == "a":
            self.links.append((tag.attributes.get("href", "").strip(), len(self.parts)))

    def _end(self, name: str) -> None:
        if name in _BLOCKS:
            self._break("\n\n")
        elif name == "a" and self.links:
            target, start = self.links.pop()
            shown = "".join(self.parts[start:]).strip()
            if target and not target.startswith("#") and shown not in (target, target.removeprefix("mailto:")):
                self._text(f" ({target})" if shown else target)
