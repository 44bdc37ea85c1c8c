"""Who really sent an inbound message: SPF, DKIM, ARC and DMARC, as an Authentication-Results value (RFC 8601).

Nothing is refused for what is found here: the reader of the message decides. Signatures are verified by dkimpy in a
thread, which asks our resolver.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import dkim

from mta.net.dns import DnsError, DnsTemporary, Resolver
from mta.net.spf import check_host
from mta.protocol import dmarc
from mta.protocol.address import Address
from mta.protocol.dkim import BodyDigest, simple_body_hash
from mta.protocol.headers import HeaderError, parse, split_head

MAX_SIGNATURES: Final = 5  # of one message that are verified
MAX_ARC_SETS: Final = 20  # RFC 8617 §4.2.1 allows 50; each costs two keys from the DNS
MAX_FIELD: Final = 8192  # bytes of a signature field
DNS_S: Final = 10.0
ALL_DNS_S: Final = 30.0  # for all keys of a message
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_LONG_BLANK: Final = re.compile(rb"\s{64}")
_ARC_FIELDS: Final = frozenset({"arc-seal", "arc-message-signature", "arc-authentication-results"})

Lookup = Callable[..., bytes | None]  # a name, and seconds to wait


@dataclass(frozen=True, slots=True)
class Signature:
    result: str
    domain: str
    selector: str


@dataclass(frozen=True, slots=True)
class Results:
    """What was found; `value` is the whole of it as Authentication-Results has it."""

    spf: str
    spf_domain: str
    dkim: tuple[Signature, ...]
    arc: str
    dmarc: dmarc.Evaluation
    value: str

    def as_json(self) -> dict[str, Any]:
        best = (
            "pass" if any(one.result == "pass" for one in self.dkim) else self.dkim[0].result if self.dkim else "none"
        )
        return {
            "spf": self.spf,
            "spf_domain": self.spf_domain,
            "dkim": best,
            "signatures": [{"result": one.result, "domain": one.domain, "selector": one.selector} for one in self.dkim],
            "arc": self.arc,
            "dmarc": self.dmarc.result,
            "dmarc_policy": self.dmarc.policy or None,
            "results": self.value,
        }


class Verifier:
    """`hostname` signs the results with its name (RFC 8601 §2.5)."""

    def __init__(self, resolver: Resolver, hostname: str) -> None:
        self._resolver = resolver
        self._hostname = hostname

    async def verify(self, data: bytes, author: str, ip: str, helo: str, sender: Address | None) -> Results:
        """Of a whole message; `author` is the domain of its From, "" where it cannot be read. Never raises."""
        # Without a path (a bounce) it is the HELO name that is judged (RFC 7208 §2.4)
        spf_domain = _NO_NAME.sub("", sender.domain if sender else helo)[:255].lower()
        spf, _ = await check_host(ip, str(sender or ""), helo, self._resolver.lookup, receiver=self._hostname)
        loop = asyncio.get_running_loop()
        signatures, arc = await asyncio.to_thread(_signatures, data, self._lookup(loop))
        passed = [one.domain for one in signatures if one.result == "pass"]
        evaluation = await self._dmarc(author, spf_domain if spf == "pass" else None, passed)
        value = _value(self._hostname, spf, spf_domain, signatures, arc, evaluation, author)
        return Results(spf, spf_domain, signatures, arc, evaluation, value)

    async def _dmarc(self, author: str, spf_domain: str | None, signers: list[str]) -> dmarc.Evaluation:
        if not author:
            return dmarc.Evaluation("permerror")
        records: dict[str, dmarc.Record] = {}
        for name in dmarc.names(author):
            try:
                found = [
                    record
                    for text in await self._resolver.txt(f"_dmarc.{name}")
                    if (record := dmarc.parse_record(text))
                ]
            except DnsTemporary:
                return dmarc.Evaluation("temperror")
            except DnsError:
                continue
            if len(found) == 1:  # several are as good as none (RFC 7489 §6.6.3)
                records[name] = found[0]
        return dmarc.evaluate(author, records, spf_domain, signers)

    def _lookup(self, loop: asyncio.AbstractEventLoop) -> Lookup:
        """For dkimpy's thread: the TXT record of a name."""
        end = time.monotonic() + ALL_DNS_S

        def txt(name: bytes | str, timeout: float = DNS_S) -> bytes | None:
            text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
            asked = asyncio.run_coroutine_threadsafe(self._resolver.txt(text), loop)
            try:
                left = max(0.0, min(DNS_S, end - time.monotonic()))
                return next(iter(asked.result(left)), "").encode("utf-8", "replace")
            except (DnsTemporary, TimeoutError) as error:
                asked.cancel()
                raise dkim.DnsTimeoutError(str(error)) from error
            except DnsError:
                return None

        return txt


