"""Reading a message back never fails, whatever it holds."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.control.content import Attached, clean, read_content

PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: text/plain; charset=raw_unicode_escape\r\n",
        b"Content-Type: text/html; charset*=utf-8''%ff\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: x-uuencode\r\n",
        b"Content-Disposition: attachment; filename*0*=nope''a; filename*1=\xe4\r\n",
        b"Content-Disposition: attachment; filename=\xff\xfe\r\n",
        b"\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"\\ud800 =?utf-8?q?=ff?=\r\n",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=30), max_size=30).map(b"".join))
def test_any_bytes_can_be_read_and_shown(raw: bytes) -> None:
    found = read_content(raw)
    msgspec.json.encode([found.text, found.html, found.attachments])


def test_nesting_deeper_than_any_stack_is_left_out() -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(3000))
    assert read_content(deep).text is None


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-8", "no-such-charset", "punycode", "rot13"])
def test_charsets(charset: str) -> None:
    assert read_content(b"Content-Type: text/plain; charset=" + charset.encode() + b"\r\n\r\nHi\r\n").text == "Hi\r\n"


def test_a_filename_in_raw_bytes_is_shown_without_them() -> None:
    raw = b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=\xff.pdf\r\n\r\nx"
    (attached,) = read_content(raw).attachments
    assert attached == Attached("\ufffd.pdf", "application/pdf", 1) or attached.filename == "?.pdf"


def test_clean_leaves_text_alone() -> None:
    assert clean("Grüße 🎉") == "Grüße 🎉" and clean("a\ud800b") == "a?b"
