"""MailStack. One file a resource; its `routes` stand in the list below."""

from api.mailstack import batches, domains, emails, lint, messages, shapes
from api.routing import Surface

SURFACE = Surface(
    name="MailStack",
    mounts=("/v1",),
    resources=(emails.routes, batches.routes, lint.routes, messages.routes, domains.routes),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
)
