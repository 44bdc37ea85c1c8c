"""`posthouse-sendmail` and `posthouse-mailq`: what cron, PHP and shell scripts call, under the names they know.

A message goes to the daemon through the operator's socket, so the caller has to be root or the daemon's user; the
organization is POSTHOUSE_ORG's. Exit statuses are those of sysexits.h, which callers act on.
"""

from __future__ import annotations

import base64
import getpass
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from config.settings import Settings
from mta.cli.client import Client
from mta.cli.options import settings_for
from mta.cli.output import printable
from mta.errors import ConfigError, PosthouseError
from mta.protocol.address import Address, AddressError, parse_address
from mta.protocol.headers import HeaderError, Headers, address_field, address_list, decode, parse, split_head
from mta.protocol.mailboxes import parse_mailboxes

STATUS: Final = {
    "usage": os.EX_USAGE,
    "recipient_suppressed": os.EX_NOUSER,
    "invalid_recipient": os.EX_NOUSER,
    "invalid_message": os.EX_DATAERR,
    "validation_error": os.EX_DATAERR,
    "unprocessable": os.EX_DATAERR,
    "mail_loop": os.EX_DATAERR,
    "message_too_large": os.EX_DATAERR,
    "too_large": os.EX_DATAERR,
    "too_many_recipients": os.EX_DATAERR,
    "config_error": os.EX_CONFIG,
    "not_found": os.EX_CONFIG,  # POSTHOUSE_ORG names no organization
    "domain_not_verified": os.EX_NOPERM,
    "domain_disabled": os.EX_NOPERM,
    "reverse_path_not_allowed": os.EX_NOPERM,
    "forbidden": os.EX_NOPERM,
    "socket_refused": os.EX_NOPERM,
    "daemon_not_running": os.EX_TEMPFAIL,
    "insufficient_storage": os.EX_TEMPFAIL,
    "unavailable": os.EX_TEMPFAIL,
    "rate_limited": os.EX_TEMPFAIL,
    "payment_required": os.EX_TEMPFAIL,
    "internal_error": os.EX_TEMPFAIL,
}
WITH_VALUE = "BCFfhLNOopRrVX"  # options that take one, in the same word or the next
ATTACHED = "Aabdeq"  # options whose value is in the same word or missing
NOTIFY = ("SUCCESS", "FAILURE", "DELAY")
_FROM_LINE = b"From "  # of an mbox file; some programs leave it


class Refused(PosthouseError):
    """Not to be sent like this; `code` is a key of STATUS."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the arguments ask for."""

    mode: str = "m"
    recipients: tuple[str, ...] = ()
    from_headers: bool = False
    dots: bool = False  # a line with a dot alone is text, not the end
    sender: str | None = None
    full_name: str = ""
    notify: tuple[str, ...] = ()
    ret: str | None = None
    envid: str | None = None


