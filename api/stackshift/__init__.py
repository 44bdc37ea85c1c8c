"""StackShift Mail: the native surface. One file a resource; its `routes` stand in the list below."""

from api.routing import Surface
from api.stackshift import (
    analytics,
    batch,
    bounces,
    domains,
    events,
    exports,
    inbound,
    limits,
    messages,
    otp,
    reputation,
    scheduled,
    send,
    shapes,
    streams,
    suppressions,
    templates,
)

SURFACE = Surface(
    name="StackShift Mail",
    mounts=("/v1/mail", "/api/v1/mail"),
    resources=(
        send.routes,
        messages.routes,
        domains.routes,
        events.routes,
        streams.routes,
        scheduled.routes,
        batch.routes,
        templates.routes,
        analytics.routes,
        limits.routes,
        reputation.routes,
        suppressions.routes,
        bounces.routes,
        inbound.routes,
        exports.routes,
        otp.routes,
    ),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
    wrap=shapes.envelope,
    wrap_schema=shapes.envelope_schema,
)
