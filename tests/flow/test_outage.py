"""A site that suddenly refuses everybody is held; one with a bad list is not, and no hold is for ever."""

from mta.outbound.outage import BASELINE, LONGEST_MS, WINDOW, Outages


def usual(outages: Outages, share: float = 0.0, site: str = "a") -> None:
    for number in range(BASELINE + 3 * WINDOW):
        outages.answered(site, share > 0 and number % round(1 / share) == 0, 0)


def test_a_sudden_wave_of_refusals_is_held_once() -> None:
    outages = Outages()
    usual(outages)
    told = [outages.answered("a", True, 1) for _ in range(WINDOW)]
    assert told.count(True) == 1 and told.index(True) == WINDOW // 2 - 1
    assert outages.held("a") and not outages.held("b")


def test_it_ends_with_the_calm() -> None:
    outages = Outages()
    usual(outages)
    for _ in range(WINDOW):
        outages.answered("a", True, 1)
    for _ in range(WINDOW):
        outages.answered("a", False, 2)
    assert not outages.held("a")


def test_a_bad_list_is_nothing_sudden() -> None:
    outages = Outages()
    usual(outages, share=0.25)
    assert not any(outages.answered("a", True, 1) for _ in range(WINDOW))


def test_a_new_site_has_no_usual() -> None:
    outages = Outages()
    assert not any(outages.answered("a", True, 1) for _ in range(WINDOW))


def test_after_a_day_it_is_believed() -> None:
    outages = Outages()
    usual(outages)
    for _ in range(WINDOW):
        outages.answered("a", True, 1)
    outages.answered("a", True, LONGEST_MS + 2)
    assert not outages.held("a")
