"""Reading untrusted MIME: structure, decoding, and bounds that hold whatever the bytes are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol import mime_parts
from mta.protocol.mime_parts import Part, decode_bytes, decode_words, parse_content_type, parse_parts, strip_html

REPORT = b"""\
From: Mail System <mailer-daemon@mx.example>
Subject: =?utf-8?q?Zur=C3=BCck?= =?utf-8?b?Z2VzYW5kdA==?=
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="=_a b"

preamble
--=_a b
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Stra=DFe
--=_a b
Content-Type: message/rfc822

Subject: original
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/html

<p>hello &amp; goodbye</p>
--inner--
--=_a b--
epilogue
"""


def shape(part: Part) -> list[str]:
    return [inner.content_type for inner in part.walk(into_messages=True)]


@pytest.mark.parametrize("data", [REPORT, REPORT.replace(b"\n", b"\r\n")])
def test_structure_and_texts(data: bytes) -> None:
    root = parse_parts(data)
    assert shape(root) == [
        "multipart/report",
        "text/plain",
        "message/rfc822",
        "multipart/alternative",
        "text/html",
    ]
    assert root.header("subject") == "Zurückgesandt"
    assert root.parts[0].text() == "Straße"
    assert root.parts[1].parts[0].header("Subject") == "original"
    html = root.parts[1].parts[0].parts[0]
    assert html.text().strip() == "hello & goodbye"
    assert not root.truncated


def test_a_returned_message_is_not_entered_unless_asked() -> None:
    assert [p.content_type for p in parse_parts(REPORT).walk()] == ["multipart/report", "text/plain", "message/rfc822"]


def test_a_missing_end_still_gives_the_parts() -> None:
    root = parse_parts(REPORT.partition(b"--inner--")[0])
    assert shape(root)[-1] == "text/html"


def test_an_outer_boundary_ends_inner_parts() -> None:
    data = REPORT.replace(b"--inner--\n", b"").replace(b"--=_a b--", b"--=_a b\n\nlast\n--=_a b--")
    root = parse_parts(data)
    assert [p.content_type for p in root.parts] == ["text/plain", "message/rfc822", "text/plain"]
    assert root.parts[2].text() == "last"


def test_a_part_without_any_header() -> None:
    root = parse_parts(b"Content-Type: multipart/mixed; boundary=q\n\n--q\n\nbody\n--q--\n")
    assert root.parts[0].headers == []
    assert root.parts[0].body == b"body"


def test_a_parameter_that_was_folded_without_a_blank() -> None:
    root = parse_parts(b'Content-Type: multipart/mixed;\nboundary="q"\n\n--q\n\nbody\n--q--\n')
    assert root.parts[0].body == b"body"


def test_charsets_that_lie_or_do_not_exist() -> None:
    assert decode_bytes("ä".encode(), "us-ascii") == "ä"
    assert decode_bytes(b"\xe4", "utf-8") == "ä"
    assert decode_bytes(b"abc", "no-such-charset") == "abc"
    assert decode_bytes(b"abc", "base64") == "abc"
    assert decode_bytes(b"abc-", "punycode") == "abc-"
    assert decode_bytes(b"\x1b$B%a!<%k\x1b(B", "iso-2022-jp") == "メール"


def test_encoded_words_that_are_broken_stay() -> None:
    assert decode_words("=?utf-8?b?a?= x") == "=?utf-8?b?a?= x"
    assert decode_words("=?utf-8?q?a_b?=") == "a b"
    assert decode_words("=?x?z?a?=") == "=?x?z?a?="


def test_content_types_as_seen() -> None:
    assert parse_content_type('Text/Plain; Charset="a\\"b"; x=y') == ("text/plain", {"charset": 'a"b', "x": "y"})
    assert parse_content_type("nonsense") == ("text/plain", {})
    assert parse_content_type("") == ("text/plain", {})


def test_base64_with_rubbish_in_it() -> None:
    part = Part([("content-transfer-encoding", "base64")], body=b"aGVs*bG8\r\n")
    assert part.content() == b"hello"


def test_html_becomes_lines() -> None:
    assert strip_html("<style>p{}</style><p>a<br>b</p>c&lt;x@y&gt;").split() == ["a", "b", "c<x@y>"]


def nested(levels: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(levels)) + b"\nx"


@pytest.mark.parametrize(
    "data",
    [
        nested(2000),
        b"Content-Type: message/rfc822\n\n" * 2000,
        b"Content-Type: multipart/mixed; boundary=q\n\n" + b"--q\n\nx\n" * 5000,
    ],
    ids=["multiparts", "messages", "siblings"],
)
def test_depth_and_number_of_parts_are_bounded(data: bytes) -> None:
    root = parse_parts(data)
    parts = list(root.walk(into_messages=True))
    assert len(parts) <= mime_parts.MAX_PARTS
    assert depth(root) <= mime_parts.MAX_DEPTH


def depth(part: Part) -> int:
    return 1 + max((depth(inner) for inner in part.parts), default=0)


def test_what_was_left_out_is_told() -> None:
    assert parse_parts(nested(2000)).truncated
    assert parse_parts(b"a: b\n\n" + b"x" * (mime_parts.MAX_READ + 1)).truncated


@pytest.mark.parametrize(
    "data",
    [
        b"X-A: b\r\n" * 100_000 + b"\r\nhi",
        b"Content-Type: multipart/mixed; boundary=q\r\n\r\n" + b"--\n" * 600_000,
        b"Content-Type: text/html\r\n\r\n" + b"<" * 500_000,
        b"Content-Type: multipart/mixed; " + b'a="' * 100_000,
        b"\r" * 1_000_000,
    ],
    ids=["headers", "dashes", "angles", "quotes", "carriage returns"],
)
def test_hostile_input_takes_bounded_time(data: bytes) -> None:
    started = time.process_time()
    for part in parse_parts(data).walk(into_messages=True):
        part.text()
    assert time.process_time() - started < 2


def test_headers_are_bounded() -> None:
    root = parse_parts(b"X-A: b\r\n" * 100_000 + b"\r\nhi")
    assert len(root.headers) <= mime_parts.MAX_HEADERS
    assert root.body == b"hi"


@given(st.binary(max_size=2000))
def test_no_bytes_raise(data: bytes) -> None:
    for part in parse_parts(data).walk(into_messages=True):
        part.text()
        part.header("subject")


@given(st.integers(0, len(REPORT)), st.integers(0, len(REPORT)), st.binary(max_size=30))
def test_no_mutation_of_a_report_raises(start: int, end: int, junk: bytes) -> None:
    for part in parse_parts(REPORT[:start] + junk + REPORT[end:]).walk(into_messages=True):
        part.text()
