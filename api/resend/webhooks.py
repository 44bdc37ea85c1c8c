"""/webhooks: where events go, and what became of each event there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from api.resend.names import event_name, matches_of, names_of
from api.resend.shapes import Limit, Listed, Paging, Shape, listed, older_than
from api.routing import Call, Routes
from api.times import moment, moment_or_none
from mta.control.dispatch import ACTIVE, DISABLED
from mta.model import Webhook, WebhookAttempt, WebhookDelivery

routes = Routes("webhooks")

Status = Literal["enabled", "disabled"]
EventStatus = Literal["pending", "attempting", "success", "failed"]
OURS: Final[Mapping[Status, str]] = {"enabled": ACTIVE, "disabled": DISABLED}
ENDED: Final[Mapping[str, EventStatus]] = {"succeeded": "success", "failed": "failed"}
SEES_SECRETS: Final = "webhooks:write"
Events = Annotated[list[str], Meta(min_length=1, examples=[["email.delivered", "email.bounced"]])]


class WebhookRequest(Shape):
    endpoint: str
    events: Events


class WebhookChange(Shape):
    """What is left out stays."""

    endpoint: str | None = None
    events: Events | None = None
    status: Status | None = None


class EventPaging(Shape):
    limit: Limit = 100
    after: str | None = None


class WebhookFields(Shape, kw_only=True):
    """`signing_secret` is null in lists, and for a key that may not write webhooks."""

    object: Literal["webhook"] = "webhook"
    id: str
    created_at: str
    status: Status
    endpoint: str
    events: list[str]
    signing_secret: str | None = None


class Changed(Shape, kw_only=True):
    object: Literal["webhook"] = "webhook"
    id: str


class WithSecret(Changed, kw_only=True):
    signing_secret: str


class Deleted(Changed, kw_only=True):
    deleted: bool = True


class EventSummary(Shape):
    """`id` is that of the event, as the headers webhook-id and svix-id have it."""

    id: str
    type: str
    created_at: str
    status: EventStatus


class EventShape(EventSummary, kw_only=True):
    """`payload` is the body that it is sent with."""

    object: Literal["webhook_event"] = "webhook_event"
    next_attempt_at: str | None
    payload: dict[str, Any]


class Replayed(Shape, kw_only=True):
    object: Literal["webhook_event"] = "webhook_event"
    id: str


class AttemptShape(Shape):
    """`http_status_code` is 0 where no answer came; then `response` says why."""

    id: str
    http_status_code: int
    response: str
    sent_at: str


@routes.post("/webhooks", scope="webhooks:write", status=201)
async def create(call: Call, body: WebhookRequest) -> WithSecret:
    """Have events sent to an endpoint; the answer has the secret that signs them."""
    wanted = matches_of(body.events)
    made = await call.control.webhooks.create(call.principal, body.endpoint, names_of(wanted), wanted, format="resend")
    return WithSecret(id=made.webhook.id, signing_secret=made.secret)


@routes.get("/webhooks", scope="webhooks:read")
async def list_(call: Call, query: Paging) -> Listed[WebhookFields]:
    """Webhooks, newest first, those of other surfaces too."""
    page = await call.control.webhooks.page(call.principal, query.limit, older_than(query))
    return listed([_shape(each) for each in page.items], page.next_cursor is not None)


@routes.get("/webhooks/{id}", scope="webhooks:read")
async def get(call: Call, id: str) -> WebhookFields:
    """One webhook; with its secret, if the key may write webhooks."""
    if not call.principal.may(SEES_SECRETS):
        return _shape(await call.control.webhooks.get(call.principal, id))
    found = await call.control.webhooks.reveal(call.principal, id)
    return _shape(found.webhook, found.secret)


@routes.patch("/webhooks/{id}", scope="webhooks:write")
async def update(call: Call, id: str, body: WebhookChange) -> Changed:
    """Change it. Enabled again, its failures are forgotten and what is pending is sent."""
    wanted = None if body.events is None else matches_of(body.events)
    changed = await call.control.webhooks.update(
        call.principal,
        id,
        url=body.endpoint,
        event_types=None if wanted is None else names_of(wanted),
        matches=wanted,
        status=None if body.status is None else OURS[body.status],
    )
    return Changed(id=changed.id)


@routes.delete("/webhooks/{id}", scope="webhooks:write", status=200)
async def delete(call: Call, id: str) -> Deleted:
    """Send it nothing more; what was pending is dropped."""
    await call.control.webhooks.delete(call.principal, id)
    return Deleted(id=id)


@routes.post("/webhooks/{id}/signing-secret/rotate", scope="webhooks:write")
async def rotate(call: Call, id: str) -> WithSecret:
    """A new secret; for a day, the one before it signs as well."""
    made = await call.control.webhooks.rotate(call.principal, id)
    return WithSecret(id=id, signing_secret=made.secret)


@routes.get("/webhooks/{id}/events", scope="webhooks:read")
async def list_events(call: Call, id: str, query: EventPaging) -> Listed[EventSummary]:
    """Each event for this webhook, newest first, once however often it was sent."""
    page = await call.control.webhook_events.page(call.principal, id, query.limit, query.after)
    found = [EventSummary(**_event(each)) for each in page.items]
    return listed(found, page.next_cursor is not None)


@routes.get("/webhooks/{id}/events/{event_id}", scope="webhooks:read")
async def get_event(call: Call, id: str, event_id: str) -> EventShape:
    """One event with its body."""
    told = await call.control.webhook_events.get(call.principal, id, event_id)
    ended = told.delivery.status in ENDED
    return EventShape(
        **_event(told.delivery),
        next_attempt_at=moment_or_none(None if ended else told.delivery.next_at),
        payload=dict(told.payload),
    )


@routes.post("/webhooks/{id}/events/{event_id}/replay", scope="webhooks:write")
async def replay_event(call: Call, id: str, event_id: str) -> Replayed:
    """Send an event once more, now, whatever became of it; 409 where the webhook is disabled."""
    delivery = await call.control.webhook_events.replay(call.principal, id, event_id)
    return Replayed(id=delivery.event_id)


@routes.get("/webhooks/{id}/events/{event_id}/attempts", scope="webhooks:read")
async def list_attempts(call: Call, id: str, event_id: str, query: EventPaging) -> Listed[AttemptShape]:
    """The calls that an event took, newest first."""
    page = await call.control.webhook_events.attempts(call.principal, id, event_id, query.limit, query.after)
    return listed([_attempt(each) for each in page.items], page.next_cursor is not None)


def _shape(webhook: Webhook, secret: str | None = None) -> WebhookFields:
    return WebhookFields(
        id=webhook.id,
        created_at=moment(webhook.created_at),
        status="enabled" if webhook.status == ACTIVE else "disabled",
        endpoint=webhook.url,
        events=names_of(webhook.matches),
        signing_secret=secret,
    )


def _event(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": delivery.event_id,
        "type": event_name(delivery.event_type),
        "created_at": moment(delivery.created_at),
        "status": ENDED.get(delivery.status) or ("attempting" if delivery.attempts else "pending"),
    }


def _attempt(attempt: WebhookAttempt) -> AttemptShape:
    return AttemptShape(
        id=attempt.id,
        http_status_code=attempt.status_code or 0,
        response=attempt.response or attempt.error,
        sent_at=moment(attempt.started_at),
    )
