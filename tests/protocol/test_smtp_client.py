"""The client machine by dialogs: what it writes, what it makes of the answers, where it stops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.address import Address, parse_address
from mta.protocol.reply_reader import ProtocolTrouble
from mta.protocol.smtp_client import SmtpClient, State, Tampering
from mta.protocol.smtp_features import Features, parse_features
from mta.protocol.transaction import NotOffered, Recipient, Transaction

SENDER = parse_address("sender@example.com")
PIPELINING = "250-mx.example.org hello\r\n250-PIPELINING\r\n250 SIZE 1000"


def transaction(*locals_: str, **more: object) -> Transaction:
    recipients = tuple(Recipient(parse_address(f"{local}@example.org")) for local in locals_ or ("bob",))
    return Transaction(SENDER, recipients, (), **more)  # type: ignore[arg-type]


def ready(ehlo: str = PIPELINING) -> SmtpClient:
    client = SmtpClient("client.example")
    client.receive(b"220 mx.example.org ESMTP\r\n")
    assert client.to_send() == b"EHLO client.example\r\n"
    client.receive(ehlo.encode() + b"\r\n")
    assert client.state is State.READY
    return client


def play(client: SmtpClient, *steps: tuple[str, str]) -> None:
    """Each step: what the client must have written (lines joined by |), and what the server answers (likewise)."""
    for written, answer in steps:
        assert client.to_send().decode() == "".join(f"{line}\r\n" for line in written.split("|") if line)
        client.receive("".join(f"{line}\r\n" for line in answer.split("|") if line).encode())


ENVELOPE = "MAIL FROM:<sender@example.com>|RCPT TO:<bob@example.org>|DATA"


def test_a_pipelined_transaction_is_one_write() -> None:
    client = ready()
    client.begin(transaction())
    play(client, (ENVELOPE, "250 2.1.0 ok|250 2.1.5 ok|354 go"))
    assert client.state is State.CONTENT
    assert client.stage == "block"
    client.content_sent()
    assert client.stage == "dot"
    assert not client.settled
    [reply] = client.receive(b"250 2.0.0 queued as 1\r\n")
    result = client.result()
    assert (result.mail.command, result.recipients[0].command, result.data) == ("MAIL", "RCPT", reply)
    assert (reply.code, reply.enhanced, reply.text, reply.command) == (250, "2.0.0", "queued as 1", "DOT")
    assert client.state is State.READY


def test_without_pipelining_each_command_waits() -> None:
    client = ready("250 mx.example.org")
    client.begin(transaction("bob", "eve"))
    play(
        client,
        ("MAIL FROM:<sender@example.com>", "250 ok"),
        ("RCPT TO:<bob@example.org>", "250 ok"),
        ("RCPT TO:<eve@example.org>", "550 no"),
        ("DATA", "354 go"),
    )
    assert client.state is State.CONTENT
    assert [reply.code for reply in client.recipient_replies] == [250, 550]


REFUSALS = [
    # replies to MAIL, RCPT, RCPT, DATA; the codes that the result holds: MAIL, RCPTs, DATA
    (["250", "550", "450", "554"], (250, [550, 450], None)),
    (["250", "250", "450", "451"], (250, [250, 450], 451)),
    (["451", "503", "503", "503"], (451, [], None)),
    (["250", "250", "421"], (250, [250, 421], 421)),
    (["250", "421"], (250, [421, 421], None)),
    (["421"], (421, [], None)),
]


@pytest.mark.parametrize(("codes", "expected"), REFUSALS)
@pytest.mark.parametrize("pipelining", [True, False])
def test_refusals(pipelining: bool, codes: list[str], expected: tuple[int, list[int], int | None]) -> None:
    client = ready(PIPELINING if pipelining else "250 mx.example.org")
    client.begin(transaction("bob", "eve"))
    for code in codes:
        client.to_send()
        if client.waiting:
            client.receive(f"{code} text\r\n".encode())
    result = client.result()
    found = result.mail.code, [reply.code for reply in result.recipients], result.data and result.data.code
    assert found == expected
    assert client.state is (State.CLOSED if codes[-1] == "421" else State.READY)


def test_data_accepted_with_no_recipient_ends_with_a_lone_dot() -> None:  # RFC 2920 §3.1
    client = ready()
    client.begin(transaction())
    play(client, (ENVELOPE, "250 ok|550 no such user|354 go"), (".", "554 no valid recipients"))
    assert client.state is State.READY
    assert client.result().data is None
    client.begin(transaction())
    assert client.to_send().startswith(b"RSET\r\nMAIL FROM")


def test_a_recipient_accepted_without_a_sender_is_no_place_for_a_dot() -> None:
    client = ready()
    client.begin(transaction())
    client.to_send()
    with pytest.raises(ProtocolTrouble):
        client.receive(b"550 no\r\n250 ok\r\n354 go\r\n")
    assert client.closed
    assert client.to_send() == b""
    assert client.result().mail.code == 550  # certain, whatever became of the connection


def test_after_a_refusal_the_next_transaction_starts_with_rset() -> None:
    client = ready("250 mx.example.org")
    client.begin(transaction())
    play(client, ("MAIL FROM:<sender@example.com>", "250 ok"), ("RCPT TO:<bob@example.org>", "550 no"))
    client.begin(transaction())
    play(client, ("RSET", "250 ok"), ("MAIL FROM:<sender@example.com>", "250 ok"), ("RCPT TO:<bob@example.org>", ""))


def test_after_a_delivery_no_rset_is_needed() -> None:
    client = ready()
    client.begin(transaction())
    play(client, (ENVELOPE, "250 ok|250 ok|354 go"))
    client.content_sent()
    client.receive(b"250 ok\r\n")
    client.begin(transaction())
    play(client, (ENVELOPE, ""))


def test_an_early_refusal_ends_the_connection() -> None:
    client = ready()
    client.begin(transaction())
    play(client, (ENVELOPE, "250 ok|250 ok|354 go"))
    client.receive(b"552 5.3.4 too big\r\n")
    assert client.closed
    data = client.result().data
    assert data is not None
    assert (data.code, data.command) == (552, "DOT")


@pytest.mark.parametrize(
    ("answer", "stage"),
    [
        ("250 ok|250 ok|250 ok", "data"),  # DATA is not answered by 250: nothing was delivered
        ("354 go", "mail"),
        ("250 ok|354 go", "rcpt"),
        ("250 ok|250 ok|354 go|250 already", "block"),
        ("hello", "mail"),
    ],
)
def test_answers_that_cannot_be(answer: str, stage: str) -> None:
    client = ready()
    client.begin(transaction())
    client.to_send()
    with pytest.raises(ProtocolTrouble):
        client.receive("".join(f"{line}\r\n" for line in answer.split("|")).encode())
    assert (client.state, client.stage) == (State.CLOSED, stage)
    assert not client.settled
    assert client.receive(b"250 more\r\n") == []


def test_a_reply_that_nobody_asked_for() -> None:
    with pytest.raises(ProtocolTrouble):
        ready().receive(b"250 surprise\r\n")


def test_421_to_an_idle_connection_closes_it() -> None:
    client = ready()
    [reply] = client.receive(b"421 4.4.2 idle too long\r\n")
    assert (reply.code, reply.command, client.state) == (421, "", State.CLOSED)


def test_helo_where_ehlo_is_refused() -> None:
    client = SmtpClient("client.example")
    play(client, ("", "220 old"), ("EHLO client.example", "502 what?"), ("HELO client.example", "250 old.example.org"))
    assert client.state is State.READY
    assert client.features == Features(name="old.example.org")


@pytest.mark.parametrize("answers", [["554 go away"], ["220 hi", "450 later"], ["220 hi", "500 no", "550 neither"]])
def test_a_refused_greeting_closes(answers: list[str]) -> None:
    client = SmtpClient("client.example")
    for answer in answers:
        client.to_send()
        client.receive(answer.encode() + b"\r\n")
    assert client.closed
    assert client.last is not None
    assert str(client.last) == answers[-1]


def test_starttls_forgets_what_was_said_in_clear() -> None:
    client = ready("250-mx.example.org\r\n250-PIPELINING\r\n250 STARTTLS")
    client.starttls()
    play(client, ("STARTTLS", "220 go"))
    assert client.state is State.HANDSHAKE
    client.tls_started()
    assert not client.features.pipelining
    play(client, ("EHLO client.example", "250-mx.example.org|250 DSN"))
    assert client.features == Features("mx.example.org", esmtp=True, dsn=True)


@pytest.mark.parametrize("injected", [b"250 ok\r\n", b"2", b"421 bye\r\n", b"\x16\x03\x01"])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_in_clear_after_starttls_are_tampering(injected: bytes, together: bool) -> None:
    client = ready("250-mx.example.org\r\n250 STARTTLS")
    client.starttls()
    chunks = [b"220 go\r\n" + injected] if together else [b"220 go\r\n", injected]
    with pytest.raises(Tampering):
        for chunk in chunks:
            client.receive(chunk)


def test_starttls_refused_leaves_the_connection_ready() -> None:
    client = ready("250-mx.example.org\r\n250 STARTTLS")
    client.starttls()
    client.receive(b"454 4.7.0 not now\r\n")
    assert client.state is State.READY


FULL = Transaction(
    None,
    (Recipient(parse_address("bob@example.org"), ("SUCCESS", "DELAY"), "rfc822;bob+2Bx@example.org"),),
    (),
    size=99,
    eight_bit=True,
    ret="HDRS",
    envid="a+3Db",
)


@pytest.mark.parametrize(
    ("offered", "mail", "rcpt"),
    [
        ("HELP", "MAIL FROM:<>", "RCPT TO:<bob@example.org>"),
        ("SIZE", "MAIL FROM:<> SIZE=99", "RCPT TO:<bob@example.org>"),
        ("8BITMIME", "MAIL FROM:<> BODY=8BITMIME", "RCPT TO:<bob@example.org>"),
        (
            "DSN",
            "MAIL FROM:<> RET=HDRS ENVID=a+3Db",
            "RCPT TO:<bob@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+2Bx@example.org",
        ),
    ],
)
def test_parameters_only_where_offered(offered: str, mail: str, rcpt: str) -> None:
    client = ready(f"250-mx.example.org\r\n250-PIPELINING\r\n250 {offered}")
    client.begin(FULL)
    assert client.to_send().decode().split("\r\n")[:2] == [mail, rcpt]


def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    unicode = Transaction(SENDER, (Recipient(parse_address("jürgen@example.org")),), ())
    client = ready()
    with pytest.raises(NotOffered, match="SMTPUTF8"):
        client.begin(unicode)
    assert (client.state, client.to_send()) == (State.READY, b"")
    client = ready("250-mx.example.org\r\n250 SMTPUTF8")
    client.begin(unicode)
    assert client.to_send() == b"MAIL FROM:<sender@example.com> SMTPUTF8\r\n"


@pytest.mark.parametrize("evil", ["x\r\nDATA", "x\nDATA", "x\0", "x\x7f"])
def test_no_command_is_smuggled_in_an_address(evil: str) -> None:
    client = ready()
    with pytest.raises(ValueError, match="control"):
        client.begin(Transaction(Address(evil, "example.com"), transaction().recipients, ()))
    assert client.to_send() == b""


def test_features_are_read_whatever_their_case() -> None:
    text = (
        "mx.example.org at your service\nsize 35882577\n8bitmime\nStartTLS\nPIPELINING\nCHUNKING\nSMTPUTF8\nDSN\n"
        "ENHANCEDSTATUSCODES\nAUTH PLAIN LOGIN\nAUTH=LOGIN XOAUTH2\nLIMITS RCPTMAX=20 MAILMAX=5\nX-UNKNOWN"
    )
    assert parse_features(text) == Features(
        "mx.example.org", True, 35882577, True, True, True, True, True, True, True, ("PLAIN", "LOGIN", "XOAUTH2"), 20, 5
    )


@pytest.mark.parametrize(
    ("line", "size"), [("SIZE", 0), ("SIZE 0", 0), ("SIZE many", 0), ("SIZE -5", 0), ("HELP", None)]
)
def test_a_size_without_a_limit(line: str, size: int | None) -> None:
    assert parse_features(f"mx\n{line}").size == size


@given(st.text(max_size=200))
def test_any_text_gives_features(text: str) -> None:
    assert parse_features(text).esmtp


LINE = st.one_of(
    st.sampled_from(
        ["250 ok", "250-ok", "354 go", "421 bye", "450 later", "550 no", "220 hi", "251 ok", "garbage", ""]
    ),
    st.text(max_size=10),
)


@given(st.lists(LINE, max_size=12), st.booleans(), st.integers(1, 50))
def test_no_dialog_breaks_the_machine(lines: list[str], pipelining: bool, step: int) -> None:
    """Whatever a server says: nothing but ProtocolTrouble, never a delivery that it did not confirm after the dot."""
    client = ready(PIPELINING if pipelining else "250 mx.example.org")
    client.begin(transaction("bob", "eve"))
    wire = "".join(f"{line}\r\n" for line in lines).encode()
    dot = False
    try:
        for n in range(0, len(wire), step):
            client.receive(wire[n : n + step])
            client.to_send()
            if client.state is State.CONTENT:
                client.content_sent()
                dot = True
    except ProtocolTrouble:
        assert client.closed
    if client.settled:
        result = client.result()
        if result.mail.positive:
            assert len(result.recipients) == 2
            assert (result.data is None) == (not any(reply.positive for reply in result.recipients))
        if result.data and result.data.positive:
            assert dot
