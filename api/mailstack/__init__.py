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

_NO_BILLS = "It counts and pauses, and sends no bills: there is no card to ask for."

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
    absent={
        "/billing/setup-intent": _NO_BILLS,
        "/billing/payment-method": _NO_BILLS,
        "/billing/portal": _NO_BILLS,
    },
)
