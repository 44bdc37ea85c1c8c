"""MIME of an API send: read back by the standard library, and no string in it becomes a field or a recipient."""

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.address import parse_address
from mta.protocol.headers import parse, split_head
from mta.protocol.mime import Attachment, Built, Draft, build

A = ("Alice", parse_address("alice@example.org"))
B = ("", parse_address("bob@example.net"))
UNICODE = st.text(st.characters(blacklist_categories=("Cs",)), max_size=200)
HOSTILE = st.lists(
    st.sampled_from(
        ["=?utf-8?q?", "=0D=0ABcc:_x@evil.example", "?=", "\r\n", "\n", "\u2028", "\x85", "Bcc: x@evil.example", " ",
         "<x@evil.example>", ",", '"', "é", "a", ":", ";", "--=_t_mixed", "=?utf-8?b?DQpCY2M6IHhAZXZpbC5leGFtcGxl?="]
    ),
    max_size=6,
).map("".join)  # fmt: skip


def message(built: Built) -> EmailMessage:
    whole = built.head + b"\r\n" + built.body
    assert built.smtputf8 or whole.isascii()
    assert all(len(line) <= 998 for line in whole.split(b"\r\n"))
    assert b"\n" not in whole.replace(b"\r\n", b"") and b"\r" not in whole.replace(b"\r\n", b"")
    return email.message_from_bytes(whole, policy=email.policy.default)


def shape(part: EmailMessage) -> object:
    return [part.get_content_type(), *map(shape, part.iter_parts())] if part.is_multipart() else part.get_content_type()


def test_plain_text():
    built = build(Draft(A, to=[B], subject="Hi", text="one\ntwo  \r\n.\r\nFrom é"), token="t")
    assert built == Built(
        b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n',
        b"one\r\ntwo =20\r\n=2E\r\nFrom =C3=A9",
        False,
    )
    assert split_head(built.head + b"\r\n" + built.body)[0] == built.head


PDF = Attachment(b"%PDF\0\xff", "a.pdf", "application/pdf")
LOGO = Attachment(b"\x89PNG", "logo.png", "image/png", "logo")


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        (Draft(A), "text/plain"),
        (Draft(A, html="<p>"), "text/html"),
        (Draft(A, text="a", html="b"), ["multipart/alternative", "text/plain", "text/html"]),
        (Draft(A, text="a", attachments=[PDF]), ["multipart/mixed", "text/plain", "application/pdf"]),
        (Draft(A, text="a", attachments=[LOGO]), ["multipart/mixed", "text/plain", "image/png"]),
        (Draft(A, html="b", attachments=[LOGO]), ["multipart/related", "text/html", "image/png"]),
        (
            Draft(A, text="a", html="b", attachments=[PDF, LOGO]),
            [
                "multipart/mixed",
                ["multipart/alternative", "text/plain", ["multipart/related", "text/html", "image/png"]],
                "application/pdf",
            ],
        ),
    ],
)
def test_structure(draft, expected):
    assert shape(message(build(draft, token="t"))) == expected


@given(UNICODE, UNICODE, st.binary(max_size=200))
def test_contents_come_back(text, html, content):
    def lines(value: str) -> str:
        return value.replace("\r\n", "\n").replace("\r", "\n")

    read = message(build(Draft(A, text=text, html=html, attachments=[Attachment(content, "x")]), token="t"))
    alternative, attachment = read.iter_parts()
    plain, rich = alternative.iter_parts()
    assert plain.get_payload(decode=True).decode().replace("\r\n", "\n") == lines(text)
    assert rich.get_payload(decode=True).decode().replace("\r\n", "\n") == lines(html)
    assert attachment.get_payload(decode=True) == content


def test_mostly_non_ascii_text_is_base64():
    read = message(build(Draft(A, text="漢字" * 100, html="a" * 5000), token="t"))
    assert [part["Content-Transfer-Encoding"] for part in read.iter_parts()] == ["base64", "quoted-printable"]


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_string_becomes_a_field_or_a_recipient(display, subject, value, filename, text, content_id):
    draft = Draft(
        (display, A[1]),
        to=[(display, B[1])],
        cc=[(display, B[1])],
        reply_to=[(display, B[1])],
        subject=subject,
        text=text,
        html=text,
        attachments=[Attachment(text.encode(), filename, content_id=content_id)],
        headers=[("X-Custom", value), ("References", value)],
    )
    try:
        built = build(draft, token="t")
    except ValueError as error:
        assert str(error).endswith(".")
        return
    names = [name for name, _ in message(built).items()]
    assert names == [
        "From",
        "To",
        "Cc",
        "Reply-To",
        "Subject",
        "X-Custom",
        "References",
        "MIME-Version",
        "Content-Type",
    ]
    assert len(list(message(built).walk())) == (5 if not content_id else 6) - bool(content_id)
    fields = email.message_from_bytes(built.head, policy=email.policy.compat32)
    for name, address in (("From", A[1]), ("To", B[1]), ("Cc", B[1]), ("Reply-To", B[1])):
        assert email.utils.getaddresses([fields[name]])[0][1] == str(address)
        assert len(email.utils.getaddresses([fields[name]])) == 1


FILENAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=255)


