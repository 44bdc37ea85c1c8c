"""Re-encoding to 7 bits: what readers see stays, every line fits, whatever the MIME looks like."""

import base64
import email
import email.policy
import itertools
import tracemalloc
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.encoding import MAX_DEPTH, MAX_PARTS, head_fits, to_seven_bit
from mta.protocol.headers import parse, split_head
from mta.protocol.transfer import ConversionError, fits

LINES = st.lists(
    st.sampled_from(
        [b"plain", b"", b"caf\xc3\xa9", b".", b"trailing ", b"\t", b"x" * 1200, b"\xc3\xa9" * 900, b"=41=", b"--",
         b"--x", b"From me", b"y" * 20000, b"word " * 300]
    ),
    max_size=6,
).map(b"\r\n".join)  # fmt: skip
CUTS = st.lists(st.integers(0), max_size=8)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(n % (len(data) + 1) for n in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def convert(message: bytes, cuts: list[int] | None = None) -> bytes:
    head, offset = split_head(message)
    new_head, body = to_seven_bit(head, cut(message[offset:], cuts or []))
    result = new_head + b"\r\n" + b"".join(body)
    assert head_fits(new_head)
    assert all(fits(line) for line in result.split(b"\r\n"))
    assert b"\n" not in result.replace(b"\r\n", b"") and b"\r" not in result.replace(b"\r\n", b"")
    return result


def tree(part: Message) -> object:
    if part.is_multipart():
        return part.get_content_type(), [tree(child) for child in part.get_payload()]
    content = part.get_payload(decode=True).replace(b"\r\n", b"\n")
    return part.get_content_type(), content.removesuffix(b"\n")


def seen(message: bytes) -> object:
    return tree(email.message_from_bytes(message, policy=email.policy.compat32))


@st.composite
def entities(draw: st.DrawFn, depth: int = 0) -> bytes:
    kinds = ["text", "data", "none", "multipart", "message"] if depth < 3 else ["text", "data", "none"]
    match draw(st.sampled_from(kinds)):
        case "text":
            return b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + draw(LINES)
        case "data":
            return b"Content-Type: application/x-data\r\n\r\n" + draw(LINES)
        case "none":
            return b"\r\n" + draw(LINES)
        case "message":
            return b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n" + draw(entities(depth + 1))
    parts = draw(st.lists(entities(depth + 1), min_size=1, max_size=3))
    line = f"--b{depth}".encode()
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts)
    return f"Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n".encode() + body + line + b"--\r\n"


@given(entities(), CUTS)
def test_readers_see_the_same(entity, cuts):
    message = b"Subject: outer\r\nMIME-Version: 1.0\r\n" + entity
    converted = convert(message, cuts)
    assert seen(converted) == seen(message)
    assert convert(converted) == converted or seen(convert(converted)) == seen(message)


def test_text_becomes_quoted_printable():
    message = b"From: a@b.example\r\nContent-Transfer-Encoding: 8BIT\r\nX-A: 1\r\n\r\ncaf\xc3\xa9 \r\n.\r\n"
    assert convert(message) == (
        b"From: a@b.example\r\nContent-Transfer-Encoding: quoted-printable\r\nX-A: 1\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n\r\ncaf=C3=A9=20\r\n=2E\r\n'
    )


def test_other_content_becomes_base64():
    message = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n" + b"\xff" * 100 + b"\r\n"
    converted = convert(message)
    assert b"Content-Transfer-Encoding: base64\r\n" in converted
    assert seen(converted) == seen(message)


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 5000), CUTS)
def test_long_base64_lines_are_cut(content, width, cuts):
    text = base64.b64encode(content)
    lines = b"\r\n".join(text[n : n + width] for n in range(0, len(text), width))
    message = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines + b"\r\n"
    converted = convert(message, cuts)
    assert seen(converted) == seen(message)
    if width <= 998:
        assert converted == message


@given(
    st.lists(st.sampled_from(["a", "=C3=A9", "é", " ", "=20", "x" * 500, "=3D", "=\r\n", "\r\n"]), max_size=3000), CUTS
)
def test_bad_quoted_printable_is_repaired(units, cuts):
    head = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    message = head + "".join(units).encode() + b"x\r\n"
    assert seen(convert(message, cuts)) == seen(message)


def test_fitting_quoted_printable_stays():
    message = b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=C3=A9=\r\n b =20\r\n"
    assert convert(message) == message


def test_signed_parts_stay_or_refuse():
    signed = (
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\ncaf\xc3\xa9\r\n--o\r\n"
        b"Content-Type: multipart/signed; boundary=i\r\n\r\n--i\r\n\r\nexact  \r\n--i\r\n"
        b"Content-Type: application/pgp-signature\r\n\r\nsig\r\n--i--\r\n--o--\r\n"
    )
    inner = signed[signed.index(b"--i\r\n") :]
    assert convert(signed).endswith(inner)
    for bad in (b"\xc3\xa9", b"x" * 999, b"x" * 9000):
        with pytest.raises(ConversionError, match="signed or encrypted"):
            convert(signed.replace(b"exact", bad))
    with pytest.raises(ConversionError, match="unknown encoding"):
        convert(b"Content-Transfer-Encoding: x-uuencode\r\n\r\n\xff\r\n")


def test_digest_parts_are_messages():
    message = b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: caf\xc3\xa9\r\n\r\n\xc3\xa9\r\n--b--\r\n"
    converted = convert(message)
    assert b"Subject: =?utf-8?" in converted and b"=C3=A9\r\n--b--" in converted


