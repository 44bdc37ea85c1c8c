"""Stack0 Mail: its documented paths and those of its SDKs. One file a resource; its `routes` stand in the list below."""

from api.routing import Surface
from api.stack0 import analytics, domains, emails, send, shapes, templates

SURFACE = Surface(
    name="Stack0",
    mounts=("/mail", "/stack0/v1/mail"),
    resources=(
        send.routes,
        emails.routes,
        analytics.routes,
        templates.routes,
        domains.routes,
    ),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
    status_of=shapes.status_of,
)
