"""What people type, judged before a store is asked: recipients over HTTP, options in header fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.accept.options import merge
from mta.accept.recipients import judge
from mta.errors import InvalidInput
from mta.model import Options
from mta.protocol import hygiene
from mta.protocol.address import parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann.O'Neil+tag@Example.ORG", "Ann.O'Neil+tag@example.org"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@app.test", "ann@app.test"),
    ],
)
def test_an_address_over_http(text: str, expected: str) -> None:
    assert str(judge(text, field="to")) == expected


@pytest.mark.parametrize(
    "text",
    ["", "ann", "ann@", "@example.org", "ann@gmail", "a b@example.org", "a@b@example.org", "a@example.org\r\nX: y"],
)
def test_no_address_over_http(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        judge(text, field="to[0]")
    assert (caught.value.code, caught.value.field) == ("invalid_recipient", "to[0]")


@given(st.text(max_size=80) | st.emails() | st.from_regex(r"[\\w.\"'+-]{1,70}@[\\w.\\[\\]:-]{1,80}", fullmatch=True))
def test_an_address_is_judged_whatever_it_is(text: str) -> None:
    try:
        address = judge(text, field="to")
    except InvalidInput:
        return
    assert parse_address(str(address)) == address


@given(
    st.builds(
        hygiene.Options,
        tags=st.lists(st.text(max_size=600), max_size=60).map(tuple),
        metadata=st.dictionaries(st.text(max_size=600), st.text(max_size=600), max_size=60),
        stream=st.none() | st.text(),
        track=st.none() | st.text() | st.sampled_from(["opens", "opens, clicks", "none", "", "opens,none"]),
    )
)
def test_options_are_valid_or_refused(fields: hygiene.Options) -> None:
    try:
        merged = merge(Options(), fields)
    except InvalidInput:
        return
    assert len(merged.tags) <= 50 and all(name and len(name + value) <= 1000 for name, value in merged.tags.items())
    assert merged.stream.isascii() and 0 < len(merged.stream) <= 64
