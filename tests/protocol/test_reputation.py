"""Score and standing from counters alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Reputation
from mta.policy.reputation import BEGINS, judge

SETTINGS = Reputation()


@pytest.mark.parametrize(
    ("bounced", "complained", "status", "score"),
    [
        (0, 0, "healthy", 100),
        (100, 0, "healthy", 90),  # 1 %
        (200, 0, "watch", 80),
        (350, 0, "watch", 65),
        (500, 0, "throttled", 50),
        (750, 0, "throttled", 25),
        (1000, 0, "disabled", 0),
        (9000, 0, "disabled", 0),
        (0, 8, "watch", 80),  # 0.08 % of 10,000
        (0, 10, "throttled", 50),
        (0, 30, "disabled", 0),
        (200, 10, "throttled", 50),  # the worse one decides
    ],
)
def test_the_thresholds_are_the_corners_of_the_score(bounced: int, complained: int, status: str, score: int) -> None:
    delivered = 10_000 if complained else 10_000 - bounced
    counts = {"delivered": delivered, "bounced": bounced, "complained": complained}
    found = judge(counts, SETTINGS)
    if bounced and complained:
        assert found.status == status
    else:
        assert (found.status, found.score, found.judged) == (status, score, True)


def test_few_deliveries_and_few_complaints_judge_nothing() -> None:
    few = judge({"delivered": 1000, "bounced": 999}, SETTINGS)
    assert (few.status, few.score, few.judged) == ("healthy", 100, False)
    assert few.rates.bounce == pytest.approx(0.49975, abs=1e-4)
    assert judge({"delivered": 1000, "bounced": 1000}, SETTINGS).status == "disabled"
    assert judge({"delivered": 2000, "complained": 2}, SETTINGS).status == "healthy"
    assert judge({"delivered": 2000, "complained": 3}, SETTINGS).status == "throttled"


@given(st.integers(2000, 10**7), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**6))
def test_more_trouble_never_helps_and_score_and_status_agree(
    delivered: int, bounced: int, complained: int, more: int
) -> None:
    found = judge({"delivered": delivered, "bounced": bounced, "complained": complained}, SETTINGS)
    worse = judge({"delivered": delivered, "bounced": bounced + more, "complained": complained}, SETTINGS)
    assert worse.score <= found.score
    assert 0 <= found.score <= 100
    assert found.score <= dict(BEGINS)[found.status]
