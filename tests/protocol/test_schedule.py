"""When to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Retry
from mta.protocol.reply import Reply
from mta.protocol.schedule import Schedule, asked_wait

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
NOW = 1_771_200_000_000
RETRY = Retry()
next_attempt = Schedule(RETRY.schedule_s, RETRY.jitter_percent, RETRY.greylist_s).next_attempt


@pytest.mark.parametrize(
    ("made", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 120), (7, 240), (8, 240), (100, 240)]
)
def test_the_steps(made: int, minutes: int) -> None:
    assert next_attempt(made, NOW, NOW + 5 * DAY, 0.0) == NOW + minutes * MINUTE


def test_jitter_spreads_a_tenth_both_ways() -> None:
    assert next_attempt(2, NOW, NOW + DAY, 1.0) == NOW + 11 * MINUTE
    assert next_attempt(2, NOW, NOW + DAY, -1.0) == NOW + 9 * MINUTE
    assert next_attempt(2, NOW, NOW + DAY, 50.0) == NOW + 11 * MINUTE


def test_the_last_attempt_is_made_shortly_before_the_expiry() -> None:
    assert next_attempt(7, NOW, NOW + 60 * MINUTE, 0.0) == NOW + 59 * MINUTE
    assert next_attempt(7, NOW, NOW + MINUTE, 0.0) is None


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("Greylisted, please try again in 300 seconds", 5),
        ("Greylisting in action, please come back in 00:12:30", 12.5),
        ("try again after 10 minutes", 10),
        ("retry in 2h", 120),
        ("try again in 1 second", 1),
        ("try again in 999999 hours", 240),
        ("Greylisted for 3 min", 3),
        ("come back later", None),
        ("version 2.3 at 192.0.2.1", None),
    ],
)
def test_what_a_greylisting_reply_asks(text: str, minutes: float | None) -> None:
    assert asked_wait(text) == (None if minutes is None else minutes * MINUTE)


def test_greylisting_waits_as_long_as_it_says_and_not_less() -> None:
    reply = Reply(451, "Greylisted, try again in 600 seconds", "4.7.1", "RCPT")
    assert next_attempt(1, NOW, NOW + DAY, 0.0, reply, "greylisted") == NOW + 10 * MINUTE
    assert next_attempt(1, NOW, NOW + DAY, -1.0, reply, "greylisted") == NOW + 11 * MINUTE
    assert next_attempt(3, NOW, NOW + DAY, 0.0, None, "greylisted") == NOW + 5 * MINUTE


def test_endless_greylisting_is_an_ordinary_deferral() -> None:
    assert next_attempt(7, NOW, NOW + DAY, 0.0, None, "greylisted") == NOW + 240 * MINUTE


@given(st.integers(-5, 200), st.integers(0, 10 * DAY), st.floats(-2, 2), st.text(max_size=50), st.booleans())
def test_the_next_attempt_is_later_and_not_past_the_expiry(
    made: int, left: int, jitter: float, text: str, grey: bool
) -> None:
    due = next_attempt(made, NOW, NOW + left, jitter, Reply(451, text), "greylisted" if grey else "system")
    if left < 2 * MINUTE:
        assert due is None or due < NOW + left
    else:
        assert due is not None and NOW < due < NOW + left
