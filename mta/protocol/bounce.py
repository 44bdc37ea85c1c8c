"""What a message from the world says about mail that we sent: bounce, complaint, auto-reply, delivery notice, or none.

Stands at the end of inbound/dispatch. A report for machines (RFC 3464, 5965) is read first, then the words for people;
what a refusal means is judged by the ordered rules of protocol/verdict. Never raises, in time linear in the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from mta.protocol.arf import Complaint, find_complaint, returned_headers
from mta.protocol.autoreply import is_auto_reply
from mta.protocol.bounce_signs import from_daemon, is_bounce, is_delay, is_forwarded
from mta.protocol.bounce_text import Mention, find_command, find_recipients, find_reply, report_text
from mta.protocol.dsn import (
    DeliveryStatus,
    RecipientStatus,
    find_delivery_status,
    parse_status,
    read_indented,
)
from mta.protocol.mime_parts import Part, parse_fields, parse_parts
from mta.protocol.sns import SesNotification, find_notification
from mta.protocol.verdict import BounceType, Rules, Verdict, find_code, find_enhanced

Kind = Literal["bounce", "complaint", "auto_reply", "delivered", "message"]

_SUCCESS = ("delivered", "relayed", "expanded", "deliverable")
_VAGUE = re.compile(r"[45]\.(?:0\.0|4\.7|5\.0)")


@dataclass(frozen=True, slots=True)
class Bounced:
    """One recipient of a report. `action` is failed, delayed (settles nothing), or one of RFC 3464's successes.

    `address` is whom we wrote to, as far as the report says it: "" where it names nobody, then only the return path that
    it came to can tell. `final_address` is its Final-Recipient, where it has one.
    """

    address: str
    action: str
    status: str | None
    type: BounceType
    reason: str
    rule: str
    diagnostic: str
    final_address: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message is; `message_id` is that of the message it returns, `envelope_id` our ENVID (RFC 3461)."""

    kind: Kind
    recipients: tuple[Bounced, ...] = ()
    envelope_id: str = ""
    message_id: str = ""
    complaint: Complaint | None = None


def read_message(data: bytes, rules: Rules) -> Reading:
    """Reads a raw message; any bytes are a message."""
    root = _report_inside(parse_parts(data))
    complaint = find_complaint(root)
    if complaint:
        return Reading("complaint", _complained(complaint.recipients), "", complaint.message_id, complaint)
    text, returned = report_text(root)
    notification = find_notification(text)
    if notification:
        return _from_ses(notification, rules)
    message_id = next((v.strip("<> ") for n, v in returned_headers(root) if n == "message-id"), "")
    status = find_delivery_status(root)
    returns = bool(message_id or returned)
    if (
        (status is None or not status.recipients)
        and "final-recipient" in text.lower()
        and is_bounce(root, text, returns, named=True)
    ):
        inline = read_indented(text)
        status = inline if inline.recipients else status
    judge = _Judge(rules, text)
    if status and status.recipients and not is_forwarded(root):
        return _from_status(status, root, judge, message_id)
    mentions = find_recipients(text, root.header("x-failed-recipients"), _strangers(root))
    if not mentions:  # nobody is named: to whom was the message that comes back?
        fields = returned_headers(root) or parse_fields(returned)
        mentions = find_recipients(next((v for n, v in fields if n == "to"), "")[:1000], "", frozenset())
        mentions = [Mention(mention.address, text) for mention in mentions]
    if is_bounce(root, text, returns, named=bool(mentions)):
        action = "delayed" if is_delay(text) else "failed"
        bounced = tuple(_from_text(mention, action, judge) for mention in mentions or [Mention("", text)])
        return Reading("bounce", bounced, status.envelope_id if status else "", message_id)
    receipt = any(part.content_type == "message/disposition-notification" for part in root.walk())
    return Reading("auto_reply" if receipt or is_auto_reply(root) else "message", message_id=message_id)


def _report_inside(root: Part) -> Part:
    """A gateway may wrap a report into a message of its own; a person who forwards one has a name."""
    if root.content_type == "multipart/report" or not from_daemon(root):
        return root
    messages = (part.parts[0] for part in root.walk() if part.content_type == "message/rfc822" and part.parts)
    return next((m for m in messages if m.parameters.get("report-type", "").lower() == "delivery-status"), root)


def _strangers(root: Part) -> frozenset[str]:
    """Addresses in the report's own header: who wrote it and who gets it."""
    fields = " ".join(root.header(name)[:2000] for name in ("from", "to", "return-path", "reply-to", "delivered-to"))
    return frozenset(found.lower() for found in re.findall(r"[^\s<>()\",;:@]{1,64}@[^\s<>()\",;:@]{1,255}", fields))


