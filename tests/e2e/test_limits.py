"""The operator's commands for limits, reviews, terms of usage and reputation, against the real daemon."""

import json
import smtplib
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.fakes.mx import ScriptedMx

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


def test_parallel_senders_stop_at_the_allowance_and_go_on_when_there_is_a_price(
    make_daemon: Start, sink: ScriptedMx
) -> None:
    """Over HTTP with 402, over SMTP with 452; what was accepted before is delivered."""
    sink.script["RCPT slow@example.net"] = ["451 4.3.0 Not now", "250 2.1.5 Ok"]
    daemon = make_daemon(sink.port, "[retry]\nschedule_s = [1]\n")
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    daemon.cli("org", "set", "default", "--allowance", "5")
    key = daemon.key()
    assert daemon.api("POST", "/v1/emails", {**MAIL, "to": "slow@example.net"}, key)[0] == 202

    def http(number: int) -> tuple[int, str]:
        status, answer = daemon.api("POST", "/v1/emails", {**MAIL, "to": f"h{number}@example.net"}, key)
        return status, answer.get("error", "")

    def smtp(number: int) -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", daemon.smtp) as client:
            client.login("app", key)
            client.mail("a@example.org")
            client.rcpt(f"s{number}@example.net")
            code, said = client.data("From: a@example.org\r\nSubject: x\r\n\r\nx")
        return code, said.decode()

    with ThreadPoolExecutor(8) as pool:
        told = [*pool.map(http, range(5)), *pool.map(smtp, range(5))]
    assert sum(code in (202, 250) for code, _ in told) == 4
    paused = {(code, said.partition(" has used")[0]) for code, said in told if code not in (202, 250)}
    assert paused <= {(402, "allowance_exhausted"), (452, "4.7.1 Organization default")}
    assert "slow@example.net" in {one.addresses[0] for one in sink.wait_messages(5)}

    daemon.cli("org", "set", "default", "--price", "1000", "--spend-cap", "0")
    assert http(9) == (402, "spend_cap_reached")
    code, said = smtp(9)
    assert code == 452 and said.startswith("4.7.1 Sending of organization default is paused: ")
    assert daemon.api("PUT", "/v1/billing/spend-cap", {"monthlySpendCapCents": None}, key)[0] == 200
    assert (http(9)[0], smtp(9)[0]) == (202, 250)
    assert len(sink.wait_messages(7)) == 7
    assert daemon.api("GET", "/v1/billing/usage", key=key)[1]["emailsSent"] == 7
