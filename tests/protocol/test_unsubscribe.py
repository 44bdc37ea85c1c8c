"""Links out of a stream: what goes in comes out, and nobody can make one up."""

from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.unsubscribe import Subscription, decode, encode

KEY = b"k" * 32
LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=60)
SUBSCRIPTIONS = st.builds(Subscription, LINE, st.booleans(), LINE, LINE, LINE)
ANN = Subscription("org_1", False, "news", "ann@example.org", "msg_1")


@given(SUBSCRIPTIONS)
def test_what_goes_in_comes_out(subscription: Subscription) -> None:
    token = encode(subscription, KEY)
    assert decode(token, KEY) == subscription
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_what_is_not_ours_is_nobodys(token: str) -> None:
    assert decode(token, KEY) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_token_is_not_ours(place: int, change: int) -> None:
    token = bytearray(encode(ANN, KEY), "ascii")
    place %= len(token)
    token[place] = token[place] ^ change
    changed = token.decode("latin-1")
    assert decode(changed, KEY) in (None, ANN)  # the last letter has spare bits
    assert place == len(token) - 1 or decode(changed, KEY) is None


def test_another_key_does_not_open_it() -> None:
    assert decode(encode(ANN, KEY), b"x" * 32) is None
