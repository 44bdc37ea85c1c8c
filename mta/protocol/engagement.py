"""Was it a person? What is known of one request for a pixel or a link, judged: None, or why it was a program.

Pure. Opens stay approximate whatever is done here: who shows no images is not seen, and a scanner that behaves like a
person is taken for one (docs/tracking.md has the rules in words).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

APPLE: Final = "Mozilla/5.0"  # all that Apple's Mail Privacy Protection says; it fetches whether anybody reads or not
# Google's and Yahoo's image proxies are not here: they fetch when a person opens the mail.
_PROGRAMS = re.compile(
    r"(?<!cu)bot\b|crawl|spider|preview|\bscan|headless|phantomjs|selenium|curl/|\bwget|python|go-http-client|\bjava/|libwww|"
    r"httpclient|http-client|axios|node-fetch|undici|guzzle|\bruby|\bperl|\bphp/|externalhit|barracuda|proofpoint|mimecast|"
    r"messagelabs|symantec|trend ?micro|fireeye|forcepoint|zscaler|sophos|ironport|cloudmark|avanan|safelinks|urldefense|"
    r"\bvade|virustotal|monitor|validator",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for what is in one recipient's copy: `at` is epoch ms, `url` the link, "" the pixel.

    `prefetch`: the client said so itself (Sec-Purpose, HEAD). `address` is whose it was, "" where that is not kept.
    """

    delivery_id: str
    url: str
    at: int
    user_agent: str
    address: str = ""
    prefetch: bool = False


def because(
    visit: Visit,
    delivered_at: int | None,
    clicks: Iterable[tuple[int, str]],
    *,
    soon_ms: int,
    together_ms: int,
) -> str | None:
    """Why it was a program, in a word; None: a person, as far as anybody can tell.

    `delivered_at` None: the recipient's server has not taken the message yet. `clicks` are those of the same copy.
    """
    if not visit.user_agent.strip():
        return "no_user_agent"
    if visit.prefetch:
        return "prefetch"
    if visit.user_agent.strip() == APPLE:
        return "privacy_proxy"
    if _PROGRAMS.search(visit.user_agent):
        return "scanner"
    if delivered_at is None or visit.at < delivered_at + soon_ms:
        return "at_delivery"
    if visit.url and any(url != visit.url and abs(at - visit.at) <= together_ms for at, url in clicks):
        return "links_at_once"
    return None
