"""/webhooks and /webhook-deliveries: where events go, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from api.routing import Call, Routes
from api.stackshift.events import event_shape
from api.stackshift.names import event_name, event_types
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment, moment_or_none
from mta.control.webhook_call import About
from mta.control.webhooks import Diagnosis, WithSecret
from mta.model import Event, Webhook, WebhookAttempt, WebhookDelivery

routes = Routes("webhooks")
EVERYTHING = "*"


class WebhookRequest(Shape):
    url: str
    event_types: list[str]
    description: str = ""


class WebhookChange(Shape):
    """What is absent or null stays as it is."""

    url: str | None = None
    event_types: list[str] | None = None
    description: str | None = None
    status: str | None = None


class DeliveryQuery(Paging):
    status: str | None = None


class ReplayRequest(Shape):
    event_ids: list[str]


class WebhookShape(Shape):
    """`failureCount` counts failures in a row; `disabledReason` is there where it is disabled."""

    id: str
    url: str
    description: str
    status: str
    event_types: list[str]
    failure_count: int
    last_success_at: str | None
    last_failure_at: str | None
    created_at: str
    disabled_reason: str | None


class WebhookSecretShape(WebhookShape):
    """`previousSecretExpiresAt`: until then, the secret before this one signs as well."""

    secret: str
    previous_secret_expires_at: str | None


class CallShape(Shape):
    """One call of an endpoint. `cause` is null where it was taken."""

    id: str
    number: int
    status_code: int | None
    cause: str | None
    error: str | None
    response: str
    duration_ms: int
    created_at: str


class DeliveryShape(Shape):
    """`attempts` are there where one delivery is asked for."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    status: str
    attempt_count: int
    next_attempt_at: str | None
    created_at: str
    updated_at: str
    attempts: list[CallShape] | UnsetType = UNSET


class CauseShape(Shape):
    cause: str
    count: int
    last_at: str
    last_error: str
    last_status_code: int | None
    advice: str


class DiagnosisShape(Shape):
    webhook_id: str
    status: str
    healthy: bool
    summary: str
    attempts: int
    pending: int
    failure_count: int
    failing_since: str | None
    last_success_at: str | None
    last_failure_at: str | None
    next_attempt_at: str | None
    failures: list[CauseShape]


class TestShape(Shape):
    webhook_id: str
    ok: bool
    status_code: int | None
    cause: str | None
    error: str | None
    response: str
    duration_ms: int
    advice: str


def body(event: Event, about: About) -> Mapping[str, Any]:
    """What a webhook of this surface is sent: the event as /events shows it."""
    shown: Mapping[str, Any] = msgspec.to_builtins(event_shape(event))
    return shown


@routes.post("/webhooks", scope="webhooks:write", status=201)
async def create(call: Call, body: WebhookRequest) -> WebhookSecretShape:
    """Have events sent to a URL; the answer holds the secret that signs them.

    `eventTypes` are names of events, or "*" for all of them.
    """
    made = await call.control.webhooks.create(
        call.principal, body.url, body.event_types, _matches(body.event_types), description=body.description
    )
    return _with_secret(made)


