"""/v1/webhooks: where events go, and what became of each. `body` is what a webhook made here is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from api.mailstack.messages import addresses, error_message
from api.mailstack.names import EVENTS, MESSAGE_STATUS, SUPPRESSED, matches_of, names_of
from api.mailstack.shapes import Done, Listing, Shape
from api.routing import Call, Routes
from api.times import moment, moment_or_none
from mta.control.dispatch import ACTIVE, DISABLED
from mta.control.webhook_call import About
from mta.control.webhooks import WithSecret
from mta.model import Event, Webhook, WebhookDelivery

routes = Routes("webhooks")

_ENGAGEMENT: Final = ("automated", "url")

Names = Annotated[
    str | list[str], Meta(description='"Delivered,Bounce", ["email.delivered", "email.bounced"], or "*" for all')
]


class WebhookRequest(Shape):
    """`events` is another name of `eventTypes`."""

    url: str
    event_types: Names | None = None
    events: Names | None = None
    enabled: bool = True


class WebhookChange(Shape):
    """What is left out stays."""

    url: str | None = None
    event_types: Names | None = None
    events: Names | None = None
    enabled: bool | None = None


class WebhookShape(Shape):
    """`secretHint` is the end of the secret that signs now."""

    id: str
    url: str
    event_types: str
    enabled: bool
    secret_hint: str
    created_at: str


class SecretShape(Shape):
    """The secret is shown here and never again."""

    webhook: WebhookShape
    signing_secret: str


class DeliveryShape(Shape):
    """`status` is pending, succeeded or failed; `eventType` is null for an event that is none of this surface's."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str | None
    status: str
    attempts: int
    next_attempt_at: str | None
    created_at: str
    updated_at: str


def body(event: Event, about: About) -> Mapping[str, Any]:
    """Of one recipient, or where the event has none of them all. An open or click says whether a program made it, and a
    click which link it followed."""
    named, message = EVENTS.get(event.type), about.message
    recipients = addresses(message.to) if message else ""
    status = MESSAGE_STATUS[message.status] if message else None
    return {
        "type": named.type if named else event.type,
        "createdAt": moment(event.created_at),
        "data": {
            "id": event.message_id or event.resource_id,
            "toEmail": event.recipient or recipients or None,
            "status": named.status if named else status,
            "errorMessage": _error(event),
            **{name: event.data[name] for name in _ENGAGEMENT if name in event.data},
        },
    }


@routes.post("/webhooks", scope="webhooks:write", status=201)
async def create(call: Call, body: WebhookRequest) -> SecretShape:
    """Have events sent to a URL; the answer has the secret that signs them."""
    wanted = matches_of(_names(body) or [], "eventTypes")
    made = await call.control.webhooks.create(
        call.principal, body.url, names_of(wanted).split(","), wanted, format="mailstack", enabled=body.enabled
    )
    return _with_secret(call, made)


@routes.get("/webhooks", scope="webhooks:read")
async def list_(call: Call, query: Listing) -> list[WebhookShape]:
    """Webhooks, newest first, those of other surfaces too."""
    page = await call.control.webhooks.page(call.principal, query.limit, query.cursor)
    return [_shape(call, each) for each in page.items]


@routes.get("/webhooks/{id}", scope="webhooks:read")
async def get(call: Call, id: str) -> WebhookShape:
    """One webhook."""
    return _shape(call, await call.control.webhooks.get(call.principal, id))


@routes.put("/webhooks/{id}", scope="webhooks:write")
async def update(call: Call, id: str, body: WebhookChange) -> WebhookShape:
    """Change it. Enabled again, its failures are forgotten and what is pending is sent."""
    names = _names(body)
    wanted = None if names is None else matches_of(names, "eventTypes")
    changed = await call.control.webhooks.update(
        call.principal,
        id,
        url=body.url,
        event_types=None if wanted is None else names_of(wanted).split(","),
        matches=wanted,
        status=None if body.enabled is None else _status(body.enabled),
    )
    return _shape(call, changed)


@routes.delete("/webhooks/{id}", scope="webhooks:write", status=200)
async def delete(call: Call, id: str) -> Done:
    """Send it nothing more; what was pending is dropped."""
    await call.control.webhooks.delete(call.principal, id)
    return Done()


@routes.post("/webhooks/{id}/rotate-secret", scope="webhooks:write")
async def rotate_secret(call: Call, id: str) -> SecretShape:
    """A new secret; for a day, the one before it signs as well."""
    return _with_secret(call, await call.control.webhooks.rotate(call.principal, id))


@routes.get("/webhooks/{id}/deliveries", scope="webhooks:read")
async def deliveries(call: Call, id: str, query: Listing) -> list[DeliveryShape]:
    """Each event for this webhook, newest first."""
    page = await call.control.webhooks.deliveries(call.principal, id, limit=query.limit, cursor=query.cursor)
    return [_delivery(each) for each in page.items]


@routes.post("/webhooks/deliveries/{id}/replay", scope="webhooks:write")
async def replay(call: Call, id: str) -> DeliveryShape:
    """Send an event again now, whatever became of it; 409 `webhook_disabled` where the webhook is disabled."""
    delivery, _ = await call.control.webhooks.retry(call.principal, id)
    return _delivery(delivery)


def _names(body: WebhookRequest | WebhookChange) -> list[str] | None:
    """What it asks for; None: it does not say."""
    given = body.events if body.event_types is None else body.event_types
    return given.split(",") if isinstance(given, str) else given


def _status(enabled: bool) -> str:
    return ACTIVE if enabled else DISABLED


def _shape(call: Call, webhook: Webhook) -> WebhookShape:
    return WebhookShape(
        id=webhook.id,
        url=webhook.url,
        event_types=names_of(webhook.matches),
        enabled=webhook.status == ACTIVE,
        secret_hint=call.control.webhooks.hint(webhook),
        created_at=moment(webhook.created_at),
    )


def _with_secret(call: Call, made: WithSecret) -> SecretShape:
    return SecretShape(webhook=_shape(call, made.webhook), signing_secret=made.secret)


def _delivery(delivery: WebhookDelivery) -> DeliveryShape:
    named = EVENTS.get(delivery.event_type)
    pending = delivery.status == "pending"
    return DeliveryShape(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event_type=named.type if named else None,
        status=delivery.status,
        attempts=delivery.attempts,
        next_attempt_at=moment_or_none(delivery.next_at if pending else None),
        created_at=moment(delivery.created_at),
        updated_at=moment(delivery.updated_at),
    )


def _error(event: Event) -> str | None:
    """Of an event that tells of trouble."""
    if event.type == "message.suppressed":
        return SUPPRESSED
    if event.type in ("message.bounced", "message.failed", "message.cancelled", "delivery.delayed"):
        facts = event.data
        return error_message(facts.get("code"), facts.get("enhanced"), facts.get("reply"), facts.get("reason"))
    return None