def test_surroundings_of_parts():
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"pre\xc3\xa9\r\n--b \r\n\r\nx\r\n--b--\r\nepi\xff" + b"z" * 30000
    )
    converted = convert(message)
    assert b"Content-Transfer-Encoding: 7bit\r\n\r\npre??\r\n--b\r\n" in converted
    assert b"epi?zzz" in converted and converted.count(b"z") == 30000


def test_an_inner_multipart_that_is_never_closed():
    message = (
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"
        b"--i\r\n\r\n\xc3\xa9\r\n--o\r\n\r\nlast \xc3\xa9\r\n--o--\r\n"
    )
    assert seen(convert(message)) == seen(message)


def test_bounds():
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(MAX_DEPTH + 1)
    )
    with pytest.raises(ConversionError, match="nests more than 100"):
        convert(nested)
    with pytest.raises(ConversionError, match="more than 1000 parts"):
        convert(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * MAX_PARTS)
    with pytest.raises(ConversionError, match="more than 1000 parts"):
        convert(b"Content-Type: message/rfc822\r\n\r\n" * (MAX_PARTS + 1))
    with pytest.raises(ConversionError, match="100 KiB"):
        convert(b"Content-Type: message/rfc822\r\n\r\n" + b"A: b\r\n" * 20_000)
    with pytest.raises(ConversionError, match="100 KiB"):
        convert(b"Content-Type: message/rfc822\r\n\r\nA: " + b"b" * 200_000)
    with pytest.raises(ConversionError, match="neither a field"):
        convert(b"Content-Type: message/rfc822\r\n\r\nnot a header\r\n\r\n")
    with pytest.raises(ConversionError, match="Content-Type has more than"):
        convert(b'Content-Type: multipart/mixed; boundary="' + b";" * 90_000 + b"\r\n\r\n")
    with pytest.raises(ConversionError, match="boundary"):
        convert("Content-Type: multipart/mixed; boundary=é\r\n\r\n--é\r\n\r\nx\r\n".encode())


@pytest.mark.parametrize("ending", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("kind", [b"text/plain", b"image/png", b"multipart/mixed; boundary=b"])
def test_the_result_ends_with_a_line_end(kind, ending):
    converted = convert(b"Content-Type: " + kind + b"\r\n\r\n--b\r\n\r\nabc" + ending)
    assert converted.endswith(b"\r\n")
    assert convert(b"A: b\r\n\r\n").endswith(b"\r\n\r\n")


def rewritten(head: bytes) -> bytes:
    return to_seven_bit(head, [])[0]


def test_headers_of_raw_utf8():
    head = (
        "From: Zoë <zoe@b.example>\r\nTo: team: Ünal <u@münchen.example>, b@b.example;\r\nSubject: café ☕\r\n"
        'Content-Disposition: attachment; filename="menü \\"x\\".pdf"; size=3\r\nX-Kept:  exactly\r\n  so \r\n'
    ).encode()
    new = parse(rewritten(head))
    assert bytes(new).isascii()
    assert new.get("From").text == "Zoë <zoe@b.example>"
    assert new.get("To").text == "Ünal <u@xn--mnchen-3ya.example>, b@b.example"
    assert new.get("Subject").text == "café ☕"
    message = email.message_from_bytes(bytes(new), policy=email.policy.default)
    assert message.get_filename() == 'menü "x".pdf'
    assert message["Content-Disposition"].params["size"] == "3"
    assert new.get("X-Kept").raw == b"X-Kept:  exactly\r\n  so \r\n"
    assert parse(rewritten(b"Subject: caf\xe9\r\n")).get("Subject").text == "café"


def test_addresses_without_an_ascii_form():
    with pytest.raises(ConversionError, match="From cannot be sent to a server without SMTPUTF8"):
        rewritten("From: é@b.example\r\n".encode())


def test_long_header_lines_are_folded():
    long = b"References: " + b" ".join([b"<%d@b.example>" % n for n in range(200)]) + b"\r\n"
    new = rewritten(long + b"Subject: " + b"x" * 2000 + b"\r\n")
    assert head_fits(new)
    assert parse(new).get("References").value == parse(long).get("References").value
    assert parse(new).get("Subject").text == "x" * 2000


def test_encoded_words_survive_folding():
    value = b" ".join([b"=?utf-8?q?caf=C3=A9?="] * 100)
    new = rewritten(b"Subject: " + value + b"\r\n")
    assert parse(new).get("Subject").value == value


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Subject", "From", "To", "Content-Type", "X-A"]),
            LINES.filter(lambda text: len(text) < 5000),
        ),
        max_size=4,
    )
)
def test_any_head_fits_or_refuses(pairs):
    head = b"".join(name.encode() + b": " + b"\r\n ".join(v.split(b"\r\n")) + b"\r\n" for name, v in pairs)
    try:
        new = rewritten(head)
    except ConversionError:
        return
    assert head_fits(new)
    mime = ("Content-Type", "Content-Transfer-Encoding", "MIME-Version")  # these fit the content
    assert [f.name for f in parse(new) if f.name not in mime] == [name for name, _ in pairs if name not in mime]


@pytest.mark.parametrize("unit", [b"\xc3\xa9" * 30 + b"\r\n", b"\xc3\xa9" * 1024], ids=["lines", "one line"])
@pytest.mark.parametrize("kind", [b"text/plain", b"image/png"])
def test_memory_stays_small(kind, unit):
    head = b"MIME-Version: 1.0\r\nContent-Type: " + kind + b"\r\n"
    piece = unit * (262_144 // len(unit))
    tracemalloc.start()
    _, body = to_seven_bit(head, (piece for _ in range(16)))
    size = sum(map(len, body))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 16 * len(piece)
    assert peak < 4_000_000
