"""RFC 3464 both ways: what others write is read, and what we write is read by us and by flufl.bounce."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes, policy

import pytest
from flufl.bounce import all_failures
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.dsn import clean_address, find_delivery_status, parse_status, read_delivery_status
from mta.protocol.dsn_write import Notice, Report, write_dsn
from mta.protocol.mime_parts import parse_parts

FIELDS = """\
Reporting-MTA: dns; mx.example.org
Original-Envelope-Id: QQ+2B314159
Arrival-Date: Thu, 1 Jan 2026 10:00:00 +0000

Original-Recipient: rfc822; Alice@example.net
Final-Recipient: rfc822; <alice@inner.example.net>
Action: failed (permanently)
Status: 5.1.1 (no such mailbox)
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 5.1.1
 no such mailbox
Last-Attempt-Date: Thu, 1 Jan 2026 10:00:01 +0000

Final-Recipient: rfc822; @relay.example,@next.example:bob@example.net
Action: delayed
Status: 4.4.1
Will-Retry-Until: Tue, 6 Jan 2026 10:00:00 +0000
"""

REPORT = Report("mx.example.org", "sender@example.org", "4b7e", 1_767_261_600_000, 1_767_258_000_000, "ENV+1")
FAILED = Notice(
    "rcpt@example.net",
    "failed",
    "5.1.1",
    "550 5.1.1 no such mailbox",
    "mx.example.net",
    "rfc822;Rcpt@example.net",
    1_767_261_590_000,
)
ORIGINAL = (
    b"From: sender@example.org\r\nTo: rcpt@example.net\r\nSubject: hello\r\n"
    b"Message-ID: <1@example.org>\r\n\r\nbody line\r\n"
)


def test_every_field_is_read() -> None:
    status = read_delivery_status(FIELDS)
    assert (status.reporting_mta, status.envelope_id) == ("mx.example.org", "QQ+314159")
    assert status.arrival_date.startswith("Thu, 1 Jan 2026")
    alice, bob = status.recipients
    assert alice.final_recipient == "alice@inner.example.net"
    assert alice.original_recipient == alice.address == "Alice@example.net"
    assert (alice.action, alice.status, alice.remote_mta) == ("failed", "5.1.1", "mx.example.net")
    assert alice.diagnostic == "550 5.1.1 no such mailbox"
    assert alice.last_attempt_date.startswith("Thu, 1 Jan")
    assert (bob.address, bob.action, bob.status) == ("bob@example.net", "delayed", "4.4.1")
    assert bob.will_retry_until.startswith("Tue, 6 Jan")


def test_recipients_without_a_blank_line_between() -> None:
    text = (
        "Final-Recipient: rfc822; a@x.example\nAction: failed\nFinal-Recipient: rfc822; b@x.example\nAction: failed\n"
    )
    assert [r.address for r in read_delivery_status(text).recipients] == ["a@x.example", "b@x.example"]


def test_order_and_blank_lines_do_not_matter() -> None:
    text = "\n\nAction: failed\nStatus: 5.2.2\nFinal-recipient:rfc822;a@x.example\n"
    (recipient,) = read_delivery_status(text).recipients
    assert (recipient.address, recipient.status) == ("a@x.example", "5.2.2")


def test_fields_that_are_indented() -> None:
    indented = "\n".join(f"   {line}" if line else "" for line in FIELDS.split("\n"))
    report = f"Content-Type: message/delivery-status\n\n{indented}"
    found = find_delivery_status(parse_parts(report.encode()))
    assert found is not None
    assert [r.address for r in found.recipients] == ["Alice@example.net", "bob@example.net"]


def test_an_action_that_is_missing_follows_from_the_status() -> None:
    text = "Final-Recipient: rfc822; a@x.example\nStatus: 2.0.0\n"
    assert read_delivery_status(text).recipients[0].action == "delivered"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("5.1.1", "5.1.1"),
        ("5.1.1 (unknown)", "5.1.1"),
        ("550 5.7.509 denied", "5.7.509"),
        ("511", "5.1.1"),
        ("5 1 1", "5.1.1"),
        ("4.04.01", "4.4.1"),
        ("", None),
        ("failed", None),
        ("192.0.2.1", None),
    ],
)
def test_statuses(value: str, status: str | None) -> None:
    assert parse_status(value) == status


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; a@x.example", "a@x.example"),
        ("RFC822;<a@x.example>", "a@x.example"),
        ("<a@x.example>", "a@x.example"),
        ("utf-8; \\x{e4}nne@x.example", "änne@x.example"),
        ("utf-8; 用户@x.example", "用户@x.example"),
        ("rfc822; a+40x.example", "a@x.example"),
        ("rfc822; a+2Bb@x.example", "a+2Bb@x.example"),
        ("utf-8; \\x{110000}@x.example", "\\x{110000}@x.example"),
    ],
)
def test_addresses(value: str, address: str) -> None:
    assert clean_address(value) == address


def test_what_we_write_we_read() -> None:
    data = write_dsn(REPORT, [FAILED], ORIGINAL)
    status = find_delivery_status(parse_parts(data))
    assert status is not None
    (recipient,) = status.recipients
    assert (status.reporting_mta, status.envelope_id) == ("mx.example.org", "ENV+1")
    assert (recipient.final_recipient, recipient.original_recipient) == ("rcpt@example.net", "Rcpt@example.net")
    assert (recipient.action, recipient.status) == ("failed", "5.1.1")
    assert recipient.diagnostic == "550 5.1.1 no such mailbox"
    assert recipient.remote_mta == "mx.example.net"
    assert recipient.last_attempt_date == "Thu, 01 Jan 2026 09:59:50 +0000"


def test_the_standard_library_and_flufl_read_it() -> None:
    data = write_dsn(REPORT, [FAILED, replace(FAILED, address="b@example.net", action="delayed")], ORIGINAL)
    message = message_from_bytes(data, policy=policy.default)
    assert not message.defects
    assert [p.get_content_type() for p in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    temporary, permanent = all_failures(message_from_bytes(data))
    assert permanent == {b"Rcpt@example.net"} or permanent == {b"rcpt@example.net"}
    assert temporary == {b"b@example.net"} or temporary == {b"Rcpt@example.net"}


def test_header_or_full_message_comes_back() -> None:
    brief, full = write_dsn(REPORT, [FAILED], ORIGINAL), write_dsn(REPORT, [FAILED], ORIGINAL, full=True)
    assert b"Subject: hello" in brief and b"body line" not in brief
    assert b"body line" in full and b"message/rfc822" in full


def test_sentences_for_each_kind() -> None:
    notices = [
        FAILED,
        Notice("late@example.net", "delayed", "4.4.1", "timed out", will_retry_until=1_767_600_000_000),
        Notice("there@example.net", "delivered", "2.0.0"),
        Notice("on@example.net", "relayed", "2.0.0"),
    ]
    text = parse_parts(write_dsn(REPORT, notices, ORIGINAL)).parts[0].text()
    for words in (
        "could not be delivered",
        "will be tried again",
        "was delivered",
        "handed to the next",
        "mx.example.net said",
    ):
        assert words in " ".join(text.split())
    assert "Subject: Undelivered" in write_dsn(REPORT, notices, ORIGINAL).decode()
    assert "Subject: Delivered" in write_dsn(REPORT, notices[2:3], ORIGINAL).decode()


def test_internationalized_addresses_use_the_global_types() -> None:
    data = write_dsn(REPORT, [replace(FAILED, address="用户@例え.example", original_recipient="")], ORIGINAL)
    assert b"message/global-delivery-status" in data and b"message/global-headers" in data
    status = find_delivery_status(parse_parts(data))
    assert status is not None and status.recipients[0].address == "用户@例え.example"


def test_hostile_words_cannot_add_fields() -> None:
    evil = replace(FAILED, diagnostic="550 no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; x@y.example")
    status = find_delivery_status(
        parse_parts(write_dsn(replace(REPORT, to="a@b.example\r\nBcc: c@d"), [evil], ORIGINAL))
    )
    assert status is not None
    assert [(r.final_recipient, r.action) for r in status.recipients] == [("rcpt@example.net", "failed")]
    assert b"\r\nBcc:" not in write_dsn(replace(REPORT, to="a@b.example\r\nBcc: c@d"), [FAILED], ORIGINAL)


def test_a_message_that_holds_the_boundary() -> None:
    original = ORIGINAL + b"--=_4b7e--\r\n--=_4b7e\r\n"
    root = parse_parts(write_dsn(REPORT, [FAILED], original, full=True))
    assert len(root.parts) == 3
    assert root.parts[2].parts[0].body.endswith(b"--=_4b7e")


def test_line_ends_are_crlf_and_lines_short() -> None:
    data = write_dsn(REPORT, [replace(FAILED, diagnostic="550 " + "word " * 400)], ORIGINAL.replace(b"\r\n", b"\n"))
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998


@given(st.text(max_size=2000))
def test_no_text_raises(text: str) -> None:
    read_delivery_status(text)
    parse_status(text)
    clean_address(text)


@given(st.integers(0, len(FIELDS)), st.integers(0, len(FIELDS)), st.text(max_size=20))
def test_no_mutation_raises(start: int, end: int, junk: str) -> None:
    read_delivery_status(FIELDS[:start] + junk + FIELDS[end:])


@given(st.emails(), st.text(max_size=300), st.text(max_size=100))
def test_anything_we_write_is_read_back(address: str, diagnostic: str, mta: str) -> None:
    data = write_dsn(REPORT, [replace(FAILED, address=address, diagnostic=diagnostic, remote_mta=mta)], ORIGINAL)
    status = find_delivery_status(parse_parts(data))
    assert status is not None and len(status.recipients) == 1
    assert status.recipients[0].final_recipient == address.strip("<>\"'")
    assert status.recipients[0].action == "failed"


def test_a_reply_beyond_ascii_leaves_the_report_in_7_bit() -> None:
    """The part may not be encoded, and a server without 8BITMIME could not pass it on."""
    notice = replace(FAILED, diagnostic="550 5.1.1 Kein Empfänger «ü»")
    report = next(
        part for part in parse_parts(write_dsn(REPORT, [notice], ORIGINAL)).walk() if "status" in part.content_type
    )
    assert report.content_type == "message/delivery-status"
    assert b"Diagnostic-Code: smtp; 550 5.1.1 Kein Empf?nger" in report.body and report.body.isascii()
    wide = write_dsn(REPORT, [replace(notice, address="jürgen@example.net")], ORIGINAL)
    assert "Kein Empfänger".encode() in wide.partition(b"global-delivery-status")[2]
