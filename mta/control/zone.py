"""The operator's own zone (`dns_zone`): the other ends of what customers' CNAME records lead to.

`posthouse dns zone` prints it. Who has published CNAME records once never has to touch them again: keys rotate here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from config.settings import Settings
from mta.control.records import NO_KEY, TTL_S, bounce_hosts, bounce_target, dkim_target, free_slots, spf_value
from mta.model import DkimKey, Domain


def zone_file(
    found: Iterable[tuple[Domain, Sequence[DkimKey]]], settings: Settings, serial: int, *, bare: bool = False
) -> str:
    """The zone as a master file (RFC 1035 §5); `bare` leaves out SOA and NS, for an $INCLUDE below your own."""
    zone, host = settings.dns_zone, settings.hostname
    lines = [f"$ORIGIN {zone}.", f"$TTL {TTL_S}"]
    if not bare:
        lines += [
            f"@ IN SOA {host}. hostmaster.{host}. {serial} 3600 600 1209600 300",
            f"@ IN NS {host}. ; name your own servers here",
        ]
    for domain, keys in found:
        lines += ["", f"; {domain.name} ({domain.organization_id})", *_records(domain, keys, settings)]
    return "\n".join(lines) + "\n"


def _records(domain: Domain, keys: Sequence[DkimKey], settings: Settings) -> Iterator[str]:
    zone = settings.dns_zone
    for key in sorted(keys, key=lambda key: key.selector):
        yield f"{_below(dkim_target(key.selector, zone), zone)} IN TXT {_strings(key.dns_value)}"
    for selector in free_slots(domain, keys):
        yield f'{_below(dkim_target(selector, zone), zone)} IN TXT "{NO_KEY}"'
    bounce = _below(bounce_target(domain, zone), zone)
    yield f"{bounce} IN MX 10 {bounce_hosts(settings)[0]}."
    yield f"{bounce} IN TXT {_strings(spf_value(settings))}"


def _below(name: str, zone: str) -> str:
    return name.removesuffix(f".{zone}")


def _strings(text: str) -> str:
    """A TXT value as character-strings of at most 255 octets (RFC 1035 §3.3.14)."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
