"""Tracked links: only the values of links change, whatever the mail; tokens that nobody can make up."""

import base64
import quopri
import re
import time
from email import message_from_bytes
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.address import Address
from mta.protocol.html import attribute_value
from mta.protocol.mime import Attachment, Draft, build
from mta.protocol.tracking import MAX_DESTINATION, Hit, Plan, decode, destination, encode, location, plan

KEY = b"k" * 32
DELIVERY = "dlv_06f9kz2r1c5v9b3g7h2j4k6m8n"
PIXEL = "https://t.example.org/t/o/XXXX"
MARKUP = st.lists(
    st.sampled_from(
        [
            "<a href=",
            "<A HREF='",
            '"',
            "'",
            ">",
            "https://x.example/?a=1&amp;b=2",
            "http://y.example/é",
            "<!--",
            "-->",
            "<!--[if mso]>",
            "<![endif]-->",
            "<area href=",
            "</body>",
            "</html>",
            "<style>",
            " ",
            "\r\n",
            "\0",
            "&copy=1",
        ]
    )
    | st.text(max_size=20)
).map("".join)


def tracked(url: str) -> str:
    return f"https://t.example.org/t/c/{encode(Hit(DELIVERY, url), KEY)}"


def same(url: str) -> None:
    return None


def mail(html: bytes, encoding: str = "8bit", charset: str = "utf-8", more: bytes = b"") -> tuple[bytes, bytes]:
    kind = b'Content-Type: text/html; charset="' + charset.encode() + b'"\r\n'
    return kind + b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n" + more, _encoded(html, encoding)


