"""Resend. One file a resource; its `routes` stand in the list below."""

from api.resend import (
    api_keys,
    attachments,
    domains,
    emails,
    metrics,
    receiving,
    sending,
    shapes,
    suppressions,
    templates,
    usage,
    webhooks,
)
from api.routing import Surface

SURFACE = Surface(
    name="Resend",
    mounts=(shapes.MOUNT,),
    resources=(
        sending.routes,
        emails.routes,
        receiving.routes,
        attachments.routes,
        metrics.routes,
        templates.routes,
        domains.routes,
        api_keys.routes,
        suppressions.routes,
        webhooks.routes,
        usage.routes,
    ),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
    status_of=shapes.status_of,
)