@routes.get("/webhooks", scope="webhooks:read")
async def list_(call: Call, query: Paging) -> Listed[WebhookShape]:
    """Webhooks, newest first."""
    page = await call.control.webhooks.page(call.principal, query.limit, query.cursor)
    return Listed(data=[WebhookShape(**_facts(each)) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/webhooks/{id}", scope="webhooks:read")
async def get(call: Call, id: str) -> WebhookShape:
    """One webhook."""
    return WebhookShape(**_facts(await call.control.webhooks.get(call.principal, id)))


@routes.patch("/webhooks/{id}", scope="webhooks:write")
async def update(call: Call, id: str, body: WebhookChange) -> WebhookShape:
    """Change it; `status` is active or disabled. Active again: what is pending is sent."""
    changed = await call.control.webhooks.update(
        call.principal,
        id,
        url=body.url,
        description=body.description,
        event_types=body.event_types,
        matches=None if body.event_types is None else _matches(body.event_types),
        status=body.status,
    )
    return WebhookShape(**_facts(changed))


@routes.delete("/webhooks/{id}", scope="webhooks:write")
async def delete(call: Call, id: str) -> None:
    """Send it nothing more; what was pending is dropped."""
    await call.control.webhooks.delete(call.principal, id)


@routes.post("/webhooks/{id}/rotate-secret", scope="webhooks:write")
async def rotate_secret(call: Call, id: str) -> WebhookSecretShape:
    """A new secret; for a day, the old one signs as well."""
    return _with_secret(await call.control.webhooks.rotate(call.principal, id))


@routes.post("/webhooks/{id}/reveal-secret", scope="webhooks:write")
async def reveal_secret(call: Call, id: str) -> WebhookSecretShape:
    """The secret that signs now."""
    return _with_secret(await call.control.webhooks.reveal(call.principal, id))


@routes.get("/webhooks/{id}/deliveries", scope="webhooks:read")
async def deliveries(call: Call, id: str, query: DeliveryQuery) -> Listed[DeliveryShape]:
    """What was and is to be sent, newest first; `status` is pending, succeeded or failed."""
    page = await call.control.webhooks.deliveries(
        call.principal, id, status=query.status, limit=query.limit, cursor=query.cursor
    )
    return Listed(data=[_delivery(each) for each in page.items], next_cursor=page.next_cursor)


@routes.post("/webhooks/{id}/replay", scope="webhooks:write", status=202)
async def replay(call: Call, id: str, body: ReplayRequest) -> Listed[DeliveryShape]:
    """Send events again; with the header Idempotency-Key, a repeated request does nothing more."""
    key = call.request.headers.get("idempotency-key")
    found = await call.control.webhooks.replay(call.principal, id, body.event_ids, key)
    return Listed(data=[_delivery(each) for each in found])


@routes.get("/webhooks/{id}/diagnosis", scope="webhooks:read")
async def diagnosis(call: Call, id: str) -> DiagnosisShape:
    """How the endpoint does: failures by cause, and what to do about each."""
    return _diagnosis(await call.control.webhooks.diagnosis(call.principal, id))


@routes.post("/webhooks/{id}/diagnosis", scope="webhooks:write")
async def diagnose(call: Call, id: str) -> TestShape:
    """Call the endpoint now, with a signed test event."""
    answer, advice = await call.control.webhooks.try_out(call.principal, id)
    return TestShape(
        webhook_id=id,
        ok=answer.ok,
        status_code=answer.status,
        cause=answer.cause,
        error=answer.error or None,
        response=answer.response,
        duration_ms=answer.duration_ms,
        advice=advice,
    )


@routes.get("/webhook-deliveries/{id}", scope="webhooks:read")
async def get_delivery(call: Call, id: str) -> DeliveryShape:
    """One delivery with its attempts, oldest first."""
    return _delivery(*await call.control.webhooks.delivery(call.principal, id))


@routes.post("/webhook-deliveries/{id}/retry", scope="webhooks:write")
async def retry_delivery(call: Call, id: str) -> DeliveryShape:
    """Send it again, now."""
    return _delivery(*await call.control.webhooks.retry(call.principal, id))


def _matches(names: list[str]) -> list[str]:
    """Ours that these names mean. Raises InvalidInput for one that there is not."""
    return [
        ours for name in names for ours in ([EVERYTHING] if name == EVERYTHING else event_types(name, "eventTypes"))
    ]


def _facts(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "description": webhook.description,
        "status": webhook.status,
        "event_types": list(webhook.event_types),
        "failure_count": webhook.failures,
        "last_success_at": moment_or_none(webhook.last_success_at),
        "last_failure_at": moment_or_none(webhook.last_failure_at),
        "created_at": moment(webhook.created_at),
        "disabled_reason": webhook.reason or None,
    }


def _with_secret(made: WithSecret) -> WebhookSecretShape:
    return WebhookSecretShape(
        **_facts(made.webhook), secret=made.secret, previous_secret_expires_at=moment_or_none(made.old_until)
    )


def _delivery(delivery: WebhookDelivery, attempts: list[WebhookAttempt] | None = None) -> DeliveryShape:
    return DeliveryShape(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event_type=event_name(delivery.event_type),
        status=delivery.status,
        attempt_count=delivery.attempts,
        next_attempt_at=moment(delivery.next_at) if delivery.status == "pending" else None,
        created_at=moment(delivery.created_at),
        updated_at=moment(delivery.updated_at),
        attempts=UNSET if attempts is None else [_call(each) for each in attempts],
    )


def _call(attempt: WebhookAttempt) -> CallShape:
    return CallShape(
        id=attempt.id,
        number=attempt.number,
        status_code=attempt.status_code,
        cause=attempt.cause,
        error=attempt.error or None,
        response=attempt.response,
        duration_ms=attempt.duration_ms,
        created_at=moment(attempt.started_at),
    )


def _diagnosis(found: Diagnosis) -> DiagnosisShape:
    webhook = found.webhook
    return DiagnosisShape(
        webhook_id=webhook.id,
        status=webhook.status,
        healthy=webhook.status == "active" and webhook.failures == 0,
        summary=found.summary,
        attempts=found.attempts,
        pending=found.pending,
        failure_count=webhook.failures,
        failing_since=moment_or_none(webhook.failing_since),
        last_success_at=moment_or_none(webhook.last_success_at),
        last_failure_at=moment_or_none(webhook.last_failure_at),
        next_attempt_at=moment_or_none(webhook.next_at or None),
        failures=[
            CauseShape(
                cause=each.cause,
                count=each.count,
                last_at=moment(each.last.started_at),
                last_error=each.last.error,
                last_status_code=each.last.status_code,
                advice=each.advice,
            )
            for each in found.causes
        ],
    )
