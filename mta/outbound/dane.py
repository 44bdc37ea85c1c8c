"""What a mail host demands of TLS by its TLSA records (DANE, RFC 7672): asked before its mail is routed, and again
before each connection, since keys roll.

Only where DNSSEC vouches for every step, which is the resolver's word (`Resolver.trusted`): the MX records, the host's
addresses, the TLSA records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mta.net.dns import Answer, DnsTemporary, NoRecords, NoSuchName, Resolver
from mta.protocol.dane import Tlsa, usable


async def demanding(resolver: Resolver, hosts: Sequence[str], port: int) -> frozenset[str]:
    """Those of a domain's mail hosts that demand TLS, or of which nobody can say at the moment whether they do."""

    async def demands(host: str) -> bool:
        try:
            return await demanded(resolver, host, port) is not None
        except DnsTemporary:
            return True

    answers = await asyncio.gather(*(demands(host) for host in hosts))
    return frozenset(host for host, answer in zip(hosts, answers, strict=True) if answer)


async def demanded(resolver: Resolver, host: str, port: int) -> tuple[Tlsa, ...] | None:
    """The records that its certificate has to meet; none: any certificate will do, but TLS it must be; None: no demand.

    Raises DnsTemporary where nobody knows: then the host must not be used (RFC 7672 §2.1.1), or whoever holds an answer
    back could strip TLS.
    """
    if not await _is_signed(resolver, host):
        return None
    try:
        found = await resolver.lookup(f"_{port}._tcp.{host}", "TLSA")
    except (NoSuchName, NoRecords):
        return None
    return usable(found.records) if found.authenticated_data else None


async def _is_signed(resolver: Resolver, host: str) -> bool:
    """Of its addresses. Unsigned zones are not asked for TLSA: some of their servers fail on it (RFC 7672 §2.2.2)."""
    answers: list[Answer] = []
    trouble: DnsTemporary | None = None
    for kind in ("A", "AAAA"):
        try:
            answers.append(await resolver.lookup(host, kind))
        except DnsTemporary as error:
            trouble = error
        except (NoSuchName, NoRecords):
            continue
    if not answers and trouble is not None:
        raise trouble
    return bool(answers) and all(answer.authenticated_data for answer in answers)
