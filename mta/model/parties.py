"""Who sends: organizations, their keys and domains, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mta.model.mail import Message

ADMIN: Final = "admin"  # the scope of a key that acts for whoever runs the server


class Owned(Protocol):
    """Whatever belongs to an organization and is of test keys or of live ones."""

    @property
    def organization_id(self) -> str: ...

    @property
    def test(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: an organization, through a key (or a trusted network, or the operator: then `key_id` is "").

    `domain`: the only sending domain whose mail it may send and take back; "" is all of them.
    """

    organization_id: str
    key_id: str = ""
    scopes: frozenset[str] = frozenset({"*"})
    test: bool = False
    domain: str = ""

    def may(self, scope: str) -> bool:
        """`*` is every scope of an organization's own; `admin` reaches into the others and has to be there by name."""
        return scope in self.scopes or ("*" in self.scopes and scope != ADMIN)

    def sends_for(self, domain: str) -> bool:
        return self.domain in ("", domain)

    def sees(self, thing: Owned) -> bool:
        """What its organization has: a test key the tests' things, any other the live ones."""
        return (thing.organization_id, thing.test) == (self.organization_id, self.test)

    def owns(self, message: Message) -> bool:
        return self.sees(message) and self.sends_for(message.domain)


@dataclass(frozen=True, slots=True)
class Organization:
    id: str
    name: str
    tier: str
    settings: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: its visible prefix and a hash, never the secret. `domain` as a principal's."""

    id: str
    organization_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    test: bool
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    domain: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what. `actor` is a key's id, "operator" (command line) or "posthouse" (the server itself)."""

    id: str
    organization_id: str
    actor: str
    action: str
    resource_id: str
    details: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """What its owner chose for a sending domain.

    `mail_from`: what stands before the domain in its return path; `tracking_host`: the host of tracked links, "" the
    server's own; opens and clicks None: as the stream or the organization says.
    """

    mail_from: str = "bounce"
    tracking_host: str = ""
    tracking_enabled: bool = True  # False: its host is kept, and links are the server's
    track_opens: bool | None = None
    track_clicks: bool | None = None
    require_tls: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """A sending domain of one organization. `checks` holds what DNS said last, record by record."""

    id: str
    organization_id: str
    name: str
    status: str
    trusted: bool
    challenge: str
    checks: Mapping[str, Any]
    created_at: int
    verified_at: int | None
    last_checked_at: int | None
    settings: DomainSettings = DomainSettings()

    @property
    def own_host(self) -> str:
        """Its own host for tracked links, which the DNS has shown to lead to us; else ""."""
        host, seen = self.settings.tracking_host, self.checks.get("tracking", {})
        return host if seen.get("status") == "verified" and seen.get("host") == host else ""

    @property
    def link_host(self) -> str:
        """Where new links lead: to its own host while that is switched on, else "", the server's."""
        return self.own_host if self.settings.tracking_enabled else ""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A key pair of a domain; the private half stays sealed until it signs. `state` is next, active or retired."""

    id: str
    domain_id: str
    domain: str
    selector: str
    algorithm: str
    sealed: bytes
    dns_value: str
    state: str
    created_at: int
    retired_at: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The reputation of an organization (`domain` "") or of one of its domains.

    `deliveries` of the window ended; rates are fractions; `cleared_at` is when an operator last forgave.
    """

    organization_id: str
    test: bool
    domain: str
    status: str = "healthy"
    score: int = 100
    bounce_rate: float = 0.0
    deferral_rate: float = 0.0
    suppression_rate: float = 0.0
    complaint_rate: float = 0.0
    deliveries: int = 0
    cleared_at: int | None = None
    changed_at: int | None = None
