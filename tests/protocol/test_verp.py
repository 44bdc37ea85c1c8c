"""Return-path tokens: only ours, only for a while, whatever the peer does to their case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol import verp
from mta.protocol.address import parse_address

KEY, OTHER = b"k" * 32, b"o" * 32
DAY = 20_500
ID = "dlv_01khhvyc00e1eda8af6p46syqk"


def test_a_token_names_its_delivery() -> None:
    local = verp.encode(ID, KEY, DAY)
    assert verp.decode(local, [KEY], DAY) == ID
    assert len(local) <= 64
    assert local == local.lower()
    assert str(parse_address(f"{local}@bounce.example")) == f"{local}@bounce.example"


@given(st.integers(0, (1 << 128) - 1), st.integers(0, 60_000), st.binary(min_size=16, max_size=64))
def test_every_id_survives(number: int, day: int, key: bytes) -> None:
    letters = "0123456789abcdefghjkmnpqrstvwxyz"
    delivery = "dlv_" + "".join(letters[(number >> shift) & 31] for shift in range(125, -1, -5))
    local = verp.encode(delivery, key, day)
    assert verp.decode(local.upper(), [key], day) == delivery


@pytest.mark.parametrize(
    ("later", "valid"), [(-2, False), (-1, True), (0, True), (30, True), (31, False), (3000, False)]
)
def test_tokens_are_good_for_thirty_days(later: int, valid: bool) -> None:
    found = verp.decode(verp.encode(ID, KEY, DAY), [KEY], DAY + later)
    assert found == (ID if valid else None)


def test_keys_rotate() -> None:
    local = verp.encode(ID, OTHER, DAY)
    assert verp.decode(local, [KEY], DAY) is None
    assert verp.decode(local, [KEY, OTHER], DAY) == ID
    assert verp.decode(local, [], DAY) is None


@given(st.integers(0, 47), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_no_letter_can_be_changed(place: int, letter: str) -> None:
    local = verp.encode(ID, KEY, DAY)
    changed = local[: 2 + place] + letter + local[3 + place :]
    assert (verp.decode(changed, [KEY], DAY) == ID) == (changed == local)


def test_a_shared_path_says_so_and_cannot_be_made_of_one_s_own() -> None:
    own, shared = verp.encode(ID, KEY, DAY), verp.encode(ID, KEY, DAY, shared=True)
    assert verp.decode(shared.upper(), [KEY], DAY) == ID
    assert (verp.is_shared(own), verp.is_shared(shared), verp.is_shared(shared.upper())) == (False, True, True)
    assert verp.decode(verp.SHARED_PREFIX + own[2:], [KEY], DAY) is None
    assert verp.decode(verp.PREFIX + shared[2:], [KEY], DAY) is None


@given(st.text(max_size=80))
def test_no_local_part_raises(text: str) -> None:
    assert verp.decode(text, [KEY], DAY) is None
    assert verp.decode(verp.PREFIX + text, [KEY], DAY) is None


@pytest.mark.parametrize("wrong", ["", "msg_" + ID[4:], ID[:-1], ID + "0", "dlv_" + "z" * 26, "dlv_" + "u" * 26])
def test_only_deliveries_have_tokens(wrong: str) -> None:
    with pytest.raises(ValueError):
        verp.encode(wrong, KEY, DAY)
