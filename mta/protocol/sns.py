"""Amazon SES tells of bounces and complaints in JSON, wrapped by SNS or alone; mail carries it too."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

MAX_JSON = 256 * 1024
_NESTING = 20  # brackets deep; json.loads recurses


@dataclass(frozen=True, slots=True)
class SesRecipient:
    address: str
    status: str = ""
    action: str = ""
    diagnostic: str = ""


@dataclass(frozen=True, slots=True)
class SesNotification:
    """`kind` as Amazon names it: Bounce, Complaint, Delivery."""

    kind: str
    recipients: tuple[SesRecipient, ...]
    message_id: str = ""
    sub_type: str = ""


def find_notification(text: str) -> SesNotification | None:
    """The notification at the start of `text`, or None. A line broken inside a string by the mailer is mended."""
    start = text[:200].lstrip()
    if not start.startswith("{") or "otificationType" not in text[:MAX_JSON]:
        return None
    outer = _object(text)
    inner = _object(outer["Message"]) if isinstance(outer.get("Message"), str) else outer
    kind = inner.get("notificationType", inner.get("eventType"))
    details = inner.get(str(kind).lower())
    if kind not in ("Bounce", "Complaint", "Delivery") or not isinstance(details, dict):
        return None
    listed = details.get({"Bounce": "bouncedRecipients", "Complaint": "complainedRecipients"}.get(kind, "recipients"))
    mail = inner.get("mail")
    return SesNotification(
        kind,
        tuple(_recipient(entry) for entry in (listed if isinstance(listed, list) else [])[:1000]),
        str(mail.get("messageId", "")) if isinstance(mail, dict) else "",
        str(details.get("bounceSubType", "")),
    )


def _recipient(entry: Any) -> SesRecipient:
    if not isinstance(entry, dict):
        return SesRecipient(str(entry))
    fields = [str(entry.get(name, "")) for name in ("emailAddress", "status", "action", "diagnosticCode")]
    return SesRecipient(*fields)


def _object(text: str) -> dict[str, Any]:
    """The first JSON object in `text`; empty where it is none, or nests deeper than an honest one."""
    text = text[:MAX_JSON].lstrip()
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > _NESTING:
        return {}
    for candidate in (text, re.sub(r"\n ?", "", text)):
        try:
            value, _ = json.JSONDecoder(strict=False).raw_decode(candidate)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else {}
    return {}
