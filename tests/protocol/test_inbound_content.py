"""Reading what came: any bytes are a message."""

import time

from hypothesis import given
from hypothesis import strategies as st

from mta.inbound.content import attachment, read


@given(st.binary(max_size=2000))
def test_no_input_raises(data: bytes) -> None:
    for one in read(data).attachments:
        assert attachment(data, one.id) is not None


@given(st.lists(st.sampled_from([b"--b\r\n", b"--b--\r\n", b"\r\n", b"Content-Type: message/rfc822\r\n", b"x\r\n",
    b'Content-Type: multipart/mixed; boundary="b"\r\n', b"Content-Disposition: attachment; filename*=utf-8''%ff%41\r\n"])))  # fmt: skip
def test_no_structure_raises(lines: list[bytes]) -> None:
    data = b"".join(lines)
    for one in read(data).attachments:
        found = attachment(data, one.id)
        assert found is not None and len(found[1]) == one.size


def test_a_forwarded_message_is_an_attachment_with_its_bytes() -> None:
    inner = b"Subject: inner\r\n\r\nHello\r\n"
    data = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n'
        + inner
        + b"\r\n--b--\r\n"
    )
    (one,) = read(data).attachments
    found = attachment(data, one.id)
    assert one.content_type == "message/rfc822" and found is not None and found[1] == inner


def test_an_attachment_without_any_base64_in_it_costs_next_to_nothing() -> None:
    """It is read in a thread, which must not keep the others waiting."""
    head = b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    started = time.process_time()
    (found,) = read(head + b"====\r\n" * 2_000_000 + b"aGVsbG8=\r\n").attachments
    assert time.process_time() - started < 1
    assert found.size == len(b"hello")
