"""SPF (RFC 7208): may this address send mail with that return path?

Asked of mail that comes in, and of our own return paths before we use them. pyspf decides; it expects a DNS that blocks,
so it is run over the answers that are there, and run again with those that it found missing: no thread waits for the
DNS, nothing global is replaced, and the questions share the resolver's cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, cast, get_args

import spf

from mta.net.dns import Answer, DnsError, DnsTemporary

Result = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]  # RFC 7208 §2.6
Lookup = Callable[[str, str], Awaitable[Answer]]  # `Resolver.lookup`

TIMEOUT_S: Final = 20.0  # for the whole evaluation, RFC 7208 §4.6.4
MAX_VOID_LOOKUPS: Final = 2  # RFC 7208 §4.6.4
MAX_RECORD: Final = 4096  # octets; RFC 7208 §3.4 asks for less than 512, and reading one holds the event loop up
MAX_ROUNDS: Final = 150  # 10 lookups with 10 hosts each, and what leads to them: more cannot be missing

_Question = tuple[str, str]
_Known = dict[_Question, list[Any] | None]  # None: the DNS did not say


async def check_host(
    ip: str, sender: str, helo: str, lookup: Lookup, *, receiver: str = "unknown", timeout_s: float = TIMEOUT_S
) -> tuple[Result, str]:
    """The result and a sentence: the domain's own explanation for `fail` where it has one (RFC 7208 §4, §6.2).

    `sender` is the MAIL FROM address, or its domain; empty (a bounce), HELO's name is judged instead (§2.4). Never
    raises for what the DNS or a client says.
    """
    known: _Known = {}
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(MAX_ROUNDS):
                result, explanation, missing = _evaluate(ip, sender, helo, receiver, known)
                if not missing:
                    return result, explanation
                known.update(
                    zip(missing, await asyncio.gather(*(_ask(lookup, *each) for each in missing)), strict=True)
                )
    except TimeoutError:
        pass
    return "temperror", f"The DNS did not answer within {timeout_s:g} seconds."


async def _ask(lookup: Lookup, name: str, kind: str) -> list[Any] | None:
    try:
        return list((await lookup(name, kind)).records)
    except DnsTemporary:
        return None
    except DnsError:  # no such name, no such records: a void lookup
        return []


def _evaluate(ip: str, sender: str, helo: str, receiver: str, known: _Known) -> tuple[Result, str, list[_Question]]:
    query = None
    try:
        query = _Query(ip, sender, helo, receiver, known)
        result, _, explanation = query.check()
    except _Unanswered:
        result, explanation = "temperror", ""
    except Exception as error:  # pyspf trusts its input more than a mail server can
        result, explanation = "permerror", f"The record cannot be evaluated ({type(error).__name__})."
    if result not in get_args(Result):
        result = "permerror"
    return cast(Result, result), str(explanation), query.missing if query else []


class _Unanswered(Exception):
    """The evaluation needs an answer that nobody has asked for yet."""


class _Query(spf.query):  # type: ignore[misc]
    """One run of pyspf over the answers in `known`; `missing` holds the questions that it could not go on without."""

    def __init__(self, ip: str, sender: str, helo: str, receiver: str, known: _Known) -> None:
        self.known = known
        self.missing: list[_Question] = []
        super().__init__(i=ip, s=sender, h=helo, receiver=receiver)

    def dns(self, name: str, kind: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        """pyspf's way to the DNS. The resolver follows CNAMEs itself."""
        name = str(name).rstrip(".").lower()
        if not all(0 < len(label) < 64 for label in name.split(".")):
            return []  # no name that the DNS could hold: asked of nobody
        question = name, kind
        if question not in self.known:
            self.missing.append(question)
            raise _Unanswered
        found = self.known[question]
        if found is None:
            raise spf.TempError(f"The DNS did not answer for {kind} of {name}")
        if not found and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > MAX_VOID_LOOKUPS:
                raise spf.PermError(f"More than {MAX_VOID_LOOKUPS} lookups found nothing")
        return [_as_pyspf(kind, record) for record in found]

    def validated_ptrs(self) -> list[str]:
        """The names of the client's address that lead back to it; those that cannot be looked up are skipped (§5.5)."""
        try:
            names = self.dns_ptr(self.i)
        except spf.TempError:
            return []
        return [name for name in names[: spf.MAX_PTR] if self._leads_back(name)]

    def _leads_back(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False


def _as_pyspf(kind: str, record: Any) -> Any:
    if kind != "TXT":
        return record
    octets = record.encode()
    if len(octets) > MAX_RECORD and octets[:7].lower() == b"v=spf1 ":
        raise spf.PermError(f"The record has more than {MAX_RECORD} octets")
    return (octets,)