class _BodyHashes:
    """Of one body, each made once: dkimpy's own relaxed form takes minutes over a run of blanks."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._made: dict[bytes, bytes] = {}

    def fits(self, signature: dict[bytes, bytes]) -> bool:
        """Whether this body was signed. Raises dkim.ValidationError."""
        if b"l" in signature:
            raise _PartOfBody("l= lets anybody add to the message (RFC 6376 §8.2)")
        if not signature[b"a"].endswith(b"-sha256"):
            raise dkim.ValidationError("RFC 8301 §3.1: SHA-1 is not verified any more")
        form = signature.get(b"c", b"").partition(b"/")[2] or b"simple"
        if form not in self._made:
            self._made[form] = _relaxed_hash(self._body) if form == b"relaxed" else simple_body_hash(self._body)
        try:
            return base64.b64decode(signature[b"bh"]) == self._made[form]  # white space in it is passed over
        except ValueError as error:
            raise dkim.ValidationError(str(error)) from error


class _PartOfBody(dkim.ValidationError):  # type: ignore[misc]  # dkimpy has no types
    pass


class _Checked:
    """dkimpy gets the header block alone; what it would do with the body is done here."""

    hashes: _BodyHashes

    def verify_sig_process(self, sig: dict[bytes, bytes], *rest: Any) -> bool:
        if b"bh" in sig and not self.hashes.fits(sig):
            return False
        without = {name: value for name, value in sig.items() if name != b"bh"}
        return bool(super().verify_sig_process(without, *rest))  # type: ignore[misc]


class _Dkim(_Checked, dkim.DKIM):  # type: ignore[misc]
    pass


class _Arc(_Checked, dkim.ARC):  # type: ignore[misc]
    pass


def _relaxed_hash(body: bytes) -> bytes:
    digest = BodyDigest()
    digest.update(body)
    return digest.digest()


def _signatures(data: bytes, lookup: Lookup) -> tuple[tuple[Signature, ...], str]:
    """In a thread: each DKIM signature, and the ARC chain."""
    try:
        head, offset = split_head(data)
        fields = parse(head).fields
    except HeaderError:
        return (), "none"
    hashes = _BodyHashes(data[offset:])
    signed = [field for field in fields if field.name.lower() == "dkim-signature"]
    signatures = tuple(
        _signature(head, hashes, index, lookup) if _is_tame(field.raw) else Signature("permerror", "", "")
        for index, field in enumerate(signed[:MAX_SIGNATURES])
    )
    seals = [field for field in fields if field.name.lower() in _ARC_FIELDS]
    if not seals:
        return signatures, "none"
    if len(seals) > 3 * MAX_ARC_SETS or not all(_is_tame(field.raw) for field in seals):
        return signatures, "fail"
    return signatures, _arc(head, hashes, lookup)


def _is_tame(raw: bytes) -> bool:
    """Short enough for dkimpy's patterns, which go back and forth over white space."""
    return len(raw) <= MAX_FIELD and not _LONG_BLANK.search(raw)


def _signature(head: bytes, hashes: _BodyHashes, index: int, lookup: Lookup) -> Signature:
    result, without_key = "neutral", "fail"
    verifier: Any = None

    def ask(name: bytes | str, timeout: float = DNS_S) -> bytes | None:
        """dkimpy calls a key that is not there, or cannot be had now, a failure (RFC 8601 §2.7.1 does not)."""
        nonlocal without_key
        without_key = "temperror"
        text = lookup(name, timeout)
        without_key = "fail" if text else "permerror"
        return text

    try:
        verifier = _Dkim(head)
        verifier.hashes = hashes
        result = "pass" if verifier.verify(index, dnsfunc=ask) else without_key
    except _PartOfBody:
        result = "policy"
    except Exception:  # what dkimpy raises and lets through of malformed signatures: nothing was shown by them
        result = "permerror"
    fields = getattr(verifier, "signature_fields", None) or {}
    return Signature(result, _clean(fields.get(b"d", b"")).lower(), _clean(fields.get(b"s", b"")))


def _arc(head: bytes, hashes: _BodyHashes, lookup: Lookup) -> str:
    try:
        verifier = _Arc(head)
        verifier.hashes = hashes
        chain, _, _ = verifier.verify(dnsfunc=lookup)
    except Exception:  # as above
        return "fail"
    text = _clean(chain) if isinstance(chain, bytes) else str(chain or "none")
    return text if text in ("pass", "fail", "none") else "fail"


def _value(
    hostname: str,
    spf: str,
    spf_domain: str,
    signatures: tuple[Signature, ...],
    arc: str,
    evaluation: dmarc.Evaluation,
    author: str,
) -> str:
    parts = [f"spf={spf} smtp.mailfrom={spf_domain}" if spf_domain else f"spf={spf}"]
    parts += [f"dkim={one.result} header.d={one.domain} header.s={one.selector}" for one in signatures]
    if not signatures:
        parts.append("dkim=none")
    parts.append(f"arc={arc}")
    asked = f" (p={evaluation.policy})" if evaluation.policy else ""
    parts.append(f"dmarc={evaluation.result}{asked}" + (f" header.from={author}" if author else ""))
    return "; ".join([hostname, *parts])


def _clean(value: bytes) -> str:
    """Names in a signature are the sender's words."""
    return re.sub(r"[^A-Za-z0-9._-]", "", value.decode("ascii", "replace"))[:255]
