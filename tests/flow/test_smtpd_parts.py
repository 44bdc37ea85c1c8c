"""The small parts of the listener: the throttle of logins, and what a failure is called on the wire."""

from __future__ import annotations

import errno

import pytest

from mta import errors
from mta.smtpd.failures import MAX_TEXT, reply_for
from mta.smtpd.throttle import LoginThrottle

MINUTE = 60_000


def test_a_window_of_failures() -> None:
    throttle = LoginThrottle(failures=3, window_ms=5 * MINUTE)
    for at in (0, MINUTE, 2 * MINUTE):
        assert not throttle.blocked("192.0.2.1", at)
        throttle.failed("192.0.2.1", at)
    assert throttle.blocked("192.0.2.1", 2 * MINUTE)
    assert not throttle.blocked("192.0.2.2", 2 * MINUTE)
    assert throttle.blocked("192.0.2.1", 5 * MINUTE - 1)
    assert not throttle.blocked("192.0.2.1", 5 * MINUTE)
    throttle.failed("192.0.2.1", 5 * MINUTE)
    assert not throttle.blocked("192.0.2.1", 5 * MINUTE)


def test_a_good_login_forgives() -> None:
    throttle = LoginThrottle(failures=2)
    throttle.failed("192.0.2.1", 0)
    throttle.succeeded("192.0.2.1")
    throttle.failed("192.0.2.1", 1)
    assert not throttle.blocked("192.0.2.1", 2)


def test_one_ipv6_network_is_one_client() -> None:
    throttle = LoginThrottle(failures=2)
    throttle.failed("2001:db8::1", 0)
    throttle.failed("2001:db8::ffff:2", 0)
    assert throttle.blocked("2001:db8::3", 1)
    assert not throttle.blocked("2001:db8:0:1::3", 1)


def test_the_table_has_a_bound() -> None:
    throttle = LoginThrottle(failures=1, capacity=2)
    for last in range(3):
        throttle.failed(f"192.0.2.{last}", last)
    assert [throttle.blocked(f"192.0.2.{last}", 3) for last in range(3)] == [False, True, True]


@pytest.mark.parametrize(
    ("error", "command", "reply"),
    [
        (errors.InvalidInput("No"), "MESSAGE", "550 5.6.0 No"),
        (errors.Unprocessable("No"), "MESSAGE", "550 5.6.0 No"),
        (errors.InvalidInput("No"), "MAIL", "553 5.1.7 No"),
        (errors.InvalidInput("No"), "RCPT", "553 5.1.3 No"),
        (errors.Forbidden("No"), "MESSAGE", "550 5.7.1 No"),
        (errors.NotFound("No"), "RCPT", "550 5.1.1 No"),
        (errors.Unauthenticated("No"), "LOGIN", "535 5.7.8 No"),
        (errors.Unauthenticated("No"), "MAIL", "530 5.7.0 No"),
        (errors.PaymentRequired("No"), "MESSAGE", "452 4.7.1 No"),
        (errors.LimitReached("No", retry_after=1), "MESSAGE", "451 4.7.1 No"),
        (errors.LimitReached("No", retry_after=1), "RCPT", "452 4.7.1 No"),
        (errors.TooLarge("No"), "MESSAGE", "552 5.3.4 No"),
        (errors.Unavailable("No"), "MAIL", "451 4.3.0 No"),
        (errors.StorageFull("No"), "MESSAGE", "452 4.3.1 No"),
        (errors.Conflict("No"), "MESSAGE", "554 5.6.0 No"),
        (OSError(errno.ENOSPC, "x"), "MESSAGE", "452 4.3.1 There is no room for this message now; try again later"),
        (OSError(errno.EIO, "x"), "MESSAGE", "451 4.3.0 Something went wrong here; try again later"),
        (KeyError("secret"), "MAIL", "451 4.3.0 Something went wrong here; try again later"),
    ],
)
def test_failures_on_the_wire(error: Exception, command: str, reply: str) -> None:
    assert str(reply_for(error, command)) == reply


def test_the_text_of_a_failure_stays_in_its_line() -> None:
    assert reply_for(errors.Forbidden("a\r\n250 ok\x00é"), "MAIL").text == "a 250 ok??"
    assert len(reply_for(errors.Forbidden("x" * 9999), "MAIL").text) == MAX_TEXT
