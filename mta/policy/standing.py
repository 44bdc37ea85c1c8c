"""Whether an organization may send at all, asked in the accept transaction: the operator's review, then its reputation.

A domain that is disabled is refused where senders are checked (`policy.senders`): its status says so.
"""

from __future__ import annotations

from typing import Final

from mta.errors import Forbidden
from mta.model import Organization
from mta.policy.reputation import DISABLED, THROTTLED
from mta.store import standings
from mta.store.sqlite import Tx

REVIEWS: Final = ("none", "pending", "approved", "rejected")


def review_of(organization: Organization) -> str:
    """One of REVIEWS; `pending` keeps the organization within the sandbox tier (`policy.limits`)."""
    return str(organization.settings.get("review") or "none")


def admit(tx: Tx, organization: Organization, domain: str, test: bool) -> frozenset[str]:
    """What is throttled: the sender's domain, "" for the whole organization. Test mail has no reputation.

    Raises Forbidden (`review_rejected`, `reputation_disabled`).
    """
    if review_of(organization) == "rejected":
        raise Forbidden(
            f"The operator of this server has reviewed organization {organization.name} and does not let it send. "
            "Ask the operator why.",
            code="review_rejected",
        )
    if test:
        return frozenset()
    found = standings.in_force(tx, organization.id, domain)
    if found.get("") == DISABLED:
        raise Forbidden(
            f"Sending is switched off for organization {organization.name}: too much of its mail bounced or was "
            "reported as spam. GET /mail/reputation has the figures; the operator of this server can clear it.",
            code="reputation_disabled",
        )
    return frozenset(scope for scope, status in found.items() if status == THROTTLED)