def _encoded(html: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return base64.encodebytes(html).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(html.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return html


def filled(head: bytes, body: bytes, pixel: str = "") -> tuple[Plan, Message]:
    made = plan(head, body)
    return made, message_from_bytes(head + b"\r\n" + made.fill(tracked, pixel))


def html_of(message: Message) -> bytes:
    raw = next(part for part in message.walk() if part.get_content_type() == "text/html").get_payload(decode=True)
    assert isinstance(raw, bytes)
    return raw


@given(MARKUP, st.sampled_from(["8bit", "base64", "quoted-printable"]))
def test_any_html_is_read_and_undone(html: str, encoding: str) -> None:
    head, body = mail(html.encode(), encoding)
    made = plan(head, body)
    assert made.fill(same) == body
    changed = filled(head, body)[1]
    plain = html_of(message_from_bytes(head + b"\r\n" + body))
    link = re.compile(rb"https://t\.example\.org/t/c/([\w-]+)")
    urls = [decode(token.decode(), KEY) for token in link.findall(html_of(changed))]
    assert [hit and hit.url for hit in urls] == list(made.links)
    # With each link's own source put back, the octets are those that came.
    raws = iter(re.split(rb"\0{4}", html_of(message_from_bytes(head + b"\r\n" + made.fill(lambda url: "\0\0\0\0")))))
    parts = link.split(html_of(changed))[::2]
    assert parts == list(raws)
    at = 0
    for part in parts:
        at = plain.index(part, at) + len(part)
    assert at == len(plain)


@given(st.binary(max_size=300), st.binary(max_size=2000))
def test_any_bytes_are_left_as_they_were(head: bytes, body: bytes) -> None:
    assert plan(head, body).fill(same) == body
    plan(b"Content-Type: text/html\r\n" + head, body).fill(tracked, PIXEL)


@given(st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace").decode()))
def test_tokens(url: str) -> None:
    token = encode(Hit(DELIVERY, url), KEY)
    assert decode(token, KEY) == Hit(DELIVERY, url) and re.fullmatch(r"[\w-]+", token)
    assert token == encode(Hit(DELIVERY, url), KEY)
    assert decode(token, b"o" * 32) is None
    for forged in (token[:-1], token + "A", "B" + token[1:] if token[0] != "B" else "C" + token[1:], token + "="):
        assert decode(forged, KEY) is None


@pytest.mark.parametrize(
    "token", ["", "x", "A" * 64, "A" * 10_000, "é", "../../x", base64.urlsafe_b64encode(b"x" * 40).decode()]
)
def test_what_is_no_token(token: str) -> None:
    assert decode(token, KEY) is None


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("https://x.example/?a=1&amp;b=2", "https://x.example/?a=1&b=2"),
        ("https://x.example/?a=1&copy=2&reg;", "https://x.example/?a=1&copy=2®"),
        ("https://x.example/?a=1&ampb&lt", "https://x.example/?a=1&ampb<"),
        ("https://x.example/&#x41;&#66;", "https://x.example/AB"),
        (" \r\nHTTPS://x.example/a\r\n b ", "HTTPS://x.example/a b"),
        ("http://x.example#part", "http://x.example#part"),
    ],
)
def test_the_destination_is_what_a_browser_reads(href: str, url: str) -> None:
    assert destination(attribute_value(href)) == url


@pytest.mark.parametrize(
    "href",
    [
        "mailto:a@b.example",
        "tel:+1",
        "#top",
        "cid:x",
        "/here",
        "//x.example",
        "javascript:alert(1)",
        "https:///x",
        "https://",
        "ftp://x.example",
        "http:\\\\x.example",
        "",
        "{{ link }}",
        "data:text/html,x",
        "https://x.example/" + "a" * MAX_DESTINATION,
    ],
)
def test_what_is_not_the_web_stays(href: str) -> None:
    head, body = mail(f'<a href="{href}">x</a>'.encode())
    assert plan(head, body).fill(tracked) == body


@pytest.mark.parametrize(
    "off",
    [
        'data-posthouse-track="off"',
        "data-posthouse-track=false",
        "data-pm-no-track",
        "ses:no-track",
        "clicktracking=off",
    ],
)
def test_a_link_opts_out(off: str) -> None:
    head, body = mail(
        f'<a {off} href="https://x.example/">x</a><a data-posthouse-track=on href="https://y.example/">'.encode()
    )
    assert list(plan(head, body).links) == ["https://y.example/"]


def test_the_link_out_of_a_list_is_not_watched() -> None:
    head, body = mail(b'<a href="https://x.example/leave?u=1&amp;v=2">x</a><a href="https://x.example/">y</a>')
    head += b"List-Unsubscribe: <https://x.example/leave?u=1&v=2>,\r\n <mailto:a@b.example>\r\n"
    assert list(plan(head, body).links) == ["https://x.example/"]


def test_only_values_of_links_change() -> None:
    html = (
        b'<!-- <a href="https://c.example/"> --><P><A class="x" hRef = \'https://a.example/?q="1"\' id=y>a</A>'
        b'<!--[if mso]><v:rect href="https://v.example/"><a href=https://m.example/><![endif]-->'
        b'<script>"<a href=\'https://s.example/\'>"</script><link href="https://l.example/"><b <a href="https://q.example/">'
        b'<a href="https://one.example/" href="https://two.example/">'
    )
    head, body = mail(html)
    made = plan(head, body)
    assert list(made.links) == [
        'https://a.example/?q="1"',
        "https://v.example/",
        "https://m.example/",
        "https://one.example/",
    ]
    assert made.fill(lambda url: "U") == (
        b'<!-- <a href="https://c.example/"> --><P><A class="x" hRef = \'U\' id=y>a</A>'
        b'<!--[if mso]><v:rect href="U"><a href=U><![endif]-->'
        b'<script>"<a href=\'https://s.example/\'>"</script><link href="https://l.example/"><b <a href="https://q.example/">'
        b'<a href="U" href="https://two.example/">'
    )


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        (b"<body><p>x</p></body></html>\r\n", b"<body><p>x</p>PIXEL</body></html>\r\n"),
        (b"<p>x</p></html>", b"<p>x</p>PIXEL</html>"),
        (b"<p>x", b"<p>xPIXEL"),
        (b"</body><!-- </body> --></body>", b"</body><!-- </body> -->PIXEL</body>"),
        (b"", b"PIXEL"),
    ],
)
@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
def test_the_pixel_stands_at_the_end(html: bytes, shown: bytes, encoding: str) -> None:
    head, body = mail(html, encoding)
    read = html_of(filled(head, body, PIXEL)[1])
    assert re.sub(rb"<img [^>]*>", b"PIXEL", read) == shown
    assert read.count(PIXEL.encode()) == 1


@pytest.mark.parametrize(
    "charset",
    [
        "iso-8859-1",
        "windows-1252",
        "koi8-r",
        "shift_jis",
        "euc-jp",
        "gb18030",
        "big5",
        "iso-2022-jp",
        "euc-kr",
        "x-unknown",
        "",
    ],
)
@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_charsets(charset: str, encoding: str) -> None:
    text = {
        "koi8-r": "Привет",
        "iso-8859-1": "grün",
        "windows-1252": "€ grün",
        "big5": "中文許功蓋",
        "gb18030": "中文镕",
    }
    text |= {"euc-kr": "한국어"} | dict.fromkeys(("shift_jis", "euc-jp", "iso-2022-jp"), "表示ソ日本語")
    shown = text.get(charset, "plain")
    html = f'<p title="{shown}">{shown}<a href="https://x.example/">{shown}</a>'
    head, body = mail(html.encode(charset if charset in text else "ascii"), encoding, charset)
    made, read = filled(head, body)
    assert list(made.links) == ["https://x.example/"] and made.fill(same) == body
    expected = html.replace("https://x.example/", tracked("https://x.example/"))
    assert html_of(read).decode(charset if charset in text else "ascii").rstrip() == expected


