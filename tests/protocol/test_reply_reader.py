"""Replies from bytes: what is one, what is not, and that nothing hostile does more than raise ProtocolTrouble."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.reply_reader import MAX_LINE, MAX_LINES, MAX_REPLY, ProtocolTrouble, ReplyReader

TEXTS = st.lists(
    st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=20), min_size=1
)
REPLIES = st.lists(st.tuples(st.integers(200, 599), TEXTS), max_size=5)


def read(*chunks: bytes) -> list[tuple[int, list[str]]]:
    reader, found = ReplyReader(), []
    for chunk in chunks:
        reader.feed(chunk)
        while (reply := reader.next_reply()) is not None:
            found.append(reply)
    return found


@given(REPLIES, st.integers(1, 9), st.sampled_from(["\r\n", "\n"]))
def test_replies_come_back_in_any_chunks(replies: list[tuple[int, list[str]]], step: int, end: str) -> None:
    wire = "".join(
        f"{code}{' ' if n == len(lines) - 1 else '-'}{line}{end}"
        for code, lines in replies
        for n, line in enumerate(lines)
    ).encode()
    assert read(*(wire[n : n + step] for n in range(0, len(wire), step))) == replies


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_noise_raises_nothing_else(chunks: list[bytes]) -> None:
    try:
        for code, lines in read(*chunks):
            assert 200 <= code <= 599
            assert lines
    except ProtocolTrouble:
        pass


@given(st.text("0123456789- \r\nab", max_size=60))
def test_near_replies_raise_nothing_else(text: str) -> None:
    try:
        read(text.encode())
    except ProtocolTrouble:
        pass


def test_a_code_alone_is_a_reply() -> None:
    assert read(b"250\r\n", b"250-\r\n250\r\n") == [(250, [""]), (250, ["", ""])]


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 soon\r\n",
        b"650 what\r\n",
        "²50 ok\r\n".encode(),
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
        b"250 " + b"x" * MAX_LINE,
        b"250-x\r\n" * (MAX_LINES + 1),
        (b"250-" + b"x" * 4000 + b"\r\n") * (MAX_REPLY // 4000 + 1),
        b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_what_is_no_reply(wire: bytes) -> None:
    with pytest.raises(ProtocolTrouble):
        read(wire)


def test_what_was_not_taken_is_counted() -> None:
    reader = ReplyReader()
    reader.feed(b"220 go\r\n250 x")
    assert reader.next_reply() == (220, ["go"])
    assert reader.unread == 5
