"""/reputation: how an organization and its domains stand, and when that changed."""

from __future__ import annotations

from typing import Any, Literal

from api.routing import Call, Routes
from api.stackshift.names import event_name
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment, moment_or_none
from mta.control.reputation import CHANGED, CLEARED
from mta.errors import InvalidInput
from mta.model import Event, Standing

routes = Routes("reputation")


class StandingShape(Shape):
    """`score` is 100 at best; rates are fractions from 0 to 1 of the last days' mail (docs/reputation.md)."""

    status: str
    score: int
    bounce_rate: float
    deferral_rate: float
    suppression_rate: float
    complaint_rate: float
    deliveries: int
    changed_at: str | None


class DomainStandingShape(StandingShape):
    domain: str


class ReputationShape(Shape):
    workspace: StandingShape
    domains: list[DomainStandingShape]


class ReputationEventQuery(Paging):
    severity: Literal["info", "warning", "critical"] | None = None
    type: str | None = None


class ReputationEventShape(Shape):
    id: str
    type: str
    severity: str
    message: str
    metadata: dict[str, Any]
    created_at: str


@routes.get("/reputation", scope="reputation:read")
async def get(call: Call) -> ReputationShape:
    """The standing of the workspace and of each domain that sent."""
    view = await call.control.reputation.get(call.principal)
    return ReputationShape(
        workspace=StandingShape(**figures(view.workspace)),
        domains=[DomainStandingShape(domain=one.domain, **figures(one)) for one in view.domains],
    )


@routes.get("/reputation/events", scope="reputation:read")
async def events(call: Call, query: ReputationEventQuery) -> Listed[ReputationEventShape]:
    """Changes of standing, newest first."""
    type = query.type and query.type.removeprefix("mail.")
    if type not in (None, CHANGED, CLEARED):
        raise InvalidInput(f"There are the types {event_name(CHANGED)} and {event_name(CLEARED)} here.", field="type")
    page = await call.control.reputation.events(
        call.principal, severity=query.severity, type=type, limit=query.limit, cursor=query.cursor
    )
    return Listed(data=[_event(one) for one in page.items], next_cursor=page.next_cursor)


def figures(standing: Standing) -> dict[str, Any]:
    """What a StandingShape shows of a standing."""
    return {
        "status": standing.status,
        "score": standing.score,
        "bounce_rate": standing.bounce_rate,
        "deferral_rate": standing.deferral_rate,
        "suppression_rate": standing.suppression_rate,
        "complaint_rate": standing.complaint_rate,
        "deliveries": standing.deliveries,
        "changed_at": moment_or_none(standing.changed_at),
    }


def _event(event: Event) -> ReputationEventShape:
    data = dict(event.data)
    return ReputationEventShape(
        id=event.id,
        type=event_name(event.type),
        severity=data.pop("severity"),
        message=data.pop("message"),
        metadata=data,
        created_at=moment(event.created_at),
    )