def test_a_destination_in_another_charset() -> None:
    head, body = mail('<a href="https://x.example/grün">'.encode("iso-8859-1"), charset="iso-8859-1")
    assert list(plan(head, body).links) == ["https://x.example/grün"]
    assert (
        location("https://x.example/grün b\r\nSet-Cookie: x") == "https://x.example/gr%C3%BCn%20b%0D%0ASet-Cookie:%20x"
    )


@pytest.mark.parametrize("charset", ["utf-16", "utf-7", "hz", "cp037"])
def test_markup_that_is_not_ascii_is_left_alone(charset: str) -> None:
    head, body = mail('<a href="https://x.example/">'.encode(charset), "base64", charset)
    assert plan(head, body).fill(tracked, PIXEL) == body


def test_quoted_printable_lines_stay_short() -> None:
    html = ("<p>" + "word " * 30 + '<a href="https://x.example/' + "a" * 300 + '?b=c">x</a>\r\n') * 5
    head, body = mail(html.encode(), "quoted-printable")
    made = plan(head, body)
    written = made.fill(tracked, PIXEL)
    assert max(map(len, written.split(b"\r\n"))) <= 76 and len(list(made.links)) == 5
    assert html_of(filled(head, body)[1]).count(b"/t/c/") == 5


def draft(**more: object) -> tuple[bytes, bytes]:
    values = {"text": "https://x.example/", "html": '<a href="https://x.example/">x</a><img src="cid:i">', **more}
    built = build(Draft(("", Address("a", "b.example")), to=[("", Address("c", "d.example"))], **values), token="t")  # type: ignore[arg-type]
    return built.head, built.body


def test_text_attachments_and_forwarded_mail_stay() -> None:
    page = Attachment(b'<a href="https://x.example/">', "page.html", "text/html")
    image = Attachment(b"GIF89a", "i.gif", "image/gif", content_id="i")
    head, body = draft(attachments=[page, image])
    made, read = filled(head, body, PIXEL)
    assert list(made.links) == ["https://x.example/"]
    before = [part.get_payload(decode=True) for part in message_from_bytes(head + b"\r\n" + body).walk()]
    after = [part.get_payload(decode=True) for part in read.walk()]
    assert [one == other for one, other in zip(before, after, strict=True)].count(False) == 1
    outer = EmailMessage()
    outer.set_content("see below")
    outer.add_attachment(message_from_bytes(head + b"\r\n" + body, policy=outer.policy))
    raw = outer.as_bytes(policy=outer.policy.clone(linesep="\r\n"))
    top, _, content = raw.partition(b"\r\n\r\n")
    assert plan(top + b"\r\n", content).fill(tracked, PIXEL) == content


@pytest.mark.parametrize(
    "kind", ["multipart/signed", "multipart/encrypted", "multipart/report", "application/pkcs7-mime", "text/plain"]
)
def test_what_is_sealed_stays(kind: str) -> None:
    head = f'Content-Type: {kind}; boundary="b"\r\n'.encode()
    body = b'--b\r\nContent-Type: text/html\r\n\r\n<a href="https://x.example/">\r\n--b\r\nContent-Type: x/y\r\n\r\nz\r\n--b--\r\n'
    assert plan(head, body).fill(tracked, PIXEL) == body
    mixed = (
        b'--o\r\nContent-Type: text/html\r\n\r\n<a href="https://y.example/">\r\n--o\r\n'
        + head
        + b"\r\n"
        + body
        + b"--o--\r\n"
    )
    made = plan(b'Content-Type: multipart/mixed; boundary="o"\r\n', mixed)
    assert list(made.links) == ["https://y.example/"]


def test_a_part_that_the_end_may_cut_is_left_alone() -> None:
    head, body = draft()
    assert list(plan(head, body, whole=False).links) == ["https://x.example/"]
    cut = body[: body.index(b"</a>")]
    assert plan(head, cut, whole=False).fill(tracked, PIXEL) == cut
    head, body = mail(b'<a href="https://x.example/">')
    assert plan(head, body, whole=False).fill(tracked, PIXEL) == body


@pytest.mark.parametrize("piece", ["<a href='", "<!--", "<a href=https://x.example/ ", "<!--[if", "=3D", "&#", "<a "])
def test_time_is_linear(piece: str) -> None:
    html = piece.encode() * (200_000 // len(piece))
    for encoding in ("8bit", "quoted-printable"):
        head, body = mail(html, encoding)
        began = time.perf_counter()
        plan(head, body).fill(tracked, PIXEL)
        assert time.perf_counter() - began < 3
