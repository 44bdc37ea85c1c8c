"""What a peer's reply or a broken connection means for the delivery: the one place that owns failure policy.

outbound/deliver asks here after every refusal, and lifecycle/settle writes down the answer.

Two things are decided. The kind: `delivered`, `deferred` (try again), `bounced` (their refusal is final), `failed` (we
gave up). The scope, what the refusal is about: this `recipient`; this `message` for all recipients of the transaction;
this `session`, so that the next host or connection may do better; or the whole `site`, which should be left alone.

A 5xx before MAIL speaks of us or of that host, never of the address, so it defers: an address must not be lost because
a host is misconfigured or dislikes our name. A 421 closes the session whatever it answers (RFC 5321 §3.8). A demand for
TLS or credentials is met by the operator, not by the recipient. RCPT is the only command whose refusal is about the
address; only there a verdict of `hard` stands. A connection that dies before the dot has delivered nothing; one that
dies between the dot and its reply may have: it is tried again, since losing mail is worse than a second copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from mta.protocol.reply import Reply
from mta.protocol.verdict import BounceType, Verdict

Kind = Literal["delivered", "deferred", "bounced", "failed"]
Scope = Literal["recipient", "message", "session", "site"]
TroubleKind = Literal["connection", "tls", "dns", "no_host", "no_mail_host"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """No reply came, and `text` says why. connection: refused, timed out, lost, or not SMTP; dns: no answer for now."""

    kind: TroubleKind
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """`type` and `reason` are the verdict's; `maybe_delivered` warns that the peer may have taken the message."""

    kind: Kind
    scope: Scope
    reply: Reply | None = None
    trouble: Trouble | None = None
    type: BounceType = "unknown"
    reason: str = "other"
    maybe_delivered: bool = False


# The first row decides whose stages (all, where empty), reply code and reason (any, where empty) fit.
# 552 to RCPT may mean too many recipients (RFC 5321 §4.5.3.1.10); the last row is for codes out of place.
_REPLIES: tuple[tuple[str, str, str, Kind, Scope], ...] = (
    ("dot",                 "2..",            "",                                     "delivered", "message"),
    ("banner",              "421|5..",        "reputation rate_limited reverse_dns",  "deferred",  "site"),
    ("",                    "421",            "",                                     "deferred",  "session"),
    ("banner ehlo helo",    "5..",            "",                                     "deferred",  "site"),
    ("mail rcpt data dot",  "523|53[0458]",   "",                                     "deferred",  "site"),
    ("mail rcpt data dot",  "4..",            "reputation reverse_dns",               "deferred",  "site"),
    ("rcpt",                "552",            "rate_limited",                         "deferred",  "recipient"),
    ("rcpt",                "4..",            "",                                     "deferred",  "recipient"),
    ("rcpt",                "5..",            "",                                     "bounced",   "recipient"),
    ("mail data dot",       "4..",            "",                                     "deferred",  "message"),
    ("mail data dot",       "5..",            "",                                     "bounced",   "message"),
    ("",                    "...",            "",                                     "deferred",  "session"),
)  # fmt: skip

_TROUBLES: dict[TroubleKind, tuple[Kind, Scope, BounceType, str]] = {
    "connection": ("deferred", "session", "soft", "network"),
    "tls": ("deferred", "session", "soft", "network"),
    "dns": ("deferred", "site", "soft", "network"),
    "no_host": ("bounced", "recipient", "hard", "unknown_host"),  # NXDOMAIN, RFC 5321 §5.1
    "no_mail_host": ("bounced", "recipient", "hard", "no_mail_host"),  # null MX, RFC 7505
}


def decide(stage: str, answer: Reply | Trouble, verdict: Verdict | None = None) -> Outcome:
    """What `answer` means. `verdict` is what the rules say about a refusal (protocol/verdict).

    `stage` is what was awaited, as net/smtp and the replies' commands name it: connect, banner, ehlo, helo, starttls,
    tls, mail, rcpt, data, block (the body), dot, rset, quit, idle.
    """
    if isinstance(answer, Trouble):
        kind, scope, type_, reason = _TROUBLES[answer.kind]
        return Outcome(kind, scope, None, answer, type_, reason, maybe_delivered=stage == "dot")
    reason = verdict.reason if verdict else "other"
    kind, scope = _row(stage, f"{answer.code:03}", reason)
    if kind == "delivered":
        return Outcome(kind, scope, answer)
    judged: BounceType = verdict.type if verdict else "unknown"
    return Outcome(kind, scope, answer, None, "soft" if judged == "hard" and scope != "recipient" else judged, reason)


def too_many_recipients(reply: Reply) -> bool:
    """A refusal of this RCPT that says nothing of the recipient: the transaction is full (RFC 5321 §4.5.3.1.10).

    Servers that name no enhanced code use 452 or 552 for full mailboxes too; the next transaction tells.
    """
    return reply.enhanced in ("4.5.3", "5.5.3") or (reply.code in (452, 552) and reply.enhanced is None)


def _row(stage: str, code: str, reason: str) -> tuple[Kind, Scope]:
    for stages, codes, reasons, kind, scope in _REPLIES:
        fits = (not stages or stage in stages.split()) and (not reasons or reason in reasons.split())
        if fits and re.fullmatch(codes, code):
            return kind, scope
    raise AssertionError("the last row fits everything")


def expired(last: Outcome) -> Outcome:
    """A deferral whose time is over: we gave up. The last answer stays, but proves nothing about the address."""
    return replace(last, kind="failed", type="soft" if last.type == "hard" else last.type, reason="expired")
