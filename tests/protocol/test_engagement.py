"""Who is taken for a program, and who is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.engagement import Visit, because

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
PEOPLE = [
    CHROME,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "Mozilla/4.0 (compatible; ms-office; MSOffice rmj)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0",
    "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Mobile Safari/537.36",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17531; Pro)",
]
PROGRAMS = [
    "curl/8.5.0",
    "python-requests/2.32",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (Windows NT 6.1) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
    "SkypeUriPreview Preview/0.5",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
    "Barracuda Sentinel (EE)",
    "Go-http-client/1.1",
    "Java/17.0.1",
    "facebookexternalhit/1.1",
    "Mozilla/5.0 (compatible; Proofpoint URL Defense)",
]


def judged(
    url: str = "https://a.example/",
    agent: str = CHROME,
    *,
    at: int = 10_000,
    delivered: int | None = 0,
    clicks: list[tuple[int, str]] | None = None,
    prefetch: bool = False,
) -> str | None:
    visit = Visit("dlv", url, at, agent, prefetch=prefetch)
    return because(visit, delivered, clicks or [], soon_ms=2000, together_ms=1000)


@pytest.mark.parametrize("agent", PEOPLE)
def test_people(agent: str) -> None:
    assert judged(agent=agent) is None and judged("", agent) is None


@pytest.mark.parametrize("agent", PROGRAMS)
def test_programs(agent: str) -> None:
    assert judged(agent=agent) == "scanner"


def test_apple_fetches_whether_anybody_reads_or_not() -> None:
    assert judged("", "Mozilla/5.0") == "privacy_proxy"


def test_who_says_nothing_or_says_it() -> None:
    assert judged(agent="") == judged(agent="  ") == "no_user_agent"
    assert judged(prefetch=True) == "prefetch"


def test_at_delivery() -> None:
    assert judged(at=1999) == judged(delivered=None) == "at_delivery"
    assert judged(at=2000) is None


def test_links_at_once() -> None:
    other = "https://b.example/"
    assert judged(clicks=[(10_000, "https://a.example/"), (11_001, other), (8999, other)]) is None  # a double click
    assert judged(clicks=[(11_000, other)]) == judged(clicks=[(9000, other)]) == "links_at_once"
    assert judged("", clicks=[(10_000, other)]) is None  # the pixel is no link


@given(st.text(max_size=400), st.text(max_size=50), st.integers(0, 10**13))
def test_any_visit_is_judged(agent: str, url: str, at: int) -> None:
    assert judged(url, agent, at=at) in (None, "no_user_agent", "privacy_proxy", "scanner", "at_delivery")