@dataclass(slots=True)
class _Judge:
    """The rules, and the words of the whole report: these are read once, not once a recipient."""

    rules: Rules
    text: str
    reply: str = ""
    command: str = ""
    known: dict[tuple[str, str | None, str], Verdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reply, self.command = find_reply(self.text), find_command(self.text)

    def weigh(self, evidence: tuple[str, ...], status: str | None, command: str) -> Verdict:
        """The first piece whose words a rule knows decides, "trouble over there" last; else the numbers do."""
        verdicts = [self._judged(text, status, command) for text in evidence if text]
        spoken = [verdict for verdict in verdicts if verdict.by_text]
        precise = [verdict for verdict in spoken if verdict.reason != "system"]
        numbered = [verdict for verdict in verdicts if verdict.rule]
        return next(iter(precise or spoken or numbered), None) or self._judged("", status, command)

    def _judged(self, text: str, status: str | None, command: str) -> Verdict:
        key = (text, status, command)
        if key not in self.known:
            self.known[key] = self.rules.judge(find_code(text), status, text, command)
        return self.known[key]


def _from_status(status: DeliveryStatus, root: Part, judge: _Judge, message_id: str) -> Reading:
    """A report for machines, with the words for people where its fields say little."""
    mentions = {m.address.lower(): m.text for m in find_recipients(judge.text, "", _strangers(root))}
    alone = judge.text if len(status.recipients) == 1 else ""
    recipients = []
    for entry in status.recipients:
        names = (entry.final_recipient.lower(), entry.original_recipient.lower())
        about = next((mentions[name] for name in names if name in mentions), alone)
        recipients.append(_succeeded(entry) if entry.action in _SUCCESS else _from_entry(entry, about, judge))
    failed = any(r.action not in _SUCCESS for r in recipients)
    return Reading("bounce" if failed else "delivered", tuple(recipients), status.envelope_id, message_id)


def _succeeded(entry: RecipientStatus) -> Bounced:
    address = entry.address or entry.final_recipient
    return Bounced(address, entry.action, entry.status, "unknown", "other", "", entry.diagnostic, entry.final_recipient)


def _from_entry(entry: RecipientStatus, about: str, judge: _Judge) -> Bounced:
    whole = about is judge.text
    reply = judge.reply if whole else find_reply(about)
    said = find_enhanced(entry.diagnostic)
    status = said if said and not said.endswith(".0.0") else entry.status
    if status is None or _VAGUE.fullmatch(status):
        heard = find_enhanced(reply)
        status = heard if heard and not heard.endswith(".0.0") else status or heard
    command = find_command(f"{entry.diagnostic}\n{about}")
    verdict = judge.weigh((entry.diagnostic, reply, about), status, command)
    action = "delayed" if entry.action == "delayed" else "failed"
    address = entry.address or entry.final_recipient
    return Bounced(
        address,
        action,
        status,
        verdict.type,
        verdict.reason,
        verdict.rule,
        entry.diagnostic or reply,
        entry.final_recipient,
    )


def _from_text(mention: Mention, action: str, judge: _Judge) -> Bounced:
    whole = mention.text is judge.text
    reply = judge.reply if whole else find_reply(mention.text)
    status = find_enhanced(reply) or find_enhanced(mention.text)
    if not status and not reply:
        reply = judge.reply
        status = find_enhanced(reply)
    command = ("" if whole else find_command(mention.text)) or judge.command
    verdict = judge.weigh((reply, mention.text, judge.text), status, command)
    return Bounced(mention.address, action, status, verdict.type, verdict.reason, verdict.rule, reply)


def _complained(addresses: tuple[str, ...]) -> tuple[Bounced, ...]:
    return tuple(Bounced(address, "complained", None, "unknown", "other", "", "") for address in addresses)


def _from_ses(notification: SesNotification, rules: Rules) -> Reading:
    addresses = tuple(r.address for r in notification.recipients)
    if notification.kind == "Complaint":
        complaint = Complaint("abuse", addresses, notification.message_id)
        return Reading("complaint", _complained(addresses), "", notification.message_id, complaint)
    recipients = []
    judge = _Judge(rules, notification.sub_type)
    for entry in notification.recipients:
        status = find_enhanced(entry.diagnostic) or parse_status(entry.status)
        verdict = judge.weigh((entry.diagnostic, notification.sub_type), status, find_command(entry.diagnostic))
        action = "failed" if notification.kind == "Bounce" else "delivered"
        recipients.append(
            Bounced(entry.address, action, status, verdict.type, verdict.reason, verdict.rule, entry.diagnostic)
        )
    kind: Kind = "bounce" if notification.kind == "Bounce" else "delivered"
    return Reading(kind, tuple(recipients), "", notification.message_id)
