"""MailStack. One file a resource; its `routes` stand in the list below."""

from api.mailstack import (
    api_keys,
    batches,
    billing,
    domains,
    emails,
    lint,
    messages,
    organizations,
    shapes,
    templates,
    webhooks,
)
from api.routing import Surface

SURFACE = Surface(
    name="MailStack",
    mounts=("/v1",),
    resources=(
        emails.routes,
        batches.routes,
        lint.routes,
        messages.routes,
        domains.routes,
        api_keys.routes,
        billing.routes,
        organizations.routes,
        templates.routes,
        webhooks.routes,
    ),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
)
