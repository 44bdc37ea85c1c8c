"""Reading what came: any bytes are a message."""

import time

from hypothesis import given
from hypothesis import strategies as st

from mta.inbound.content import MAX_SHOWN, attachment, read, with_images


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
        assert found is not None and len(found.data) == one.size


def test_a_forwarded_message_is_an_attachment_with_its_bytes() -> None:
    inner = b"Subject: inner\r\n\r\nHello\r\n"
    data = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n'
        + inner
        + b"\r\n--b--\r\n"
    )
    (one,) = read(data).attachments
    found = attachment(data, one.id)
    assert one.content_type == "message/rfc822" and found is not None and found.data == inner


def test_an_attachment_without_any_base64_in_it_costs_next_to_nothing() -> None:
    """It is read in a thread, which must not keep the others waiting."""
    head = b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    started = time.process_time()
    (found,) = read(head + b"====\r\n" * 2_000_000 + b"aGVsbG8=\r\n").attachments
    assert time.process_time() - started < 1
    assert found.size == len(b"hello")


IMAGES = (
    b'Content-Type: multipart/related; boundary="b"\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<img src="cid:a">\r\n'
    b"--b\r\nContent-Type: image/png\r\nContent-ID: <a>\r\nContent-Disposition: inline\r\n\r\nPNG\r\n"
    b"--b\r\nContent-Type: text/html\r\nContent-ID: <page@b>\r\n\r\n<script>\r\n--b--\r\n"
)


def test_images_are_shown_in_the_html_and_nothing_else_is() -> None:
    found = read(IMAGES)
    assert [(one.content_id, one.inline) for one in found.attachments] == [("a", True), ("page@b", False)]
    assert with_images('<img src="cid:a"> cid:a', IMAGES) == '<img src="data:image/png;base64,UE5H"> cid:a'
    for html in ('<img src="cid:page@b">', '<img src="cid:page%40b">', '<img src="cid:b">'):
        assert with_images(html, IMAGES) == html


def test_an_image_that_is_shown_too_often_is_left_out() -> None:
    image = b"x" * (MAX_SHOWN // 4)
    data = b"Content-Type: image/png\r\nContent-ID: <a>\r\n\r\n" + image
    shown = with_images("<img src='cid:a'>" * 5, data)
    assert shown.count("data:image/png") == 2 and shown.count("'cid:a'") == 3 and len(shown) < MAX_SHOWN


@given(st.text(max_size=200), st.binary(max_size=500))
def test_no_html_raises(html: str, data: bytes) -> None:
    assert len(with_images(f'{html}"cid:{html}"', data)) <= MAX_SHOWN
