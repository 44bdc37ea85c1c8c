"""What a webhook made here is sent: `{type, created_at, data}`, the data by what the event is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from api.event_data import event_data
from api.resend import domains, receiving
from api.resend.names import BOUNCE_SUBTYPES, BOUNCE_TYPES, event_name, origin
from api.times import moment
from mta.control.webhook_call import About
from mta.model import Event, InboundMessage, Message

GENERAL: Final = "General"
SUPPRESSED: Final = "OnAccountSuppressionList"


def body(event: Event, about: About) -> Mapping[str, Any]:
    return {"type": event_name(event.type), "created_at": moment(event.created_at), "data": _data(event, about)}


def _data(event: Event, about: About) -> Mapping[str, Any]:
    """Of an event that is none of this surface's, its facts as they are."""
    if event.type in ("suppression.created", "suppression.deleted"):
        return _suppression(event)
    if event.resource_type == "domain":
        return _domain(event, about)
    if about.inbound is not None:
        return _received(about.inbound)
    if event.type.startswith(("message.", "delivery.")):
        extra = EXTRAS.get(event.type)
        return {**_email(event, about.message), **(extra(event) if extra else {})}
    return event_data(event)


def _email(event: Event, message: Message | None) -> dict[str, Any]:
    """`to` is the recipient that it happened to, where it did not happen to all of them. What was refused over SMTP
    has no message."""
    if message is None:
        to = [] if event.recipient is None else [event.recipient]
        return {"email_id": event.message_id, "to": to, "created_at": moment(event.created_at), "tags": {}}
    template = message.options.get("template_id")
    return {
        "email_id": message.id,
        "message_id": message.header_message_id,
        "from": message.sender,
        "to": list(message.to) if event.recipient is None else [event.recipient],
        "subject": message.subject,
        "created_at": moment(message.created_at),
        "tags": dict(message.tags),
        **({"template_id": template} if template else {}),
    }


def _bounce(event: Event) -> Mapping[str, Any]:
    """`diagnosticCode` as a delivery report has it (RFC 3464 §2.3.6), where a server said something."""
    facts = event.data
    reply = " ".join(str(facts[name]) for name in ("code", "enhanced", "reply") if facts.get(name))
    bounce = {
        "type": BOUNCE_TYPES[facts.get("bounce_type", "unknown")],
        "subType": BOUNCE_SUBTYPES.get(facts.get("bounce_category", ""), GENERAL),
        "message": facts.get("reply") or facts.get("reason") or "",
    }
    return {"bounce": bounce | ({"diagnosticCode": f"smtp; {reply}"} if reply else {})}


def _failed(event: Event) -> Mapping[str, Any]:
    return {"failed": {"reason": event.data.get("reason") or event.data.get("reply") or ""}}


def _suppressed(event: Event) -> Mapping[str, Any]:
    message = f"The address is suppressed: {event.data['reason'].replace('_', ' ')}."
    return {"suppressed": {"message": message, "type": SUPPRESSED}}


def _visit(name: str, time: str) -> Callable[[Event], Mapping[str, Any]]:
    def shown(event: Event) -> Mapping[str, Any]:
        """`automated`: by a program, not a person. The address is kept only where the settings say so."""
        facts = event.data
        visit = {
            "ipAddress": facts.get("address", ""),
            "timestamp": moment(facts.get(time, event.created_at)),
            "userAgent": facts.get("user_agent", ""),
            "automated": facts.get("automated", False),
        }
        return {name: visit if "url" not in facts else {"link": facts["url"], **visit}}

    return shown


EXTRAS: Final[Mapping[str, Callable[[Event], Mapping[str, Any]]]] = {
    "message.bounced": _bounce,
    "message.failed": _failed,
    "message.suppressed": _suppressed,
    "message.opened": _visit("open", "opened_at"),
    "message.clicked": _visit("click", "clicked_at"),
}


def _suppression(event: Event) -> Mapping[str, Any]:
    return {
        "id": event.resource_id,
        "email": event.data["email"],
        "origin": origin(event.data["reason"]),
        "source_id": event.message_id,
        "created_at": moment(event.data.get("suppressed_at", event.created_at)),
    }


def _domain(event: Event, about: About) -> Mapping[str, Any]:
    if about.domain is None:
        return {"id": event.resource_id, "name": event.data.get("domain")}
    shown: dict[str, Any] = msgspec.to_builtins(domains.summary(about.domain))
    return shown | {"records": msgspec.to_builtins(domains.records(about.domain))}


def _received(message: InboundMessage) -> Mapping[str, Any]:
    """Its words are fetched by `email_id`."""
    shown: dict[str, Any] = msgspec.to_builtins(receiving.summary(message))
    return {"email_id": shown.pop("id"), **shown}
