"""Links to files: what goes in comes out, and nobody can make one up or give it another hour."""

from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.downloads import FileLink, decode, encode

KEY = b"k" * 32
LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=60)
LINKS = st.builds(FileLink, LINE, st.booleans(), LINE, LINE, st.integers(0, 2**50))
BILL = FileLink("org_1", False, "inm_1", "2", 1_800_000_000_000)


@given(LINKS)
def test_what_goes_in_comes_out(link: FileLink) -> None:
    token = encode(link, KEY)
    assert decode(token, KEY) == link
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_what_is_not_ours_is_nobodys(token: str) -> None:
    assert decode(token, KEY) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_token_is_not_ours(place: int, change: int) -> None:
    token = bytearray(encode(BILL, KEY), "ascii")
    token[place % len(token)] ^= change
    assert decode(token.decode("latin-1"), KEY) is None


def test_another_key_does_not_open_it() -> None:
    assert decode(encode(BILL, KEY), b"x" * 32) is None
