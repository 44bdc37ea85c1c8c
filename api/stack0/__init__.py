"""Stack0 Mail: its documented paths and those of its SDKs. One file a resource; its `routes` stand in the list below."""

from api.routing import Surface
from api.stack0 import analytics, domains, emails, send, shapes, templates

_PEOPLE = "Keep your lists of people in your app, and send to them with POST /mail/broadcast."

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
    absent={
        "/audiences": _PEOPLE,
        "/contacts": _PEOPLE,
        "/campaigns": _PEOPLE,
        "/sequences": "Send each message at its time, with scheduledAt.",
        "/events": "What happens to an email shows as its status; webhooks are made with POST /v1/mail/webhooks.",
        "/mailboxes": "Mail comes in through inbound domains, POST /v1/mail/inbound/domains, and goes to webhooks.",
    },
)
