"""Addresses as HTTP clients write them: a text, an object, or a list of these, in every surface alike."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from mta.accept.recipients import judge
from mta.errors import InvalidInput
from mta.protocol.address import Address, AddressError, parse_address
from mta.protocol.mailboxes import Mailbox, parse_mailboxes

# In a header field these fold or end it; in a request they are somebody's try to write a field of his own.
_LINE_END: Final = re.compile("[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029]")


class Named(msgspec.Struct):
    """An address with the name that is shown for it."""

    email: str
    name: str | None = None


One = Annotated[str | Named, Meta(description='"ada@example.com", "Ada <ada@example.com>" or {email, name}')]
Several = Annotated[str | Named | list[str | Named], Meta(description="an address, or a list of them")]


def mailboxes(given: str | Named | list[str | Named] | None, field: str) -> tuple[Mailbox, ...]:
    """All that were given; `field` names the input. Raises InvalidInput."""
    if given is None:
        return ()
    if not isinstance(given, list):
        return _read(given, field)
    return tuple(found for index, each in enumerate(given) for found in _read(each, f"{field}[{index}]"))


def mailbox(given: str | Named, field: str) -> Mailbox:
    """Exactly one. Raises InvalidInput."""
    found = _read(given, field)
    if len(found) != 1:
        raise InvalidInput(f"{field} takes one address, not {len(found)}.", field=field)
    return found[0]


def with_name(given: str | Named, name: str | None, field: str) -> str | Named:
    """The same address, shown by that name where there is one. Raises InvalidInput."""
    return given if name is None else Named(str(mailbox(given, field)[1]), name)


def key_of(text: str, field: str) -> str:
    """An address as filters compare it. Raises InvalidInput."""
    try:
        return parse_address(text.strip()).key
    except AddressError as error:
        raise InvalidInput(f"{field}: {error}", code="invalid_address", field=field) from error


def parted(text: str) -> tuple[str, str]:
    """Name and address of one that a message was stored with (`Message.sender`, `to` ...), whose name is as people read
    it, without quotes."""
    if text.endswith(">") and " <" in text:
        name, _, address = text[:-1].rpartition(" <")
        return name, address
    return "", text


def unique(*lists: tuple[Mailbox, ...]) -> tuple[Address, ...]:
    """Each address once, in order."""
    return tuple({address.key: address for mailboxes in lists for _, address in mailboxes}.values())


def _read(given: str | Named, field: str) -> tuple[Mailbox, ...]:
    if isinstance(given, Named):
        return ((given.name or "", judge(given.email.strip(), field=f"{field}.email")),)
    if _LINE_END.search(given.strip()):
        raise InvalidInput(
            f"{field}: {given[:100]!r} holds a line end or another control character.",
            code="invalid_recipient",
            field=field,
        )
    found = parse_mailboxes(given)
    if found.problem or not found.mailboxes:
        raise InvalidInput(f"{field}: {found.problem or 'There is no address.'}", code="invalid_recipient", field=field)
    return tuple((name, judge(str(address), field=field)) for name, address in found.mailboxes)
