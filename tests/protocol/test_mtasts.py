"""MTA-STS records and policies as RFC 8461 writes them, and as strangers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.mtasts import MAX_AGE_S, PolicyError, StsPolicy, parse_policy, record_id

POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


def test_a_policy() -> None:
    assert parse_policy(POLICY) == StsPolicy("enforce", ("mail.example.com", "*.example.net"), 604_800)
    assert parse_policy(POLICY.replace("\r\n", "\n") + "new_key: 1\n\n") == parse_policy(POLICY)
    assert parse_policy("version: STSv1\nmode: none\nmax_age: 99999999\n") == StsPolicy("none", (), MAX_AGE_S)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("mx.example.net", True),
        ("a.mx.example.net", False),  # a star is one label
        ("example.net", False),
        ("other.example.com", False),
    ],
)
def test_which_hosts_it_names(host: str, named: bool) -> None:
    assert parse_policy(POLICY).names(host) is named


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1",
        "version: STSv1\nmode: strict\nmx: a.example\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmx: a.example",
        "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1",
        "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: ٣",
        "version: STSv1\nmode: enforce\nmx: *.*.example\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1",
    ],
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text)


@pytest.mark.parametrize(
    ("texts", "id"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=spf1 -all", "v=STSv1;id=1"], "1"),
        (["v=STSv1; extra=x; id=1"], "1"),
        (["v=STSv1; id=1", "v=STSv1; id=2"], None),  # two say nothing
        (["v=STSv10; id=1"], None),
        (["v=STSv1; id=" + "1" * 33], None),
        (["v=STSv1; id=a-b"], None),
        (["v=STSv1;"], None),
        (["id=1; v=STSv1"], None),
        ([], None),
    ],
)
def test_the_record_that_announces_it(texts: list[str], id: str | None) -> None:
    assert record_id(texts) == id


@given(st.one_of(st.text(), st.text(alphabet="versionmodeSTx*.:1 \r\n").map(lambda text: POLICY + text)))
def test_any_text_is_a_policy_or_an_error(text: str) -> None:
    try:
        policy = parse_policy(text)
    except PolicyError:
        return
    assert 0 <= policy.max_age_s <= MAX_AGE_S and (policy.hosts or policy.mode == "none")


@given(st.lists(st.text(alphabet="v=STSv1; id09\t"), max_size=3))
def test_any_record_is_read_or_passed_over(texts: list[str]) -> None:
    assert (record_id(texts) or "x").isalnum()
