"""What an owner may choose for a sending domain, judged: names that stand below it, and not twice the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from mta.errors import InvalidInput
from mta.model import Domain, DomainSettings
from mta.protocol.address import AddressError, ascii_domain


class SettingChanges(TypedDict, total=False):
    """What a change of `DomainSettings` gives; what is not there stays."""

    mail_from: str
    tracking_host: str
    tracking_enabled: bool
    track_opens: bool | None
    track_clicks: bool | None
    require_tls: bool


def domain_name(text: str, field: str = "domain") -> str:
    """A name that mail can come from or go to. Raises InvalidInput."""
    try:
        name = ascii_domain(text.strip())
    except AddressError as error:
        raise InvalidInput(str(error), code="invalid_domain", field=field) from error
    labels = name.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or "_" in name or len(name) > 200:
        raise InvalidInput(
            f'"{text[:200]}" is no domain that mail can come from; write it like example.com.',
            code="invalid_domain",
            field=field,
        )
    return name


def changed(domain: Domain, changes: SettingChanges) -> DomainSettings:
    """The settings of the domain after the changes. Raises InvalidInput."""
    made = replace(domain.settings, **changes)
    if host := made.tracking_host:
        made = replace(made, tracking_host=domain_name(host, "tracking_host"))
        if not made.tracking_host.endswith(f".{domain.name}"):
            text = f'"{host[:200]}" is no host below {domain.name}; write it like links.{domain.name}.'
            raise InvalidInput(text, field="tracking_host")
    if "mail_from" in changes:
        made = replace(made, mail_from=_label(domain, made.mail_from))
    if f"{made.mail_from}.{domain.name}" == made.tracking_host:
        text = f"{made.tracking_host} cannot be both the return path and the host of tracked links: name two."
        raise InvalidInput(text, field="tracking_host" if "tracking_host" in changes else "mail_from")
    return made


def _label(domain: Domain, text: str) -> str:
    """`bounce` for bounce.example.com, which may be written in whole. Raises InvalidInput."""
    label = text.strip().lower().rstrip(".").removesuffix(f".{domain.name}")
    try:
        name = domain_name(f"{label}.{domain.name}", "mail_from")
    except InvalidInput as error:
        raise InvalidInput(
            f'"{text[:100]}" is no name for a return path; write what stands before {domain.name}, like "bounce".',
            code="invalid_mail_from",
            field="mail_from",
        ) from error
    return name.removesuffix(f".{domain.name}")