def main() -> None:
    """The entry point of both names; `newaliases` does nothing, for there are no aliases."""
    name = Path(sys.argv[0]).name
    if name.endswith("newaliases"):
        sys.exit(os.EX_OK)
    sys.exit(run(["-bp"] if name.endswith("mailq") else sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Does it and returns the exit status; what went wrong is told on standard error."""
    try:
        wishes = read_arguments(arguments)
        if wishes.mode == "i":
            return os.EX_OK
        settings = settings_for(None)
        if wishes.mode == "p":
            print_queue(Client(settings.socket_path))
        else:
            raw = message_text(sys.stdin.buffer.readlines(), wishes.dots)
            Client(settings.socket_path).post("/operator/submit", submission(raw, wishes, settings))
        return os.EX_OK
    except ConfigError as error:
        print(f"sendmail: {error.message}", file=sys.stderr)
        return os.EX_CONFIG
    except PosthouseError as error:
        print(f"sendmail: {error.message}", file=sys.stderr)
        return STATUS.get(error.code, os.EX_UNAVAILABLE)
    except OSError as error:
        print(f"sendmail: {error}", file=sys.stderr)
        return os.EX_IOERR


def read_arguments(arguments: Sequence[str]) -> Wishes:
    """Sendmail's options; those about how a daemon runs are read and left. Raises Refused."""
    words, wishes = list(arguments), Wishes()
    recipients: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            recipients += words
            break
        if not word.startswith("-") or word == "-":
            recipients.append(word)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            value = ""
            if letter in WITH_VALUE:
                if not letters and not words:
                    raise Refused(f"-{letter} needs a value.", code="usage")
                value, letters = letters or words.pop(0), ""
            elif letter in ATTACHED:
                value, letters = letters, ""
            wishes = _with(wishes, letter, value)
    if wishes.mode == "m" and not recipients and not wishes.from_headers:
        raise Refused("Name a recipient, or give -t to take them from the message's headers.", code="usage")
    return replace(wishes, recipients=tuple(recipients))


def _with(wishes: Wishes, letter: str, value: str) -> Wishes:
    if letter == "b":
        if value[:1] not in ("m", "p", "i"):
            raise Refused(f"-b{value} is not offered: SMTP is spoken on the submission port.", code="usage")
        return replace(wishes, mode=value[0])
    if letter == "t":
        return replace(wishes, from_headers=True)
    if letter == "i" or (letter == "o" and value == "i"):
        return replace(wishes, dots=True)
    if letter in "fr":
        return replace(wishes, sender=value)
    if letter == "F":
        return replace(wishes, full_name=value)
    if letter == "N":
        notify = tuple(part.strip().upper() for part in value.split(","))
        if notify != ("NEVER",) and not set(notify) <= set(NOTIFY):
            raise Refused(f'-N takes "never" or some of {", ".join(NOTIFY).lower()}, not "{value}".', code="usage")
        return replace(wishes, notify=notify)
    if letter == "R":
        if value.lower() not in ("full", "hdrs"):
            raise Refused(f'-R takes "full" or "hdrs", not "{value}".', code="usage")
        return replace(wishes, ret=value.upper())
    if letter == "V":
        return replace(wishes, envid=value)
    return wishes


def message_text(lines: Iterable[bytes], dots: bool) -> bytes:
    """The message with CRLF at its lines' ends; it ends at a line with a dot alone unless `dots`."""
    made: list[bytes] = []
    for line in lines:
        text = line.rstrip(b"\r\n").replace(b"\r", b"\r\n")
        if text == b"." and not dots:
            break
        if made or not text.startswith(_FROM_LINE):
            made.append(text + b"\r\n")
    if made and b":" not in made[0] and made[0] != b"\r\n":
        made.insert(0, b"\r\n")  # text without a header
    return b"".join(made)


def submission(raw: bytes, wishes: Wishes, settings: Settings) -> dict[str, Any]:
    """What the daemon is asked: the message with a From, its envelope. Raises Refused."""
    own = f"{getpass.getuser()}@{settings.hostname}"
    try:
        head, offset = split_head(raw)
        headers = parse(head)
        recipients = [*map(_recipient, wishes.recipients), *(_named(headers) if wishes.from_headers else ())]
        if not recipients:
            raise Refused("The headers name no recipient.", code="usage")
        headers = _with_author(headers, wishes, own)
        author = address_list(headers.all("From")[0].value)
    except (HeaderError, AddressError) as error:
        raise Refused(str(error), code="invalid_message") from error
    sender = str(author[0][1]) if wishes.sender is None and author else _whole(wishes.sender or "", settings.hostname)
    return {
        "org": os.environ.get("POSTHOUSE_ORG"),
        "message": base64.b64encode(bytes(headers) + b"\r\n" + raw[offset:]).decode("ascii"),
        "sender": sender,
        "recipients": list(dict.fromkeys(map(str, recipients))),
        "notify": list(wishes.notify),
        "ret": wishes.ret,
        "envid": wishes.envid,
    }


def _recipient(text: str) -> Address:
    found = parse_mailboxes(text)
    if "@" not in text:
        raise Refused(f'"{text}" has no domain, and there are no local mailboxes here.', code="invalid_recipient")
    if found.problem or len(found.mailboxes) != 1:
        raise Refused(found.problem or f'"{text}" is not one address.', code="invalid_recipient")
    return found.mailboxes[0][1]


def _named(headers: Headers) -> list[Address]:
    """Who To, Cc and Bcc name; in a message that was sent on, who its Resent- fields name (RFC 5322 §3.6.6)."""
    names = ["Resent-To", "Resent-Cc", "Resent-Bcc"]
    if not any(headers.all(name) for name in names):
        names = ["To", "Cc", "Bcc"]
    found: list[Address] = []
    for field in (field for name in names for field in headers.all(name)):
        listed = parse_mailboxes(field.value.decode("utf-8", "replace"))
        if listed.problem:
            raise Refused(f"{field.name}: {listed.problem}", code="invalid_recipient")
        found += [address for _, address in listed.mailboxes]
    return found


def _with_author(headers: Headers, wishes: Wishes, own: str) -> Headers:
    """A From without a domain, as cron writes it, or none, becomes the sender's whole address."""
    given = headers.all("From")
    if any(b"@" in field.value for field in given):
        return headers
    words = decode(given[0].value.strip()) if given else ""
    name = wishes.full_name or (words.partition("(")[2].rstrip(") ") if "(" in words else "")
    address = parse_address(_whole(wishes.sender or own, own.partition("@")[2]))
    return headers.remove("From").prepend(address_field("From", [(name, address)]))


def _whole(address: str, hostname: str) -> str:
    """An address with its domain; "" and "<>" are the empty reverse-path."""
    bare = address.strip().removeprefix("<").removesuffix(">")
    return bare if not bare or "@" in bare else f"{bare}@{hostname}"


# --- mailq ---


def print_queue(client: Client) -> None:
    """What waits, in the form that Postfix's mailq has."""
    messages: dict[str, dict[str, Any]] = {}
    for delivery in client.pages("/operator/mailq"):
        found = messages.setdefault(delivery["message_id"], {**delivery, "recipients": []})
        found["recipients"].append(delivery)
    if not messages:
        print("Mail queue is empty")
        return
    print("-Queue ID-                      --Size-- ----Arrival Time---- -Sender/Recipient-------")
    for id, message in messages.items():
        statuses = {delivery["status"] for delivery in message["recipients"]}
        mark = "*" if "sending" in statuses else "!" if statuses == {"held"} else " "
        arrived = time.strftime("%a %b %e %H:%M:%S", time.localtime(message["created_at"] / 1000))
        print(f"{id + mark:<31}{message['size']:>9} {arrived:>20} {printable(message['sender']) or 'MAILER-DAEMON'}")
        for delivery in message["recipients"]:
            if delivery["reply"]:
                print(f"({printable(delivery['reply'])})".rjust(41))
            print(" " * 62 + printable(delivery["recipient"]))
        print()
    size = sum(message["size"] for message in messages.values()) // 1024
    print(f"-- {size} Kbytes in {len(messages)} Request{'s' if len(messages) != 1 else ''}.")
