"""Who really sent an inbound message: SPF, DKIM, ARC and DMARC, as an Authentication-Results value (RFC 8601).

Nothing is refused for what is found here: the reader of the message decides. Signatures are verified by dkimpy in a
thread, which asks our resolver.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import dkim

from mta.net.dns import DnsError, DnsTemporary, Resolver
from mta.net.spf import check_host
from mta.protocol import dmarc
from mta.protocol.address import Address

MAX_SIGNATURES: Final = 5  # of one message that are verified
DNS_S: Final = 10.0
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")


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

    def _lookup(self, loop: asyncio.AbstractEventLoop) -> Callable[..., bytes | None]:
        """For dkimpy's thread: the TXT record of a name."""

        def txt(name: bytes | str, timeout: float = DNS_S) -> bytes | None:
            text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
            asked = asyncio.run_coroutine_threadsafe(self._resolver.txt(text), loop)
            try:
                return asked.result(DNS_S)[0].encode("utf-8", "replace")
            except DnsTemporary as error:
                raise dkim.DnsTimeoutError(str(error)) from error
            except DnsError:
                return None

        return txt


def _signatures(data: bytes, lookup: Callable[..., bytes | None]) -> tuple[tuple[Signature, ...], str]:
    """In a thread: each DKIM signature, and the ARC chain."""
    found = _HEAD_END.search(data)
    head = data[: found.start() if found else len(data)].lower()
    count = min(len(re.findall(rb"(?m)^dkim-signature[ \t]*:", head)), MAX_SIGNATURES)
    signatures = tuple(_signature(data, index, lookup) for index in range(count))
    return signatures, _arc(data, lookup) if re.search(rb"(?m)^arc-seal[ \t]*:", head) else "none"


def _signature(data: bytes, index: int, lookup: Callable[..., bytes | None]) -> Signature:
    result = "neutral"
    verifier: Any = None
    try:
        verifier = dkim.DKIM(data)
        result = "pass" if verifier.verify(index, dnsfunc=lookup) else "fail"
    except dkim.DnsTimeoutError:
        result = "temperror"
    except dkim.DKIMException:
        result = "permerror"
    except Exception:  # what dkimpy lets through of malformed signatures: nothing was shown by them
        result = "permerror"
    fields = getattr(verifier, "signature_fields", None) or {}
    return Signature(result, _clean(fields.get(b"d", b"")).lower(), _clean(fields.get(b"s", b"")))


def _arc(data: bytes, lookup: Callable[..., bytes | None]) -> str:
    try:
        chain, _, _ = dkim.ARC(data).verify(dnsfunc=lookup)
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
