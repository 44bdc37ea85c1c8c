"""Bounces that only people were meant to read: addresses and reasons out of plain text.

Every mailer words these differently, so nothing here knows a vendor: patterns that any mailer may use are tried in
order, from what leaves no doubt to what is better than nothing. The words of the reasons are data (bounce_rules.toml).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mta.protocol.mime_parts import Part

MAX_REPORT = 64 * 1024  # characters: the report itself is short, what follows is the returned message
MAX_RECIPIENTS = 200
MAX_REASON = 2000

_LOCAL = r"[^\s<>()\[\]\"',:;@|\\：；，、。（）「」【】《》]{1,64}"
_ALPHANUMERIC = r"[^\x00-/:-@\[-`{-\x7f]"  # letters of any script: said by what it excludes, which compiles faster
_DOMAIN = rf"{_ALPHANUMERIC}(?:[^\x00-,/:-@\[-^`{{-\x7f]{{0,253}}{_ALPHANUMERIC})?"
_ADDRESS = rf"{_LOCAL}@{_DOMAIN}"
_QUOTED = rf"[\"'<(\[]{{0,2}}(?P<address>{_ADDRESS})[\"'>)\]]{{0,2}}"

# Where a recipient is named, in one line; the surest first, and only the first kind that finds any is used.
_NAMED: tuple[tuple[re.Pattern[str], ...], ...] = (
    (
        re.compile(rf"^\s*(?:[*>-]+\s+)?{_QUOTED}\s*[:;,]?(?:\s+{_QUOTED.replace('address', 'again')})?\s*$"),
        re.compile(rf"^\s*(?:[*>-]+\s+)?{_QUOTED}\s*(?:[:;,]\s*\S|\s+[^\s@])"),
        re.compile(rf"^\s*(?:recipient(?: address)?|address|to address)\s*:\s*{_QUOTED}\s*$", re.IGNORECASE),
        re.compile(rf"\bAddress: {_QUOTED},", re.IGNORECASE),
        re.compile(rf"\brcpt to:\s*{_QUOTED}", re.IGNORECASE),
    ),
    (
        re.compile(
            rf"\b(?:deliver\w*|undeliver\w*|reach\w*|failed|recipient\w*|addressed|unknown|userid|mailbox|account)\b"
            rf"[^@<>\n]{{0,80}}[\s:<\"'(]{_QUOTED}",
            re.IGNORECASE,
        ),
    ),
    (re.compile(rf"(?:^|[\s<(\"':：]){_QUOTED}"),),
)
_LISTED = (
    _NAMED[0][0],
    re.compile(rf"^\s*(?:[*>-]+\s+)?{_QUOTED}\s*[:：]"),
)
_NOT_RECIPIENTS = re.compile(r"(?:mailer-?daemon|post-?master|abuse|no-?reply|support|help(?:desk)?)@", re.IGNORECASE)

# Lines after which the returned message stands.
_RETURNED = re.compile(
    r"(?:^[\s>]*(?:received|return-path|dkim-signature|x-received|arc-seal|domainkey-signature)\s?:)"
    r"|(?:^[\s>*=_-]*(?:[\w ,]{0,40}\b)?(?:cop(?:y|ies)|headers?) of (?:the|your|this)"
    r" (?:original )?(?:message|mail|e-?mail)\b.{0,60}$)"
    r"|(?:^[\s>*=_-]*(?:the )?(?:original|returned|unsent|undelivered|bounced) (?:message|mail|e-?mail)"
    r"(?: (?:follows?|headers?|info\w*|text|begins?|attached|below|is attached))*[\s.:*=_-]*$)"
    r"|(?:^[\s>*=_-]*(?:the )?(?:original )?(?:message|mail) (?:headers?|text|body)? ?follows?[\s.:*=_-]*$)"
    r"|(?:^[\s>*=_-]*the header of the original message\b)",
    re.IGNORECASE,
)
# What a report quotes of the returned message: its subject, which may speak of full mailboxes and viruses.
_SUBJECT_LINE = re.compile(
    r"^[\s>*]*(?:(?:the )?subject(?: of the message is)?|message subject|betreff|objet|asunto|assunto|oggetto|onderwerp|temat"
    r"|[äa]mne|emne|тема|件名|主题|主題|제목)\s?[:：]",
    re.IGNORECASE,
)
_COMMANDS = (
    ("DATA", r"end of data|final data|after i sent the message|reply to (?:end of )?data|\bdata command|\[data\]"
             r"|smtp command\s+data\b|message generated response|(?:after|sending|of) (?:the )?message (?:body|text)"
             r"|smtp transmission failure|after data\b"),
    ("MAIL", r"(?:after|to|our|pipelined) mail[ _]from|sender was rejected|\[mail_from\]|rejected mail from"),
    ("RCPT", r"rcpt[ _]to|rcpt command|reply to rcpt|smtp:rcpt|(?:not like|rejected|refused) (?:the )?recipient"
             r"|recipient address rejected"
             r"|[45]\d\d[ :-]{1,2}(?:[45]\.\d\.\d{1,3} )?<[^<>\s]{3,320}>(?::|\.\.\.)"),
    ("EHLO", r"(?:after|to|the|sending) [eh][he]lo\b|initial connection|my name was rejected"
             r"|(?:smtp|connection) greeting"),
)  # fmt: skip
_COMMAND_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _COMMANDS)
_SENT = re.compile(r"^[ \t]*(?:>>>|sent <<<)[ \t]*(mail|rcpt|data|ehlo|helo|\.)", re.IGNORECASE | re.MULTILINE)
_REFUSED = re.compile(r"^[ \t]*(?:<<<|received >>>)[ \t]*[45]\d\d", re.IGNORECASE | re.MULTILINE)
_NO_RECIPIENTS = re.compile(
    r"<<<[ \t]*5\d\d[^\n]{0,60}(?:valid recipients?|need rcpt)", re.IGNORECASE
)  # pipelined RCPT
_REPLY = re.compile(r"(?<![\d.#=\[:/])(?<!id )[45]\d\d(?=[ -][^\s.]|: |:? ?#?[45]\.\d)")


@dataclass(frozen=True, slots=True)
class Mention:
    """A recipient that a text names, and the lines about it."""

    address: str
    text: str


def report_text(root: Part) -> tuple[str, str]:
    """What the mailer itself wrote, and what follows of the message that it returns ("" if that is its own part)."""
    parts = [part for part in root.walk() if part.content_type.startswith("text/") and not part.parts]
    plain = [p for p in parts if p.content_type not in ("text/html", "text/rfc822-headers", "text/rfc822-header")]
    chosen = [p for p in plain if p.body.strip()] or [p for p in parts if p.content_type == "text/html"]
    if not chosen and not root.parts:
        chosen = [Part(root.headers, "text/plain", root.parameters, root.body)]
    pieces: list[str] = []
    returned = ""
    for part in chosen[:5]:
        text, returned = split_returned(part.text()[:MAX_REPORT])
        pieces.append("\n".join(line for line in text.split("\n") if not _SUBJECT_LINE.match(line[:200])))
        if returned:
            break
    return "\n\n".join(pieces)[:MAX_REPORT], returned


def split_returned(text: str) -> tuple[str, str]:
    """The text before the returned message, and that message as far as it is there."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if (
            len(line) < 2000
            and _RETURNED.match(line)
            and any(kept.strip() for kept in lines[max(0, number - 3) : number])
        ):
            return "\n".join(lines[:number]), "\n".join(lines[number:])
    return text, ""


