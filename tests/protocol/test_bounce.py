"""Whole messages: bounces of every shape, complaints, answers of machines, and mail that only looks like them."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.rules import load_rules
from mta.protocol.bounce import Reading, read_message
from mta.protocol.dsn_write import Notice, Report, write_dsn

RULES = load_rules()
DAEMON = "From: Mail Delivery System <mailer-daemon@mx.example.org>\nReturn-Path: <>\nTo: us@example.org\n"
ORIGINAL = (
    "Received: from app by mx.example.org\nMessage-ID: <m1@example.org>\nTo: <lost@example.net>\nSubject: hi\n\nhello\n"
)


def read(text: str) -> Reading:
    return read_message(text.encode(), RULES)


def one(text: str) -> tuple[str, str | None, str, str, str]:
    reading = read(text)
    assert reading.kind == "bounce"
    (recipient,) = reading.recipients
    return recipient.address, recipient.status, recipient.type, recipient.reason, recipient.action


def report(human: str, fields: str, returned: str = ORIGINAL, top: str = DAEMON) -> str:
    return (
        f"{top}Subject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=b"\n\n'
        f"--=b\nContent-Type: text/plain\n\n{human}\n"
        f"--=b\nContent-Type: message/delivery-status\n\n{fields}\n"
        f"--=b\nContent-Type: message/rfc822\n\n{returned}\n--=b--\n"
    )


FIELDS = "Reporting-MTA: dns; mx.example.org\nOriginal-Envelope-Id: E1\n\nFinal-Recipient: rfc822; lost@example.net\n"


def test_a_report_for_machines() -> None:
    text = report(
        "words", FIELDS + "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user here\n"
    )
    assert one(text) == ("lost@example.net", "5.1.1", "hard", "unknown_user", "failed")
    reading = read(text)
    assert (reading.envelope_id, reading.message_id) == ("E1", "m1@example.org")
    assert reading.recipients[0].diagnostic == "550 5.1.1 no such user here"


def test_the_diagnostic_is_more_precise_than_the_status() -> None:
    text = report(
        "words", FIELDS + "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 552 5.2.2 mailbox over quota\n"
    )
    assert one(text) == ("lost@example.net", "5.2.2", "soft", "mailbox_full", "failed")


def test_words_for_people_fill_what_the_fields_leave_out() -> None:
    human = "lost@example.net\n  SMTP error after RCPT TO: host mx.example.net: 550 5.1.1 unknown user\n"
    assert one(report(human, FIELDS + "Action: failed\nStatus: 5.0.0\n"))[1:4] == ("5.1.1", "hard", "unknown_user")


def test_each_recipient_has_its_own_reason() -> None:
    fields = (
        FIELDS
        + "Action: failed\nStatus: 5.0.0\n\nFinal-Recipient: rfc822; full@example.net\nAction: failed\nStatus: 5.0.0\n"
    )
    human = (
        "<lost@example.net>: host mx said: 550 5.1.1 unknown user (in reply to RCPT TO command)\n\n"
        "<full@example.net>: host mx said: 552 5.2.2 mailbox full (in reply to RCPT TO command)\n"
    )
    assert [(r.address, r.status, r.reason) for r in read(report(human, fields)).recipients] == [
        ("lost@example.net", "5.1.1", "unknown_user"),
        ("full@example.net", "5.2.2", "mailbox_full"),
    ]


def test_delays_and_successes() -> None:
    delayed = report("words", FIELDS + "Action: delayed\nStatus: 4.4.1\nDiagnostic-Code: smtp; connection timed out\n")
    assert one(delayed)[4] == "delayed"
    for action in ("delivered", "relayed", "expanded"):
        reading = read(report("words", FIELDS + f"Action: {action}\nStatus: 2.0.0\n"))
        assert (reading.kind, reading.recipients[0].action) == ("delivered", action)


def test_one_failure_among_successes_is_a_bounce() -> None:
    fields = (
        FIELDS
        + "Action: delivered\nStatus: 2.0.0\n\nFinal-Recipient: rfc822; b@example.net\nAction: failed\nStatus: 5.1.1\n"
    )
    reading = read(report("words", fields))
    assert reading.kind == "bounce"
    assert [r.action for r in reading.recipients] == ["delivered", "failed"]


def test_a_report_that_names_nobody_is_about_whom_the_message_was_to() -> None:
    assert one(report("It could not be delivered.", "Reporting-MTA: dns; mx.example.org\n"))[0] == "lost@example.net"


def test_a_report_inside_a_gateways_message() -> None:
    inner = report("words", FIELDS + "Action: failed\nStatus: 5.1.1\n")
    text = (
        f"{DAEMON}Subject: Returned mail\nContent-Type: multipart/mixed; boundary=outer\n\n"
        f"--outer\n\nsee below\n--outer\nContent-Type: message/rfc822\n\n{inner}\n--outer--\n"
    )
    assert one(text)[0] == "lost@example.net"


def test_our_own_notifications() -> None:
    shared = Report("mx.example.org", "us@example.org", "t1", 1_771_200_000_000, 1_771_100_000_000, "E9")
    notice = Notice("lost@example.net", "failed", "5.1.1", "550 5.1.1 no such user", "mx.example.net")
    reading = read_message(write_dsn(shared, [notice], ORIGINAL.encode()), RULES)
    assert (reading.kind, reading.envelope_id, reading.message_id) == ("bounce", "E9", "m1@example.org")
    assert (reading.recipients[0].address, reading.recipients[0].type) == ("lost@example.net", "hard")
    late = replace(notice, action="delayed", status="4.4.1", diagnostic="")
    assert read_message(write_dsn(shared, [late], ORIGINAL.encode()), RULES).recipients[0].action == "delayed"


PLAIN = {
    "the remote server's reply under the address": (
        "Delivery to the following recipients failed:\n\n  lost@example.net\n    SMTP error from remote server"
        " after RCPT TO:<lost@example.net>:\n    host mx [192.0.2.7]: 550 5.1.1 <lost@example.net>: user unknown\n",
        ("lost@example.net", "5.1.1", "hard", "unknown_user", "failed"),
    ),
    "address in brackets, reason below": (
        "I was not able to deliver your message to the following address.\n\n<lost@example.net>:\n"
        "192.0.2.7 does not like recipient.\nRemote host said: 550 5.1.1 no such mailbox\nGiving up on 192.0.2.7.\n",
        ("lost@example.net", "5.1.1", "hard", "unknown_user", "failed"),
    ),
    "a transcript": (
        "   ----- The following addresses had permanent fatal errors -----\n<lost@example.net>\n\n"
        "   ----- Transcript of session follows -----\n... while talking to mx.example.net.:\n"
        ">>> RCPT To:<lost@example.net>\n<<< 550 no such person here\n550 <lost@example.net>... User unknown\n",
        ("lost@example.net", None, "hard", "unknown_user", "failed"),
    ),
    "a refusal after DATA is no proof": (
        "could not be delivered:\n<lost@example.net>\n>>> DATA\n<<< 550 user unknown\n",
        ("lost@example.net", None, "soft", "filtered", "failed"),
    ),
    "no such domain": (
        "Your message could not be delivered.\nlost@example.net: Host or domain name not found.\n",
        ("lost@example.net", None, "hard", "unknown_host", "failed"),
    ),
    "a full mailbox, in a sentence": (
        "Your mail could not be delivered to: <lost@example.net>\nas their mailbox is full.\n",
        ("lost@example.net", None, "soft", "mailbox_full", "failed"),
    ),
    "only a warning": (
        "THIS IS A WARNING ONLY. YOU NEED NOT RESEND.\nDelivery to the following recipient has been delayed:\n\n"
        "  lost@example.net\n\nIt will be retried for 2 more days.\n",
        ("lost@example.net", None, "soft", "expired", "delayed"),
    ),
    "not delivered yet": (
        "A message that you sent has not yet been delivered to one or more of its recipients.\n\n  lost@example.net\n"
        "    Delay reason: connection refused\n\nNo action is required. Delivery attempts will continue for some time.\n",
        ("lost@example.net", None, "soft", "expired", "delayed"),
    ),
    "no further attempts": (
        "Unable to deliver to:\n<lost@example.net>\n554 Message blocked\nNo further delivery attempts will be made.\n",
        ("lost@example.net", None, "soft", "policy", "failed"),
    ),
    "the subject of the returned message is no reason": (
        "Your message\n  To: lost@example.net\n  Subject: Virus! Mailbox full!\ndid not reach the following recipient:\n\n"
        "lost@example.net\n    The recipient name is not recognized\n",
        ("lost@example.net", None, "hard", "unknown_user", "failed"),
    ),
    "in another language": (
        "Ihre Nachricht konnte nicht zugestellt werden.\n\n<lost@example.net>\nDas Postfach des Empfängers ist voll.\n",
        ("lost@example.net", None, "soft", "mailbox_full", "failed"),
    ),
    "a daemon lists an address, in words that nobody taught us": (
        "<lost@example.net>: xyzzy\n",
        ("lost@example.net", None, "soft", "other", "failed"),
    ),
    "an address after a wide colon": (
        "抱歉，您的邮件被退回来了\n收件人邮件地址：lost@example.net\n退信原因：收件人邮箱不存在。\n",
        ("lost@example.net", None, "hard", "unknown_user", "failed"),
    ),
    "the fields of a report in plain text": (
        "An error occurred.\n  Final-Recipient: rfc822; lost@example.net\n  Action: failed\n  Status: 5.2.2\n",
        ("lost@example.net", "5.2.2", "soft", "mailbox_full", "failed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_words_for_people_alone(name: str) -> None:
    human, expected = PLAIN[name]
    text = f"{DAEMON}Subject: failure notice\n\n{human}\n--- Below this line is a copy of the message.\n\n{ORIGINAL}"
    assert one(text) == expected


def test_a_bounce_that_names_nobody_leaves_it_to_the_return_path() -> None:
    text = f"{DAEMON}Subject: Message status - undeliverable\n\nundeliverable to the following:\n\n\tlost (account expired)\n"
    assert one(text) == ("", None, "soft", "mailbox_disabled", "failed")


def test_recipients_come_only_from_before_the_returned_message() -> None:
    human = "<lost@example.net>: 550 5.1.1 unknown\n"
    text = f"{DAEMON}Subject: failure notice\n\n{human}\n{ORIGINAL}\n<other@example.com>: hello\n"
    assert one(text)[0] == "lost@example.net"


def test_the_senders_own_address_is_no_recipient() -> None:
    human = "From us@example.org to lost@example.net could not be delivered: user unknown"
    assert (
        one(f"{DAEMON}Subject: Undeliverable\n\nus@example.org:\n{human}\n\n<lost@example.net>: no\n")[0]
        == "lost@example.net"
    )


def test_html_only() -> None:
    html = "<p>Your message could not be delivered to<br>&lt;lost@example.net&gt;<br>550 5.1.1 User unknown</p>"
    assert one(f"{DAEMON}Subject: Undeliverable: hi\nContent-Type: text/html\n\n{html}")[:3] == (
        "lost@example.net",
        "5.1.1",
        "hard",
    )


def test_declared_recipients() -> None:
    text = f"{DAEMON}X-Failed-Recipients: lost@example.net\nSubject: x\n\nlost@example.net\n  Unrouteable address\n"
    assert one(text)[2:4] == ("hard", "unknown_host")


def ses(message: dict[str, object], wrapped: bool) -> str:
    body = json.dumps({"Type": "Notification", "Message": json.dumps(message)} if wrapped else message)
    return f"From: AWS <no-reply@sns.amazonaws.com>\nSubject: AWS Notification Message\n\n{body}\n"


@pytest.mark.parametrize("wrapped", [True, False])
def test_notifications_in_json(wrapped: bool) -> None:
    bounced = {"emailAddress": "lost@example.net", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}
    mail = {"messageId": "0100"}
    bounce = {"notificationType": "Bounce", "bounce": {"bouncedRecipients": [bounced]}, "mail": mail}
    assert one(ses(bounce, wrapped)) == ("lost@example.net", "5.1.1", "hard", "unknown_user", "failed")
    delivery = {"notificationType": "Delivery", "delivery": {"recipients": ["a@example.net"]}, "mail": mail}
    assert read(ses(delivery, wrapped)).kind == "delivered"
    complaint = {"notificationType": "Complaint", "complaint": {"complainedRecipients": [bounced]}, "mail": mail}
    reading = read(ses(complaint, wrapped))
    assert (reading.kind, reading.recipients[0].address) == ("complaint", "lost@example.net")


ARF = (
    "From: <fbl@provider.example>\nSubject: FW: hi\n"
    'Content-Type: multipart/report; report-type=feedback-report; boundary="a"\n\n'
    "--a\n\nThis is an abuse report.\n--a\nContent-Type: message/feedback-report\n\n"
    "Feedback-Type: abuse\nUser-Agent: Some/1\nVersion: 1\nOriginal-Rcpt-To: <reader@provider.example>\n"
    "Original-Mail-From: <b+x@bounce.example.org>\nArrival-Date: Thu, 1 Jan 2026 10:00:00 +0000\n"
    "Source-IP: 192.0.2.1\n\n"
    f"--a\nContent-Type: message/rfc822\n\n{ORIGINAL}\n--a--\n"
)


def test_complaints() -> None:
    reading = read(ARF)
    assert (reading.kind, reading.message_id) == ("complaint", "m1@example.org")
    assert reading.complaint is not None
    assert reading.complaint.feedback_type == "abuse"
    assert reading.complaint.recipients == ("reader@provider.example",)
    assert reading.complaint.mail_from == "b+x@bounce.example.org"
    assert (reading.complaint.source_ip, reading.complaint.user_agent) == ("192.0.2.1", "Some/1")
    assert reading.complaint.arrival_date.startswith("Thu, 1 Jan")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message/feedback-report", "text/plain"),
        ("message/rfc822", "text/rfc822-headers"),
        ("Feedback-Type: abuse\n", ""),
        ("report-type=feedback-report; ", ""),
    ],
)
def test_complaints_that_are_not_quite_arf(old: str, new: str) -> None:
    reading = read(ARF.replace(old, new))
    assert reading.kind == "complaint"
    assert reading.message_id == "m1@example.org"


def test_a_complaint_without_arf() -> None:
    text = (
        "From: <staff@provider.example>\nSubject: complaint about message from 192.0.2.1\n"
        "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\n"
        f"X-HmXmrOriginalRecipient: reader@provider.example\n{ORIGINAL}\n--a--\n"
    )
    reading = read(text)
    assert (reading.kind, reading.message_id) == ("complaint", "m1@example.org")
    assert reading.recipients[0].address == "reader@provider.example"


PERSON = "From: Ann <ann@example.net>\nReturn-Path: <ann@example.net>\nTo: us@example.org\n"
ANSWERS = {
    "vacation by header": f"{PERSON}Auto-Submitted: auto-replied (vacation)\nSubject: Re: hi\n\nI am away.\n",
    "vacation by subject": f"{PERSON}Subject: Automatic reply: hi\n\nI am away; write to bob@example.net.\n",
    "in German": f"{PERSON}Subject: Abwesenheitsnotiz\n\nIch bin nicht da.\n",
    "old precedence": f"{PERSON}Precedence: auto_reply\nSubject: thanks\n\nWe got your message.\n",
    "with the null sender": "From: ann@example.net\nReturn-Path: <>\nSubject: Out of office\n\nMail bob@example.net.\n",
    "a read receipt": (
        f"{PERSON}Subject: Read: hi\n"
        "Content-Type: multipart/report; report-type=disposition-notification; boundary=a\n\n"
        "--a\n\nYour message was displayed.\n--a\nContent-Type: message/disposition-notification\n\n"
        "Final-Recipient: rfc822; ann@example.net\nDisposition: manual-action/MDN-sent-manually; displayed\n\n--a--\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_machines(name: str) -> None:
    assert read(ANSWERS[name]).kind == "auto_reply"


DSN = report("words", FIELDS + "Action: failed\nStatus: 5.1.1\n")
MESSAGES = {
    "a person asks about a bounce": (
        f"{PERSON}Subject: Re: Undelivered Mail Returned to Sender\n\nCan you help? I got this:\n\n"
        "> <lost@example.net>: host mx said: 550 5.1.1 User unknown (in reply to RCPT TO command)\n"
        "> Final-Recipient: rfc822; lost@example.net\n> Action: failed\n"
    ),
    "a person pastes a report": (
        f"{PERSON}Subject: mail problem\n\nFinal-Recipient: rfc822; lost@example.net\nAction: failed\nStatus: 5.1.1\n"
    ),
    "a person forwards a bounce": (
        f"{PERSON}Subject: Fwd: failure\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n\nplease look\n"
        f"--outer\nContent-Type: message/rfc822\n\n{DSN}\n--outer--\n"
    ),
    "a parcel": (
        "From: Parcel <noreply@parcel.example>\nReturn-Path: <news@parcel.example>\nSubject: Delivery failed\n\n"
        "Your parcel could not be delivered. Call us or write to help@parcel.example.\n"
    ),
    "a newsletter on deliverability": (
        "From: News <news@example.com>\nReturn-Path: <b@example.com>\nList-Id: <n.example.com>\n"
        "Subject: Why mail bounced\n\nA 550 5.1.1 User unknown means that the address is gone. Ask team@example.com.\n"
    ),
    "a robot": (
        "From: ci@example.com\nAuto-Submitted: auto-generated\nSubject: build 550 failed\n\nerror for bob@example.com\n"
    ),
    "an order": f"{PERSON}Subject: Order 550\n\nPlease send 550 boxes to us at 5.1.1 Main Street.\n",
    "the postmaster writes himself": (
        "From: Postmaster <postmaster@example.net>\nReturn-Path: <postmaster@example.net>\nSubject: your question\n\n"
        "We have looked at your logs and see no problem with ann@example.net.\n"
    ),
    "the attachments of a forwarded report": DSN.replace(DAEMON, PERSON)
    .replace("Subject: Undelivered", "Subject: Fwd: Undelivered")
    .replace("multipart/report; report-type=delivery-status;", "multipart/mixed;"),
    "a challenge dressed as a report": report(
        "Your message waits. Click the link to be delivered.",
        FIELDS + "Status: 4.7.0\nDiagnostic-Code: X-Notice; sender not approved\n",
        top="From: noreply@example.net\nReturn-Path: <noreply@example.net>\nTo: us@example.org\n",
    ).replace("Subject: Undelivered Mail Returned to Sender", "Subject: Re: hi (action required)"),
    "a list's digest": (
        "From: Devel <devel@lists.example.org>\nReturn-Path: <devel-bounces@lists.example.org>\n"
        "List-Id: <devel.lists.example.org>\nSubject: Devel Digest: undelivered mail\n\n"
        "<lost@example.net>: 550 5.1.1 User unknown. Returned mail: see transcript for details.\n"
    ),
    "a parcel from nobody": (
        "From: Parcel <noreply@parcel.example>\nReturn-Path: <>\nSubject: Undeliverable shipment\n\n"
        "Your shipment for ann@example.net could not be delivered: address does not exist.\n"
    ),
    "a postal service": (
        "From: Mail Delivery <noreply@post.example>\nSubject: Delivery failed\n\n"
        "Your letter could not be delivered, the recipient has moved. Ask desk@post.example.\n"
    ),
    "a challenge": (
        "From: ann@example.net\nReturn-Path: <>\nSubject: Your message awaits approval\n\nYour message to ann@example.net"
        " could not be delivered yet. To confirm it, click https://example.net/x.\n550 days\n"
    ),
    "a postmaster's rules": (
        "From: postmaster@example.net\nReturn-Path: <postmaster@example.net>\nSubject: Undeliverable mail policy\n\n"
        "Undeliverable mail is deleted after 30 days.\n"
    ),
    "a daemon's statistics": (
        f"{DAEMON}Subject: Daily statistics\n\nMessages rejected: 7\nTop recipient: ann@example.net\n"
    ),
    "a postmaster's warning": (
        f"{DAEMON}Subject: Your mailbox is almost full\n\nThe mailbox of ann@example.net has reached 95 % of its quota.\n"
    ),
    "a quarantine": (
        f"{DAEMON}Subject: Quarantine digest\n\nFrom bob@example.org: invoice. The message was rejected by policy.\n"
    ),
    "a postmaster answers a question": (
        "From: Postmaster <postmaster@example.net>\nReturn-Path: <postmaster@example.net>\nSubject: Re: rejected mail\n\n"
        "The message to ann@example.net was rejected with 550 5.7.1 by our filter.\n"
    ),
    "nothing at all": "",
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_mail_that_is_no_report(name: str) -> None:
    reading = read(MESSAGES[name])
    assert (reading.kind, reading.recipients) == ("message", ())


HOSTILE = {
    "many addresses": DAEMON + "\n" + "".join(f"<a{n}@b.example>: something odd\n" for n in range(5000)),
    "many at signs": DAEMON + "\n" + "@" * 200_000,
    "one long word": DAEMON + "\n" + "a" * 200_000 + "@b",
    "many recipients": report("x", "Final-Recipient: rfc822; a@b.example\nAction: failed\n\n" * 5000),
    "source routes": f"{DAEMON}\nFinal-Recipient: rfc822;{'@a,' * 30_000}\nStatus: 5.1.1\n",
    "deep json": f'{DAEMON}\n{{"notificationType": ' + "[" * 200_000,
    "broken json": DAEMON + '\n{"notificationType": "Bounce", "a": "' + "\\" * 100_000,
    "json numbers": DAEMON
    + '\n{"notificationType": "Bounce", "bounce": {"bouncedRecipients": [1, null, []]}, "mail": 7}',
    "codes": DAEMON + "\n" + "550 " * 30_000,
    "prompts": DAEMON + "\n" + ">>> DATA\n" * 7000,
    "blanks": DAEMON + "\n" + (" " * 900 + "\n") * 300,
    "failed header": f"{DAEMON}X-Failed-Recipients: {'a@b.c,' * 16_000}\n\nfailed",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_takes_bounded_time(name: str) -> None:
    started = time.process_time()
    read(HOSTILE[name])
    assert time.process_time() - started < 2


@given(st.binary(max_size=1500))
def test_no_bytes_raise(data: bytes) -> None:
    read_message(data, RULES)
    read_message(DAEMON.encode() + b"\n" + data, RULES)


@given(st.sampled_from([DSN, ARF]), st.integers(0, 900), st.integers(0, 900), st.text(max_size=20))
def test_no_mutation_raises(text: str, start: int, end: int, junk: str) -> None:
    read(text[:start] + junk + text[end:])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_json_raises(value: object) -> None:
    for details in ({"bouncedRecipients": value}, value):
        read(ses({"notificationType": "Bounce", "bounce": details, "mail": value}, True))
