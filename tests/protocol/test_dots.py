"""Dot-stuffing, whatever the chunks: what a server makes of our bytes is the message."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.dots import BareLineEnd, DotStuffer

LINES = st.lists(st.text(alphabet="a. \0é", max_size=4).map(str.encode), max_size=12)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[a:b] for a, b in itertools.pairwise(edges)]


def stuffed(chunks: Iterable[bytes]) -> list[bytes]:
    stuffer = DotStuffer()
    return [*map(stuffer.feed, chunks), stuffer.finish()]


def receive(wire: bytes) -> bytes:
    """A server's view: lines up to the lone dot, one leading dot taken off each."""
    taken = []
    while True:
        line, wire = wire.split(b"\r\n", 1)
        if line == b".":
            assert wire == b"", "something follows the final dot"
            return b"".join(taken)
        taken.append(line.removeprefix(b".") + b"\r\n")


@given(LINES, st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_a_message_survives_in_any_chunks(lines: list[bytes], ended: bool, places: list[int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    sent = content if ended else content.removesuffix(b"\r\n")
    expected = sent if sent.endswith(b"\r\n") or not sent else sent + b"\r\n"
    assert receive(b"".join(stuffed(cut(sent, places)))) == expected


@given(st.binary(max_size=40).map(lambda b: bytes(b"\r\n.a"[octet % 4] for octet in b)), st.lists(st.integers(0, 50)))
def test_a_bare_line_end_never_leaves(content: bytes, places: list[int]) -> None:
    clean = content.replace(b"\r\n", b"")
    if b"\r" in clean or b"\n" in clean:
        with pytest.raises(BareLineEnd):
            stuffed(cut(content, places))
    else:
        assert receive(b"".join(stuffed(cut(content, places)))).startswith(content)


def test_an_empty_message_is_only_the_dot() -> None:
    assert b"".join(stuffed([])) == b".\r\n"