@given(st.one_of(FILENAMES, st.text(st.sampled_from("=?utf-8q\"\\;'*%/ .é"), min_size=1, max_size=80)))
def test_filenames_come_back(filename):
    built = build(Draft(A, attachments=[Attachment(b"x", filename)]), token="t")
    message(built)
    legacy = email.message_from_bytes(built.head + b"\r\n" + built.body, policy=email.policy.compat32)
    assert legacy.get_payload()[1].get_filename("") == filename.strip()  # which that reader does to every value


def test_bad_filenames():
    for filename in ("a\r\nb", "a\0", "a\u2028"):
        with pytest.raises(ValueError, match="filename holds the control character"):
            build(Draft(A, attachments=[Attachment(b"", filename)]), token="t")
    with pytest.raises(ValueError, match="255"):
        build(Draft(A, attachments=[Attachment(b"", "x" * 256)]), token="t")


@pytest.mark.parametrize("kind", ["", "pdf", "a/b\r\nBcc: x", "a/b; x", "é/b", 'a/b; x="=?utf-8?q?a?="', "a/b c"])
def test_bad_content_types(kind):
    with pytest.raises(ValueError, match="is no content type"):
        build(Draft(A, attachments=[Attachment(b"", "a", kind)]), token="t")


def test_content_types():
    kinds = ['text/calendar; method=REQUEST; charset="utf-8"', "message/rfc822", "Multipart/Mixed"]
    read = message(build(Draft(A, attachments=[Attachment(b"x", "a", kind) for kind in kinds]), token="t"))
    _, calendar, *others = read.iter_parts()
    assert calendar["Content-Type"].params["method"] == "REQUEST"
    assert [part.get_content_type() for part in others] == ["application/octet-stream"] * 2


@pytest.mark.parametrize(
    "name",
    ["From", "TO", "cc", "Bcc", "Reply-To", "Subject", "Date", "Received", "Return-Path", "DKIM-Signature", "Sender",
     "MIME-Version", "Content-Type", "content-anything", "Resent-To", "X-Posthouse-Tag", "ARC-Seal",
     "Authentication-Results"],
)  # fmt: skip
def test_reserved_headers(name):
    with pytest.raises(ValueError, match=f"{name} cannot be set as a custom header"):
        build(Draft(A, headers=[(name, "x")]), token="t")


def test_custom_headers():
    headers = [("X-A", "é"), ("X-A", "2"), ("In-Reply-To", "<a@b>"), ("References", " ".join(["<a@b>"] * 100))]
    head = parse(build(Draft(A, headers=headers), token="t").head)
    assert [f.text for f in head.all("X-A")] == ["é", "2"]
    assert head.get("References").text == headers[3][1]
    for bad in ([("References", "é")], [("References", "x" * 999)], [("List-Id", "=?utf-8?q?x?=")]):
        with pytest.raises(ValueError, match="must be ASCII"):
            build(Draft(A, headers=bad), token="t")
    with pytest.raises(ValueError, match="given twice"):
        build(Draft(A, headers=[("References", "<a@b>")] * 2), token="t")
    with pytest.raises(ValueError, match="control character"):
        build(Draft(A, headers=[("References", "<a@b>\r\nBcc: x")]), token="t")


def test_unsubscribe():
    uris = ["https://u.example/" + "x" * 200, "mailto:u@example.org?subject=a%20b"]
    head = parse(build(Draft(A, unsubscribe=uris, one_click=True), token="t").head)
    assert head.get("List-Unsubscribe").text == ", ".join(f"<{uri}>" for uri in uris)
    assert head.get("List-Unsubscribe-Post").text == "List-Unsubscribe=One-Click"
    assert parse(build(Draft(A, unsubscribe=uris), token="t").head).get("List-Unsubscribe-Post") is None
    with pytest.raises(ValueError, match="8058"):
        build(Draft(A, unsubscribe=uris[1:], one_click=True), token="t")
    for bad in ("javascript:x", "https://a b", "https://a>, <https://b", "https://é"):
        with pytest.raises(ValueError, match="List-Unsubscribe target"):
            build(Draft(A, unsubscribe=[bad]), token="t")
    with pytest.raises(ValueError, match="given twice"):
        build(Draft(A, unsubscribe=uris, headers=[("List-Unsubscribe", "<https://x>")]), token="t")


def test_international_addresses():
    idn = ("Ü", parse_address("a@münchen.example"))
    built = build(Draft(A, to=[idn]), token="t")
    assert not built.smtputf8 and b"<a@xn--mnchen-3ya.example>" in built.head
    built = build(Draft(A, to=[("Ü", parse_address("ü@münchen.example"))], subject="é"), token="t")
    assert built.smtputf8 and '"Ü" <ü@xn--mnchen-3ya.example>'.encode() in built.head
    assert b"Subject: =?utf-8?" in built.head and built.body.isascii()


def test_same_draft_and_token_give_the_same_bytes():
    draft = Draft(A, text="a", html="b", attachments=[PDF, LOGO])
    assert build(draft, token="t") == build(draft, token="t")
    assert b"=_u_mixed" in build(draft, token="u").head


def test_half_a_character():
    with pytest.raises(ValueError, match="lone surrogate"):
        build(Draft(A, text="ab\ud800"), token="t")
    with pytest.raises(ValueError, match="control character"):
        build(Draft(A, subject="ab\ud800"), token="t")
