"""What is wrong with a message before it is sent: findings, each with what to do. Reads, never changes.

One check a function, in the list at the end; templates' diagnostics and the lint of any message use the same.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from .html import Tag, Text, Token, tokens

Severity = Literal["error", "warning", "info"]
GMAIL_CLIP: Final = 102 * 1024  # bytes of HTML that Gmail shows before "Message clipped"
LONG_SUBJECT: Final = 78  # characters; phones show about half of them
MAX_FINDINGS: Final = 100
MAX_SHOWN: Final = 300  # characters of a link's text that are looked at

_DROPPED: Final = {
    "position": "Most clients drop it; lay out with tables.",
    "float": "Outlook drops it; use table cells or the align attribute.",
    "flex": "Gmail and Outlook do not lay out with it; use tables.",
    "grid": "Gmail and Outlook do not lay out with it; use tables.",
    "@import": "Clients load no stylesheets; put the rules into a style element.",
}
_CSS: Final = {
    "position": re.compile(r"(?<![\w-])position\s*:\s*(?:absolute|fixed|sticky|relative)", re.IGNORECASE),
    "float": re.compile(r"(?<![\w-])float\s*:\s*(?:left|right)", re.IGNORECASE),
    "flex": re.compile(r"(?<![\w-])display\s*:\s*(?:inline-)?flex", re.IGNORECASE),
    "grid": re.compile(r"(?<![\w-])display\s*:\s*(?:inline-)?grid", re.IGNORECASE),
    "@import": re.compile(r"@import\b", re.IGNORECASE),
}
_ACTIVE: Final = {
    "script": "No client runs scripts, and filters count them against you; remove it.",
    "form": "Many clients block forms; link to a page that has it.",
    "iframe": "No client shows frames; link to the page.",
    "object": "No client shows embedded objects; use an image and a link.",
    "embed": "No client shows embedded objects; use an image and a link.",
}
_LOOKS_LIKE_LINK = re.compile(r"(?:https?://|www\.)\S+|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?:/\S*)?", re.IGNORECASE)
_URL_IN_TEXT = re.compile(r"https?://[^\s<>\"')]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Finding:
    """`part` is subject, html or text; `line` counts from 1 in it, None where it is about the whole."""

    code: str
    severity: Severity
    part: str
    message: str
    advice: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """What is judged; `stream` is transactional or broadcast."""

    subject: str
    html: str | None
    text: str | None
    stream: str = "transactional"


class _Html:
    """The HTML, read once for all checks."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.tokens: list[Token] = list(tokens(html))
        self.tags = [token for token in self.tokens if isinstance(token, Tag) and not token.end]
        self._lines = [0]
        for found in re.finditer("\n", html):
            self._lines.append(found.end())

    def line(self, at: int) -> int:
        return bisect_right(self._lines, at)


def lint(mail: Mail) -> tuple[Finding, ...]:
    """All findings, the worst first, then in the order of the mail; at most MAX_FINDINGS."""
    html = None if mail.html is None else _Html(mail.html)
    found = [finding for check in _CHECKS for finding in check(mail)]
    if html is not None:
        found += [finding for look in _HTML_CHECKS for finding in look(html)]
    order = ("error", "warning", "info")
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity))[:MAX_FINDINGS])


def _subject(mail: Mail) -> Iterator[Finding]:
    subject = mail.subject.strip()
    if not subject:
        yield Finding(
            "subject_empty",
            "error",
            "subject",
            "The subject is empty.",
            "Say in a few words what the message is about.",
        )
    elif len(subject) > LONG_SUBJECT:
        yield Finding(
            "subject_too_long",
            "warning",
            "subject",
            f"The subject has {len(subject)} characters; clients cut it.",
            f"Keep it below {LONG_SUBJECT}, the first 40 matter most.",
        )


def _text_part(mail: Mail) -> Iterator[Finding]:
    if not (mail.text or "").strip():
        yield Finding(
            "text_missing",
            "warning",
            "text",
            "There is no text part.",
            "Add one: filters mistrust mail that is HTML only, and some people read text.",
        )


def _size(mail: Mail) -> Iterator[Finding]:
    size = len((mail.html or "").encode("utf-8", "replace"))
    if size > GMAIL_CLIP:
        yield Finding(
            "html_clipped",
            "warning",
            "html",
            f"The HTML has {size} bytes; Gmail cuts it after {GMAIL_CLIP}.",
            "Make it smaller: fewer inline styles, shorter links, no comments; the unsubscribe link is cut off too.",
        )


