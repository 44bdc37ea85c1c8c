"""The operator's commands for limits, reviews and reputation, against the real daemon."""

import json

from tests.e2e.daemon import Daemon

MAIL = {"from": "a@example.org", "to": "b@example.net", "subject": "x", "text": "x"}


def test_the_operator_sets_limits_and_reviews(daemon: Daemon) -> None:
    key = daemon.key()
    shown = daemon.cli("org", "set", "default", "--limits", "minute=1000,day=1", "--review", "approved", "--json")
    assert json.loads(shown.stdout)["settings"] == {"limits": {"per_minute": 1000, "per_day": 1}, "review": "approved"}
    assert daemon.api("POST", "/v1/mail/send", MAIL, key)[0] == 202
    status, refused = daemon.api("POST", "/v1/mail/send", MAIL, key)
    assert (status, refused["error"]["code"]) == (429, "day_limit_reached")
    limits = daemon.api("GET", "/v1/mail/limits", key=key)[1]["data"]
    assert (limits["dailyLimit"], limits["dailyUsed"], limits["manualReviewStatus"]) == (1, 1, "approved")
    assert "per" not in daemon.cli("org", "set", "default", "--limits", "minute=none,day=none").stdout
    assert daemon.api("POST", "/v1/mail/send", MAIL, key)[0] == 202
    daemon.cli("org", "set", "default", "--review", "rejected")
    status, refused = daemon.api("POST", "/v1/mail/send", MAIL, key)
    assert (status, refused["error"]["code"]) == (403, "review_rejected")
    assert daemon.cli("org", "set", "default", "--limits", "week=1", check=False).returncode == 2
    assert daemon.cli("org", "set", "default", "--tier", "starter", "--limits", "day=1", check=False).returncode == 1


def test_the_operator_clears_a_reputation(daemon: Daemon) -> None:
    key = daemon.key()
    assert "default is healthy" in daemon.cli("org", "clear", "default").stderr
    assert "example.org is healthy" in daemon.cli("org", "clear", "default", "--domain", "example.org").stderr
    assert daemon.cli("org", "clear", "default", "--domain", "no.example", check=False).returncode == 1
    events = daemon.api("GET", "/v1/mail/reputation/events", key=key)[1]["data"]["data"]
    assert [event["metadata"]["scope"] for event in events] == ["domain", "workspace"]
