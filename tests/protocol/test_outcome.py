"""Failure policy: what each refusal means, by stage."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.outcome import Kind, Scope, Trouble, TroubleKind, decide, expired
from mta.protocol.reply import Reply
from mta.protocol.verdict import Verdict

STAGES = [
    "connect",
    "banner",
    "ehlo",
    "helo",
    "starttls",
    "tls",
    "mail",
    "rcpt",
    "data",
    "block",
    "dot",
    "rset",
    "quit",
    "idle",
]
TROUBLES: tuple[TroubleKind, ...] = get_args(TroubleKind)
DEAD = Verdict("hard", "unknown_user", "test", True)


def soft(reason: str) -> Verdict:
    return Verdict("soft", reason, "test", True)


@pytest.mark.parametrize(
    ("stage", "code", "verdict", "kind", "scope"),
    [
        ("dot", 250, None, "delivered", "message"),
        ("banner", 554, None, "deferred", "site"),
        ("banner", 554, soft("reputation"), "deferred", "site"),
        ("banner", 421, soft("rate_limited"), "deferred", "site"),
        ("banner", 421, None, "deferred", "session"),
        ("ehlo", 550, DEAD, "deferred", "site"),
        ("ehlo", 451, None, "deferred", "session"),
        ("helo", 550, None, "deferred", "site"),
        ("starttls", 454, None, "deferred", "session"),
        ("idle", 250, None, "deferred", "session"),
        ("tls", 454, None, "deferred", "session"),
        ("tls", 500, None, "deferred", "session"),
        ("mail", 421, None, "deferred", "session"),
        ("mail", 451, None, "deferred", "message"),
        ("mail", 450, soft("reputation"), "deferred", "site"),
        ("mail", 550, soft("policy"), "bounced", "message"),
        ("mail", 530, soft("auth_required"), "deferred", "site"),
        ("mail", 552, soft("too_large"), "bounced", "message"),
        ("rcpt", 450, soft("greylisted"), "deferred", "recipient"),
        ("rcpt", 421, DEAD, "deferred", "session"),
        ("rcpt", 550, DEAD, "bounced", "recipient"),
        ("rcpt", 552, soft("mailbox_full"), "bounced", "recipient"),
        ("rcpt", 552, soft("rate_limited"), "deferred", "recipient"),
        ("rcpt", 523, soft("auth_required"), "deferred", "site"),
        ("data", 451, None, "deferred", "message"),
        ("data", 554, None, "bounced", "message"),
        ("dot", 452, soft("system"), "deferred", "message"),
        ("dot", 552, soft("too_large"), "bounced", "message"),
        ("dot", 550, DEAD, "bounced", "message"),
        ("rset", 500, None, "deferred", "session"),
        ("dot", 354, None, "deferred", "session"),
        ("rcpt", 999, None, "deferred", "session"),
    ],
)
def test_replies(stage: str, code: int, verdict: Verdict | None, kind: Kind, scope: Scope) -> None:
    outcome = decide(stage, Reply(code, "text"), verdict)
    assert (outcome.kind, outcome.scope) == (kind, scope)
    assert outcome.reply == Reply(code, "text")
    assert not outcome.maybe_delivered


def test_only_a_refused_recipient_is_dead() -> None:
    assert decide("rcpt", Reply(550, "no such user"), DEAD).type == "hard"
    assert decide("dot", Reply(550, "no such user"), DEAD).type == "soft"
    assert decide("mail", Reply(550, "no such user"), DEAD).type == "soft"


@pytest.mark.parametrize("kind", ["connection", "tls"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_broken_connection_defers_and_warns_after_the_dot(stage: str, kind: TroubleKind) -> None:
    outcome = decide(stage, Trouble(kind, "connection lost"))
    assert (outcome.kind, outcome.scope) == ("deferred", "session")
    assert outcome.maybe_delivered == (stage == "dot")


def test_names_that_do_not_exist_are_dead_addresses() -> None:
    for kind, reason in (("no_host", "unknown_host"), ("no_mail_host", "no_mail_host")):
        outcome = decide("connect", Trouble(kind, "no"))  # type: ignore[arg-type]
        assert (outcome.kind, outcome.scope, outcome.type, outcome.reason) == ("bounced", "recipient", "hard", reason)
    assert decide("connect", Trouble("dns", "SERVFAIL")).kind == "deferred"


@given(st.sampled_from(STAGES), st.integers(0, 999), st.sampled_from([None, DEAD, soft("reputation")]))
def test_every_reply_has_an_outcome_and_none_but_a_2xx_to_the_dot_delivers(
    stage: str, code: int, verdict: Verdict | None
) -> None:
    outcome = decide(stage, Reply(code, ""), verdict)
    assert (outcome.kind == "delivered") == (stage == "dot" and 200 <= code < 300)
    if outcome.kind == "bounced":
        assert 500 <= code < 600 and stage in ("mail", "rcpt", "data", "dot")
    if outcome.type == "hard" and outcome.kind == "bounced":
        assert stage == "rcpt"


@pytest.mark.parametrize("kind", TROUBLES)
def test_every_trouble_has_an_outcome(kind: TroubleKind) -> None:
    assert decide("connect", Trouble(kind, "x")).trouble == Trouble(kind, "x")


def test_an_expired_deferral_has_failed_but_proves_nothing_about_the_address() -> None:
    last = decide("rcpt", Reply(450, "4.1.1 user unknown"), DEAD)
    assert (last.kind, last.type) == ("deferred", "hard")
    ended = expired(last)
    assert (ended.kind, ended.reason, ended.type, ended.reply) == ("failed", "expired", "soft", last.reply)
