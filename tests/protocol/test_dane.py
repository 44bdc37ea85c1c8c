"""What TLSA records demand, and which certificates meet it: usages, selectors, hashes, paths, names, times."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.dane import DaneError, Tlsa, check, usable
from tests.fakes.certificates import NOW, Issued, issue

HOST = "mx.example.net"
ROOT = issue("An authority", ca=True)
MIDDLE = issue("Its department", ROOT, ca=True)
SERVER = issue(HOST, MIDDLE)
OTHER = issue(HOST)


def holds(issued: Issued, *records: tuple[int, int, int, bytes], presented: Sequence[bytes] | None = None) -> None:
    found = usable(records)
    assert found
    check(found, issued.presented() if presented is None else presented, HOST, NOW)


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize(("usage", "described"), [(3, SERVER), (2, MIDDLE), (2, ROOT)])
def test_what_a_record_describes_holds(usage: int, described: Issued, selector: int, matching: int) -> None:
    record = described.tlsa(usage, selector, matching)
    holds(SERVER, record)
    holds(SERVER, OTHER.tlsa(3), record)  # one of them is enough: keys roll
    with pytest.raises(DaneError):
        holds(OTHER, record)


def test_of_a_server_s_own_key_neither_name_nor_time_matters() -> None:
    for issued in (issue("elsewhere.example"), issue(HOST, days=-1), issue(HOST, ROOT, days=-1)):
        holds(issued, issued.tlsa(3))


@pytest.mark.parametrize(
    ("server", "result"),
    [
        (issue("elsewhere.example", MIDDLE), "certificate-host-mismatch"),
        (issue(HOST, MIDDLE, days=-1), "certificate-expired"),
        (issue(HOST, issue("Its department", ROOT, ca=False)), "certificate-not-trusted"),
        (issue(HOST, issue("Its department", ROOT, ca=None)), "certificate-not-trusted"),
        (Issued(OTHER.certificate, OTHER.key, (OTHER.certificate, ROOT.certificate)), "certificate-not-trusted"),
    ],
    ids=["name", "time", "no authority", "does not say", "not signed by it"],
)
def test_an_authority_vouches_for_name_and_time(server: Issued, result: str) -> None:
    with pytest.raises(DaneError) as refused:
        holds(server, ROOT.tlsa(2))
    assert refused.value.result == result


def test_an_authority_in_full_need_not_be_presented_and_a_hashed_one_must() -> None:
    presented = SERVER.presented()[:1]
    holds(SERVER, MIDDLE.tlsa(2, 0, 0), presented=presented)
    with pytest.raises(DaneError):
        holds(SERVER, MIDDLE.tlsa(2, 0, 1), presented=presented)


def test_a_server_is_not_its_own_authority() -> None:
    for selector, matching in ((1, 1), (0, 1), (0, 0)):
        with pytest.raises(DaneError):
            holds(OTHER, OTHER.tlsa(2, selector, matching))


@pytest.mark.parametrize("presented", [[], [b""], [b"\x30\x03junk"], [b"junk", *SERVER.presented()]])
def test_what_is_no_certificate_meets_nothing(presented: list[bytes]) -> None:
    for usage in (2, 3):
        with pytest.raises(DaneError):
            holds(SERVER, MIDDLE.tlsa(usage), presented=presented)


@pytest.mark.parametrize(
    "record",
    [
        SERVER.tlsa(0), SERVER.tlsa(1), SERVER.tlsa(4), (3, 2, 1, bytes(32)), (3, 1, 3, bytes(32)), (3, 1, 1, bytes(31)),
        (3, 1, 2, bytes(32)), (3, 0, 0, b""),
    ],
)  # fmt: skip
def test_records_that_authenticate_no_mail_server(record: tuple[int, int, int, bytes]) -> None:
    assert usable([record]) == ()
    assert usable([record, SERVER.tlsa(3)]) == (Tlsa(*SERVER.tlsa(3)),)


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 3), st.integers(0, 3), st.binary(max_size=80))),
    st.lists(st.binary(max_size=200) | st.sampled_from(SERVER.presented()), max_size=4),
    st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1)),
)
def test_hostile_records_and_certificates_are_refused_and_raise_nothing_else(
    records: list[tuple[int, int, int, bytes]], chain: list[bytes], now: datetime.datetime
) -> None:
    with pytest.raises(DaneError):
        check(usable(records), chain, HOST, now)
