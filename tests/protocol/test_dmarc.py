"""DMARC: records, the walk up the tree, alignment (RFC 7489, RFC 9989)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.dmarc import MAX_LOOKUPS, Record, evaluate, names, parse_record


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("v=DMARC1; p=reject", Record("reject", "reject")),
        ("v=DMARC1;p=none;sp=quarantine;adkim=s;aspf=s", Record("none", "quarantine", True, True)),
        ("v = DMARC1 ; p = REJECT ; psd = y", Record("reject", "reject", public_suffix="y")),
        ("v=DMARC1; p=whatever", Record("none", "none")),
        ("p=reject; v=DMARC1", None),
        ("v=spf1 -all", None),
        ("v=DMARC12; p=reject", None),
    ],
)
def test_records(text: str, record: Record | None) -> None:
    assert parse_record(text) == record


@given(st.text())
def test_no_record_raises(text: str) -> None:
    parse_record(text)
    parse_record(f"v=DMARC1;{text}")


def test_the_walk_is_short_for_long_names() -> None:
    assert names("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com", "com"]
    long = names(".".join("abcdefghijkl"))
    assert len(long) == MAX_LOOKUPS and long[1].count(".") == 6


REJECT = {"example.com": Record("reject", "quarantine")}


@pytest.mark.parametrize(
    ("author", "records", "spf", "signers", "result", "policy"),
    [
        ("example.com", REJECT, "example.com", (), "pass", "reject"),
        ("example.com", REJECT, "bounce.example.com", (), "pass", "reject"),
        ("example.com", REJECT, "example.net", ("mail.example.com",), "pass", "reject"),
        ("example.com", REJECT, "example.net", ("badexample.com",), "fail", "reject"),
        ("news.example.com", REJECT, None, ("example.com",), "pass", "quarantine"),
        ("news.example.com", REJECT, None, (), "fail", "quarantine"),
        ("example.com", {}, "example.com", ("example.com",), "none", ""),
        ("example.com", {"example.com": Record("reject", "reject", True, True)}, "b.example.com", (), "fail", "reject"),
        (
            "a.co.example",
            {"co.example": Record("reject", "reject", public_suffix="y")},
            "b.co.example",
            (),
            "fail",
            "reject",
        ),
    ],
)
def test_evaluation(
    author: str, records: dict[str, Record], spf: str | None, signers: tuple[str, ...], result: str, policy: str
) -> None:
    found = evaluate(author, records, spf, signers)
    assert (found.result, found.policy) == (result, policy)
