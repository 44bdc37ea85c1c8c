"""Who may send as whom: From must be of a verified or trusted domain of the organization, as must the return path; where
the key is for one domain, of that one.
"""

from __future__ import annotations

from typing import Final

from mta.errors import Forbidden, InvalidInput
from mta.model import Domain, Principal
from mta.protocol.address import Address
from mta.store import domains, organizations
from mta.store.sqlite import Tx

VERIFIED: Final = "verified"
DISABLED: Final = "disabled"
DEFAULT_DOMAIN: Final = "default_domain"  # of an organization's settings: a name


def sending_domain(tx: Tx, principal: Principal, name: str) -> Domain:
    """The domain that a From address stands in.

    Raises Forbidden (`key_domain`, `domain_disabled`), or InvalidInput (`domain_not_verified`) where it is unknown or
    not verified.
    """
    if not principal.sends_for(name):
        raise Forbidden(
            f"This key sends from {principal.domain} only, and the From address is in {name}. Use a key that is not for "
            "one domain.",
            code="key_domain",
            field="from",
            details={"domain": name, "allowed": principal.domain},
        )
    return _usable(domains.by_name(tx, principal.organization_id, name), name)


def check_reverse_path(tx: Tx, principal: Principal, name: str) -> None:
    """The submitter's own return path may stand in a sending domain or below one (root@host.example.com).

    Raises Forbidden.
    """
    labels = name.split(".")
    for start in range(len(labels) - 1):
        if domain := domains.by_name(tx, principal.organization_id, ".".join(labels[start:])):
            if may_send(domain) and principal.sends_for(domain.name):
                return
            break
    raise Forbidden(
        f"The return path (MAIL FROM) is in {name}, which is not a verified domain of this "
        f"{'key' if principal.domain else 'organization'}. Use one of its verified domains, or the empty path.",
        code="reverse_path_not_allowed",
        field="reverse_path",
    )


def default_domain(tx: Tx, organization_id: str) -> Domain | None:
    """The one that was chosen, if it may send; else the oldest that is verified; None: there is none."""
    organization = organizations.by_id(tx, organization_id)
    chosen = organization.settings.get(DEFAULT_DOMAIN) if organization else None
    found = domains.by_name(tx, organization_id, chosen) if chosen else None
    return found if found is not None and may_send(found) else domains.first_verified(tx, organization_id)


def default_sender(tx: Tx, organization_id: str) -> Address:
    """no-reply@ the default domain, for mail that names no sender.

    Raises InvalidInput (`from_missing`) where there is none.
    """
    domain = default_domain(tx, organization_id)
    if domain is None:
        raise InvalidInput(
            "There is no sender: give from, or verify a domain, then no-reply@ that domain is the sender.",
            code="from_missing",
            field="from",
        )
    return Address("no-reply", domain.name)


def may_send(domain: Domain) -> bool:
    return domain.status != DISABLED and (domain.trusted or domain.status == VERIFIED)


def _usable(domain: Domain | None, name: str) -> Domain:
    if domain is not None and domain.status == DISABLED:
        raise Forbidden(
            f"Sending from {name} is switched off. Ask the operator of this server why.",
            code="domain_disabled",
            field="from",
            details={"domain": name},
        )
    if domain is None or not may_send(domain):
        way_out = "Add it and publish its DNS records" if domain is None else "Publish its DNS records and verify it"
        raise InvalidInput(
            f"The domain {name} of the From address is not verified for this organization. {way_out}.",
            code="domain_not_verified",
            field="from",
            details={"domain": name},
        )
    return domain
