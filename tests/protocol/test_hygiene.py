"""Header hygiene at submission: one author, our own fields added, what must not travel removed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.address import Address
from mta.protocol.headers import HeaderError, address_field, parse
from mta.protocol.hygiene import MAX_HOPS, LoopError, Submission, received, sole_author, submission_hygiene

NOW_MS = 1_700_000_000_123


def clean(head: bytes) -> Submission:
    return submission_hygiene(
        parse(head), hostname="mail.example.com", protocol="ESMTPSA", token="msg_1", now_ms=NOW_MS
    )


def test_missing_fields_are_added_and_private_ones_removed():
    result = clean(
        b"From: A <a@b.example>\r\nbcc: x@y.example,\r\n z@y.example\r\nReturn-Path: <q@r>\r\nSubject: hi\r\n"
    )
    assert bytes(result.headers) == (
        b"Received: by mail.example.com (Posthouse) with ESMTPSA id msg_1; Tue, 14 Nov\r\n 2023 22:13:20 +0000\r\n"
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <msg_1@mail.example.com>\r\n"
        b"From: A <a@b.example>\r\nSubject: hi\r\n"
    )
    assert result.message_id == "<msg_1@mail.example.com>"
    assert (result.author[0], str(result.author[1])) == ("A", "a@b.example")


def test_what_the_app_wrote_stays():
    head = b"Date:  Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: a@b.example\r\nMESSAGE-ID:\r\n <x@y>\r\nX-A: \xc3\xa9\r\n"
    result = clean(head)
    assert bytes(result.headers).endswith(b"+0000\r\n" + head)
    assert len(result.headers.fields) == 5
    assert result.message_id == "<x@y>"


def test_empty_date_and_message_id_count_as_missing():
    result = clean(b"From: a@b.example\r\nDate:\r\nMessage-ID: \r\n")
    assert [f.name for f in result.headers] == ["Received", "Date", "Message-ID", "From"]


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (b"", "no From fields"),
        (b"From: a@b.example\r\nfrom : a@b.example\r\n", "2 From fields"),
        (b"From:\r\n", "no addresses"),
        (b"From: Alice\r\n", "cannot be read"),
        (b"From: a@b.example, c@d.example\r\n", "2 addresses"),
        (b"From: a@b.example, nonsense\r\n", "cannot be read"),
        (b"From: a@b.example <c@evil.example>\r\n", "quotation marks"),
        (b"From: =?utf-8?q?a=40b=2Eexample?=\r\n", "cannot be read"),
        (b"From: group: a@b.example, c@d.example;\r\n", "2 addresses"),
        (b"From: undisclosed:;\r\n", "no addresses"),
    ],
)
def test_exactly_one_author(head, complaint):
    with pytest.raises(HeaderError, match=complaint):
        clean(head)


def test_hops():
    head = b"Received: x\r\n" * MAX_HOPS + b"From: a@b.example\r\n"
    assert len(clean(head).headers.all("Received")) == MAX_HOPS + 1
    with pytest.raises(LoopError, match="51 Received"):
        clean(b"Received: x\r\n" + head)


def test_options_are_read_and_removed():
    result = clean(
        b"X-Posthouse-Tag: one\r\nx-posthouse-tag: =?utf-8?q?zwei=C3=A9?=\r\nFrom: a@b.example\r\n"
        b"X-Posthouse-Metadata-userId: 7\r\nX-POSTHOUSE-METADATA-Order: 8\r\nX-Posthouse-Stream: news\r\n"
        b"X-Posthouse-Idempotency-Key: k 1\r\nX-Posthouse-Track: opens, clicks\r\n"
    )
    assert result.options.tags == ("one", "zweié")
    assert result.options.metadata == {"userId": "7", "Order": "8"}
    assert (result.options.stream, result.options.idempotency_key) == ("news", "k 1")
    assert result.options.track == "opens, clicks"
    assert b"posthouse-" not in bytes(result.headers).lower().replace(b"(posthouse)", b"")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (b"X-Posthouse-Tags: a\r\n", "X-Posthouse-Tags is not known"),
        (b"X-Posthouse-Metadata-: a\r\n", "not known"),
        (b"X-Posthouse-Stream: a\r\nX-Posthouse-Stream: a\r\n", "given twice"),
        (b"X-Posthouse-Metadata-a: a\r\nX-Posthouse-Metadata-a: b\r\n", "given twice"),
    ],
)
def test_bad_options(fields, complaint):
    with pytest.raises(HeaderError, match=complaint):
        clean(b"From: a@b.example\r\n" + fields)


def test_received_names_nobody():
    raw = received(hostname="mail.example.com", protocol="HTTP", token="t", now_ms=NOW_MS)
    assert b" from " not in raw and b" for " not in raw


@given(st.text(st.sampled_from('ab@<>(),;:"\\ .=?\u00e9'), max_size=40).map(str.strip))
def test_no_display_name_changes_the_author(display):
    author = (display, Address("a", "b.example"))
    assert sole_author(parse(address_field("From", [author])))[1] == author[1]