def find_recipients(text: str, failed_header: str, strangers: frozenset[str]) -> list[Mention]:
    """The recipients that `text` reports on, each with its lines.

    `failed_header` is an X-Failed-Recipients field; `strangers` are lower-case addresses that are no recipients
    (the bounce's own sender and receiver), used only where nothing else is left.
    """
    lines = text.split("\n")
    found: dict[str, int] = {}
    fallback: dict[str, int] = {}
    for patterns in _NAMED:
        for number, line in enumerate(lines):
            address = _named_in(line, patterns)
            if address is None:
                continue
            known = fallback if address.lower() in strangers or _NOT_RECIPIENTS.match(address) else found
            if len(known) < MAX_RECIPIENTS:
                known.setdefault(address, number)
        if found:
            break
    declared = [a.strip(" <>") for a in failed_header.split(",")[:MAX_RECIPIENTS] if "@" in a]
    if declared:
        by_key = {address.lower(): number for address, number in found.items()}
        found = {a: by_key.get(a.lower(), -1) for a in declared}
    found = found or dict(list(fallback.items())[:1])
    if len(found) == 1:
        return [Mention(next(iter(found)), text)]
    starts = sorted(number for number in found.values() if number >= 0)
    return [Mention(address, _block(lines, start, starts)) for address, start in found.items()]


def lists_recipients(text: str) -> bool:
    """Whether an address has a line of its own, or begins one and a colon follows, as mailers write it."""
    return any(_named_in(line, _LISTED) for line in text.split("\n"))


def _named_in(line: str, patterns: tuple[re.Pattern[str], ...]) -> str | None:
    if "@" not in line:
        return None
    return next((m["address"].rstrip(".") for m in (p.search(line[:1000]) for p in patterns) if m), None)


def _block(lines: list[str], start: int, starts: list[int]) -> str:
    """From the line that names a recipient to the next such line; nothing where the recipient is not in the text."""
    if start < 0:
        return ""
    end = next((other for other in starts if other > start), len(lines))
    return "\n".join(lines[start:end])


def find_command(text: str) -> str:
    """The SMTP command that was refused, as far as the text tells: EHLO, MAIL, RCPT, DATA or ""."""
    refused = _REFUSED.search(text)
    if refused and not _NO_RECIPIENTS.search(text):
        sent = [found[1].upper() for found in _SENT.finditer(text, 0, refused.start())]
        if sent:
            return "DATA" if sent[-1] == "." else sent[-1].replace("HELO", "EHLO")
    return next((name for name, pattern in _COMMAND_PATTERNS if pattern.search(text)), "")


def find_reply(text: str) -> str:
    """The first refusal by an SMTP server in free text, to the end of its paragraph; "" where there is none."""
    found = _REPLY.search(text)
    if found is None:
        return ""
    reply = text[found.start() : found.start() + MAX_REASON]
    return " ".join(re.split(r"\n[ \t]*\n|\n[ \t]*(?:>>>|---)", reply, maxsplit=1)[0].split())