def _unsubscribe(mail: Mail) -> Iterator[Finding]:
    if mail.stream == "broadcast" and "unsubscribe" not in f"{mail.html or ''}{mail.text or ''}".casefold():
        yield Finding(
            "unsubscribe_missing",
            "error",
            "html" if mail.html is not None else "text",
            "A broadcast has to say how to unsubscribe, and this one does not.",
            "Put a visible unsubscribe link into it; the law of most countries and all large providers want one.",
        )


def _text_links(mail: Mail) -> Iterator[Finding]:
    for number, line in enumerate((mail.text or "").split("\n"), 1):
        for url in _URL_IN_TEXT.findall(line):
            if _is_ip(_host(url)):
                yield _bare_ip("text", url, number)


def _images(html: _Html) -> Iterator[Finding]:
    for tag in html.tags:
        if tag.name != "img":
            continue
        line = html.line(tag.at)
        if "alt" not in tag.attributes:
            yield Finding(
                "image_without_alt",
                "warning",
                "html",
                "An image has no alt text.",
                'Describe it in alt; a decoration gets alt="". Many clients show no images until they are asked.',
                line,
            )
        if tag.attributes.get("src", "").strip().lower().startswith("http:"):
            yield Finding(
                "image_not_https",
                "warning",
                "html",
                f"The image {_short(tag.attributes['src'])} is not loaded over https.",
                "Use an https address: clients that fetch images through a proxy drop others.",
                line,
            )


def _links(html: _Html) -> Iterator[Finding]:
    for position, token in enumerate(html.tokens):
        if not isinstance(token, Tag) or token.end or token.name != "a":
            continue
        target = token.attributes.get("href", "").strip()
        host, line = _host(target), html.line(token.at)
        if _is_ip(host):
            yield _bare_ip("html", target, line)
        shown = _words_of(html.tokens, position)
        named = _host(shown if "//" in shown else f"//{shown}") if _LOOKS_LIKE_LINK.fullmatch(shown) else ""
        if host and named and _bare(named) != _bare(host):
            yield Finding(
                "link_text_mismatch",
                "warning",
                "html",
                f"A link reads {_short(shown)} and leads to {_short(target)}.",
                "Let the text name where the link leads, or no address at all: this is how phishing looks.",
                line,
            )


def _css(html: _Html) -> Iterator[Finding]:
    for token in html.tokens:
        css = ""
        if isinstance(token, Text):
            css = token.text if token.inside == "style" else ""
        elif not token.end:
            css = token.attributes.get("style", "")
        for name, pattern in _CSS.items() if css else ():
            if found := pattern.search(css):
                at = token.at + (found.start() if isinstance(token, Text) else 0)
                yield Finding(
                    "css_dropped",
                    "warning",
                    "html",
                    f"The CSS {_short(found[0])} does not work everywhere.",
                    _DROPPED[name],
                    html.line(at),
                )


def _elements(html: _Html) -> Iterator[Finding]:
    for tag in html.tags:
        if tag.name in _ACTIVE:
            code = f"{tag.name}_element"
            yield Finding(
                code, "error", "html", f"There is a {tag.name} element.", _ACTIVE[tag.name], html.line(tag.at)
            )
        elif tag.name == "link" and "stylesheet" in tag.attributes.get("rel", "").lower():
            yield Finding(
                "stylesheet_external",
                "warning",
                "html",
                f"The stylesheet {_short(tag.attributes.get('href', ''))} is not loaded by clients.",
                "Put its rules into a style element; they are inlined when the mail is made.",
                html.line(tag.at),
            )


def _bare_ip(part: str, url: str, line: int) -> Finding:
    return Finding(
        "link_to_ip",
        "error",
        part,
        f"The link {_short(url)} names an IP address.",
        "Link to a host name: filters take bare addresses for malware.",
        line,
    )


def _words_of(found: list[Token], start: int) -> str:
    """The text of the link that begins at `start`, as far as it is short."""
    words = ""
    for token in found[start + 1 : start + 50]:
        if isinstance(token, Tag):
            if token.name == "a":
                break
        elif not token.inside:
            words += token.text
    return words.strip()[:MAX_SHOWN]


def _host(url: str) -> str:
    if not url.lower().startswith(("http://", "https://", "//")):
        return ""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _bare(host: str) -> str:
    return host.lower().removeprefix("www.")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return f'"{text[:80]}"'


_CHECKS: Final[tuple[Callable[[Mail], Iterator[Finding]], ...]] = (
    _subject,
    _text_part,
    _size,
    _unsubscribe,
    _text_links,
)
_HTML_CHECKS: Final[tuple[Callable[[_Html], Iterator[Finding]], ...]] = (_images, _links, _css, _elements)
