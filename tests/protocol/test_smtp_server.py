"""The server's machine: dialogs as tables, and properties over every input and every splitting of it."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta.protocol.address import Address
from mta.protocol.reply import Reply
from mta.protocol.smtp_command import CommandError, decode_xtext, parse_mail, parse_rcpt
from mta.protocol.smtp_data import ChunkDecoder, DotDecoder
from mta.protocol.smtp_events import (
    Abandoned,
    Begin,
    Closed,
    Data,
    Event,
    Hello,
    Login,
    Mail,
    Message,
    Rcpt,
    ServerOptions,
    StartTls,
)
from mta.protocol.smtp_line import MAX_AUTH_LINE, MAX_LINE
from mta.protocol.smtp_replies import OUT_OF_SEQUENCE, START_DATA
from mta.protocol.smtp_server import MAX_IDLE_COMMANDS, SmtpServer
from mta.protocol.smtp_states import TRANSITIONS, State

OPTIONS = ServerOptions("mx.test", max_size=1000, max_recipients=3, max_errors=5)
OK = Reply(250, "OK", "2.0.0")


class Owner:
    """Answers each question as a server that takes everything but `bad@...` and the password `wrong`."""

    def __init__(self, options: ServerOptions = OPTIONS, *, tls: bool = True, starttls: bool = False) -> None:
        self.machine = SmtpServer(options, tls=tls, starttls=starttls)
        self.events: list[Event] = []
        self.messages: list[bytes] = []
        self.content = b""
        self.replies = b""
        self.machine.greet()
        self.read()

    def feed(self, data: bytes) -> str:
        """The replies to `data`, as text."""
        self.replies = b""
        self.machine.receive(data)
        self.read()
        return self.replies.decode()

    def read(self) -> None:
        while (event := self.machine.next_event()) is not None:
            self.events.append(event)
            match event:
                case Data(content):
                    self.content += content
                case Message():
                    self.messages.append(self.content)
                    self.content = b""
                    self.machine.answer(OK)
                case Abandoned() | Hello():
                    self.content = b""
                case Mail() | Rcpt():
                    refused = event.path is not None and event.path.local == "bad"
                    self.machine.answer(Reply(550, "No", "5.1.1") if refused else OK)
                case Begin():
                    self.machine.answer(START_DATA)
                case Login():
                    wrong = event.password == "wrong"
                    self.machine.answer(Reply(535, "No", "5.7.8") if wrong else Reply(235, "Welcome", "2.7.0"))
            self.replies += self.machine.output()
        self.replies += self.machine.output()

    def in_state(self, state: State) -> Owner:
        """Brings a fresh session there by an ordinary dialog."""
        self.feed(DIALOGS[state])
        assert self.machine.state is state
        return self


DIALOGS = {
    State.HELLO: b"",
    State.READY: b"EHLO client.test\r\n",
    State.MAIL: b"EHLO client.test\r\nMAIL FROM:<a@a.test>\r\n",
    State.RCPT: b"EHLO client.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n",
    State.CHUNKS: b"EHLO client.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 3\r\nabc",
    State.DATA: b"EHLO client.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n",
}
ENVELOPE = b"EHLO client.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"


def codes(replies: str) -> list[str]:
    """The code and enhanced code of each reply."""
    finals = [line for line in replies.split("\r\n") if line[3:4] == " "]
    return [
        " ".join(line.split()[:2]) if line.split()[1:2] and line.split()[1][1:2] == "." else line[:3] for line in finals
    ]


def test_greeting_and_a_whole_message() -> None:
    owner = Owner()
    assert owner.replies == b"220 mx.test ESMTP Posthouse\r\n"
    assert owner.feed(ENVELOPE[:18]).startswith("250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n")
    assert owner.feed(ENVELOPE[18:] + b"DATA\r\n") == (
        "250 2.0.0 OK\r\n250 2.0.0 OK\r\n354 Go ahead, and end with a dot on a line of its own\r\n"
    )
    assert owner.feed(b"Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n") == "250 2.0.0 OK\r\n221 2.0.0 Bye\r\n"
    assert owner.messages == [b"Subject: x\r\n\r\n.dot\r\n"]
    assert owner.events[-1] == Closed(hostile=False)
    assert Rcpt(Address("b", "b.test"), owner.events[2].parameters) == owner.events[2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "tls", "starttls", "offered", "missing"),
    [
        (OPTIONS, False, True, {"STARTTLS", "DSN", "CHUNKING", "LIMITS RCPTMAX=3", "SMTPUTF8", "8BITMIME"}, {"AUTH"}),
        (OPTIONS, True, True, {"AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES"}, {"STARTTLS"}),
        (ServerOptions("mx.test", auth=False, dsn=False), True, False, {"PIPELINING"}, {"AUTH", "DSN", "STARTTLS"}),
    ],
)
def test_extensions(options: ServerOptions, tls: bool, starttls: bool, offered: set[str], missing: set[str]) -> None:
    lines = [line[4:] for line in Owner(options, tls=tls, starttls=starttls).feed(b"EHLO c\r\n").split("\r\n")]
    assert offered <= set(lines)
    assert not missing & {line.split()[0] for line in lines if line}


COMMANDS = {
    "EHLO": b"EHLO x\r\n",
    "HELO": b"HELO x\r\n",
    "MAIL": b"MAIL FROM:<>\r\n",
    "RCPT": b"RCPT TO:<c@c.test>\r\n",
    "DATA": b"DATA\r\n",
    "BDAT": b"BDAT 2\r\nhi",
    "AUTH": b"AUTH PLAIN AGEAYg==\r\n",
    "STARTTLS": b"STARTTLS\r\n",
    "RSET": b"RSET\r\n",
    "NOOP": b"NOOP\r\n",
    "VRFY": b"VRFY x\r\n",
    "EXPN": b"EXPN x\r\n",
    "HELP": b"HELP\r\n",
}


@pytest.mark.parametrize("state", TRANSITIONS)
@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_in_every_state(state: State, verb: str) -> None:
    owner = Owner(tls=verb != "STARTTLS", starttls=verb == "STARTTLS").in_state(state)
    replies = owner.feed(COMMANDS[verb])
    if verb not in TRANSITIONS[state]:
        assert replies == OUT_OF_SEQUENCE[state].encode().decode()
        lost = verb == "BDAT"  # whatever was open is over, and before EHLO nobody can go on
        assert owner.machine.state is ({State.HELLO: State.CLOSED}.get(state, State.READY) if lost else state)
    elif verb == "BDAT":
        assert codes(replies) == ["250 2.0.0"]
        assert owner.machine.state is State.CHUNKS
    else:
        assert not replies.startswith("503")
        assert owner.machine.state is TRANSITIONS[state][verb]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"MAIL FROM:<a@a.test> SIZE=1001", "552 5.3.4"),
        (b"MAIL FROM:<a@a.test> SIZE=1000", "250 2.0.0"),
        (b"MAIL FROM:<a@a.test> SIZE=x", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> SIZE=1 SIZE=1", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> SIZE=", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> body=8bitmime smtputf8 ret=hdrs envid=a+2Bb auth=<>", "250 2.0.0"),
        (b"MAIL FROM:<a@a.test> BODY=BINARYMIME", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> SMTPUTF8=1", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> RET=SOME", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> ENVID=a+0A", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> ENVID=a=b", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test> FOO=BAR", "555 5.5.4"),
        (b"MAIL FROM:<a@a.test> NOTIFY=NEVER", "555 5.5.4"),
        (b"MAIL FROM:<a@a.test>SIZE=1", "501 5.5.4"),
        (b"MAIL FROM:<a@a.test", "501 5.5.4"),
        (b"MAIL FROM:a@a.test", "501 5.5.4"),
        (b"MAIL TO:<a@a.test>", "501 5.5.4"),
        (b"MAIL", "501 5.5.4"),
        (b"mail from: <a@a.test>  ", "250 2.0.0"),
        (b'MAIL FROM:<"a> b"@a.test>', "250 2.0.0"),
        (b"MAIL FROM:<a@@a.test>", "501 5.1.7"),
        ("MAIL FROM:<jösé@a.test>".encode(), "553 5.6.7"),
        ("MAIL FROM:<jösé@a.test> SMTPUTF8".encode(), "250 2.0.0"),
        (b"MAIL FROM:<bad@a.test>", "550 5.1.1"),
        (b"EHLO", "501 5.5.4"),
        (b"EHLO two words", "501 5.5.4"),
        (b"RSET now", "501 5.5.4"),
        (b"QUIT now", "501 5.5.4"),
        (b"NOOP now", "250 2.0.0"),
        (b"VRFY postmaster", "252 2.0.0"),
        (b"EXPN list", "502 5.5.1"),
        (b"HELP", "214 2.0.0"),
        (b"STARTTLS", "503 5.5.1"),
        (b"XYZZY", "500 5.5.2"),
        (b"", "500 5.5.2"),
        (b"MAIL\tFROM:<a@a.test>", "500 5.5.2"),
        (b"MAIL FROM:<\xff@a.test>", "500 5.5.2"),
        (b"NO\0OP", "500 5.5.2"),
        (b"NOOP\rNOOP", "500 5.5.2"),
        (b"NOOP\nNOOP", "500 5.5.2"),
        (b"NOOP\n", "500 5.5.2"),
        (b"x" * 5000, "500 5.5.2"),
        (b"NOOP " + b"x" * (MAX_LINE - 7), "250 2.0.0"),
        (b"NOOP " + b"x" * (MAX_LINE - 6), "500 5.5.2"),
    ],
)
def test_lines_after_ehlo(line: bytes, reply: str) -> None:
    owner = Owner().in_state(State.READY)
    assert codes(owner.feed(line + b"\r\n")) == [reply]
    assert codes(owner.feed(b"NOOP\r\n")) == ["250 2.0.0"]  # one line is one reply


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"RCPT TO:<c@c.test> NOTIFY=SUCCESS,failure,DELAY ORCPT=rfc822;c+2Bd@c.test", "250 2.0.0"),
        (b"RCPT TO:<c@c.test> NOTIFY=NEVER", "250 2.0.0"),
        (b"RCPT TO:<c@c.test> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        (b"RCPT TO:<c@c.test> NOTIFY=DELAY,DELAY", "501 5.5.4"),
        (b"RCPT TO:<c@c.test> NOTIFY=LATER", "501 5.5.4"),
        (b"RCPT TO:<c@c.test> NOTIFY=DELAY NOTIFY=DELAY", "501 5.5.4"),
        (b"RCPT TO:<c@c.test> ORCPT=c@c.test", "501 5.5.4"),
        (b"RCPT TO:<c@c.test> ORCPT=rfc822;a+0Db", "501 5.5.4"),
        (b"RCPT TO:<c@c.test> SIZE=3", "555 5.5.4"),
        (b"RCPT TO:<>", "501 5.1.3"),
        (b"RCPT TO:<postmaster>", "501 5.1.3"),
        ("RCPT TO:<ü@c.test>".encode(), "553 5.6.7"),
        ("RCPT TO:<c@ü.test>".encode(), "553 5.6.7"),
        (b"RCPT TO:<@relay.test:c@c.test>", "250 2.0.0"),
    ],
)
def test_recipients(line: bytes, reply: str) -> None:
    assert codes(Owner().in_state(State.MAIL).feed(line + b"\r\n")) == [reply]


def test_helo_has_no_extensions() -> None:
    owner = Owner()
    assert owner.feed(b"HELO c.test\r\n") == "250 mx.test\r\n"
    assert codes(owner.feed(b"MAIL FROM:<a@a.test> SIZE=1\r\nAUTH PLAIN AGEAYg==\r\n")) == ["555 5.5.4", "502 5.5.1"]


def test_bare_postmaster_of_an_inbound_server() -> None:
    owner = Owner(ServerOptions("mx.test", auth=False, postmaster=True)).in_state(State.MAIL)
    assert codes(owner.feed(b"RCPT TO:<Postmaster>\r\n")) == ["250 2.0.0"]
    assert isinstance(owner.events[-1], Rcpt)
    assert owner.events[-1].path == Address("postmaster", "mx.test")


def test_parameters_as_values() -> None:
    offered = {"DSN", "SIZE", "8BITMIME", "SMTPUTF8"}
    path, mail = parse_mail("FROM:<a@a.test> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=QQ+3D1", offered)
    assert (path, mail.size, mail.body, mail.smtputf8, mail.ret, mail.envid) == (
        Address("a", "a.test"), 7, "8BITMIME", True, "FULL", "QQ+3D1",
    )  # fmt: skip
    _, rcpt = parse_rcpt("TO:<a@a.test> NOTIFY=failure,delay ORCPT=rfc822;a+2Bb@a.test", offered, smtputf8=False)
    assert (rcpt.notify, rcpt.orcpt) == (("FAILURE", "DELAY"), "rfc822;a+2Bb@a.test")
    assert decode_xtext("a+2Bb+C3+A9") == "a+bé"


def test_recipient_limit_is_temporary_and_no_error() -> None:
    owner = Owner().in_state(State.RCPT)
    replies = owner.feed(b"RCPT TO:<c@c.test>\r\n" * 10)
    assert codes(replies) == ["250 2.0.0"] * 2 + ["452 4.5.3"] * 8
    assert owner.machine.errors == 0


def test_too_many_errors_end_the_session() -> None:
    owner = Owner().in_state(State.READY)
    replies = owner.feed(b"XYZZY\r\n" * 7)
    assert codes(replies) == ["500 5.5.2"] * 4 + ["421 4.7.0"]
    assert owner.events.count(Closed(hostile=True)) == 1


def test_lines_with_a_bare_lf_are_counted_too() -> None:
    owner = Owner()
    assert codes(owner.feed(b"EHLO x\nMAIL FROM:<a@a.test>\n" * 4))[-1] == "421 4.7.0"
    assert not any(isinstance(event, Hello | Mail) for event in owner.events)


def test_too_many_idle_commands_end_the_session() -> None:
    owner = Owner()
    replies = codes(owner.feed(b"NOOP\r\n" * (MAX_IDLE_COMMANDS + 50)))
    assert len(replies) == MAX_IDLE_COMMANDS + OPTIONS.max_errors
    assert replies[-1] == "421 4.7.0"


def test_refused_recipients_of_a_known_user_are_no_errors() -> None:
    guesses = b"RCPT TO:<bad@b.test>\r\n" * 6
    assert codes(Owner().in_state(State.MAIL).feed(guesses))[-1] == "421 4.7.0"
    owner = Owner()
    owner.feed(b"EHLO c\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@a.test>\r\n")
    assert codes(owner.feed(guesses)) == ["550 5.1.1"] * 6


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"Host: mx.test", b"\x16\x03\x01\x02"])
def test_other_protocols_are_sent_away(line: bytes) -> None:
    owner = Owner()
    assert codes(owner.feed(line + b"\r\nEHLO x\r\nMAIL FROM:<a@a.test>\r\n")) == ["554 5.5.1"]
    assert owner.events == [owner.events[0], Closed(hostile=True)]


def test_early_talker() -> None:
    machine = SmtpServer(OPTIONS)
    machine.receive(b"EHLO x\r\n")
    while machine.next_event():
        pass
    assert machine.output().startswith(b"554 5.5.1 ")
    assert machine.state is State.CLOSED


def test_refused_greeting_closes() -> None:
    machine = SmtpServer(OPTIONS)
    machine.greet(Reply(421, "Too many", "4.7.0"))
    assert machine.output() == b"421 4.7.0 Too many\r\n"
    assert machine.next_event() == Closed(hostile=False)
    assert machine.next_event() is None


# AUTH


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("lines", "replies", "credentials"),
    [
        ([b"AUTH PLAIN " + b64("\0user\0pass")], ["235 2.7.0"], ("user", "pass")),
        ([b"AUTH PLAIN " + b64("user\0user\0wrong")], ["535 5.7.8"], ("user", "wrong")),
        ([b"auth plain", b64("\0üser\0päss")], ["334", "235 2.7.0"], ("üser", "päss")),
        ([b"AUTH LOGIN", b64("user"), b64("pass")], ["334", "334", "235 2.7.0"], ("user", "pass")),
        ([b"AUTH LOGIN " + b64("user"), b64("pass")], ["334", "235 2.7.0"], ("user", "pass")),
        ([b"AUTH LOGIN =", b64("pass")], ["334", "235 2.7.0"], ("", "pass")),
        ([b"AUTH LOGIN", b"*"], ["334", "501 5.7.0"], None),
        ([b"AUTH LOGIN", b"not base64"], ["334", "501 5.5.2"], None),
        ([b"AUTH PLAIN " + b64("no nul")], ["501 5.5.2"], None),
        ([b"AUTH PLAIN " + b64("other\0user\0pass")], ["535 5.7.8"], None),
        ([b"AUTH PLAIN /w=="], ["501 5.5.2"], None),
        ([b"AUTH CRAM-MD5"], ["504 5.5.4"], None),
        ([b"AUTH"], ["504 5.5.4"], None),
        ([b"AUTH PLAIN", b"A" * MAX_AUTH_LINE], ["334", "500 5.5.2"], None),
        ([b"AUTH PLAIN " + b64("\0user\0" + "p" * 9000)], ["235 2.7.0"], ("user", "p" * 9000)),
    ],
)
def test_auth(lines: list[bytes], replies: list[str], credentials: tuple[str, str] | None) -> None:
    owner = Owner().in_state(State.READY)
    assert [code for line in lines for code in codes(owner.feed(line + b"\r\n"))] == replies
    found = [(event.username, event.password) for event in owner.events if isinstance(event, Login)]
    assert found == ([credentials] if credentials else [])
    assert codes(owner.feed(b"NOOP\r\n")) == ["250 2.0.0"]


def test_auth_needs_tls_and_happens_once() -> None:
    plain = b"AUTH PLAIN AGEAYg==\r\n"
    assert codes(Owner(tls=False, starttls=True).in_state(State.READY).feed(plain)) == ["538 5.7.11"]
    assert codes(Owner().in_state(State.READY).feed(plain * 2)) == ["235 2.7.0", "503 5.5.1"]


def test_a_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Login("user", "secret"))


# STARTTLS


def test_starttls_forgets_everything() -> None:
    owner = Owner(tls=False, starttls=True)
    owner.feed(b"EHLO before.test\r\n")
    assert codes(owner.feed(b"STARTTLS\r\n")) == ["220 2.0.0"]
    assert owner.events[-1] == StartTls()
    owner.machine.tls_started()
    assert codes(owner.feed(b"MAIL FROM:<a@a.test>\r\n")) == ["503 5.5.1"]
    lines = owner.feed(b"EHLO after.test\r\n")
    assert "AUTH PLAIN LOGIN" in lines
    assert "STARTTLS" not in lines


@pytest.mark.parametrize("pieces", [[b"STARTTLS\r\nRSET\r\n"], [b"STARTTLS\r\n", b"RSET\r\n"], [b"STARTTLS\r\nR"]])
def test_nothing_may_follow_starttls_in_clear(pieces: list[bytes]) -> None:
    owner = Owner(tls=False, starttls=True).in_state(State.READY)
    replies = "".join(owner.feed(piece) for piece in pieces)
    assert codes(replies)[-1] == "554 5.5.1"
    assert owner.events[-1] == Closed(hostile=True)


# The message

FLAWS = [
    b"a\n.\nb",
    b"a\n.\r\nb",
    b"a\r\n.\nb",
    b"a\r.\rb",
    b"a\r\n.\rb",
    b"a\r.\nb",
    b"a\n.\rb",
    b"a\r.\r\nb",
    b"a\r\n\0.\r\nb",
    b"a\r\n.\0\r\nb",
    b"a\0b",
    b"a\r\n.\r\r\nb",
    b"a\r\r\nb",
    b"a\n",
    b"\rb",
]


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_smuggling_in_data(flaw: bytes, size: int) -> None:
    inner = b"MAIL FROM:<evil@a.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nevil"
    owner = Owner().in_state(State.DATA)
    wire = b"Subject: x\r\n\r\n" + flaw + b"\r\n" + inner + b"\r\n.\r\nRSET\r\n"
    replies = "".join(owner.feed(wire[at : at + size]) for at in range(0, len(wire), size))
    assert codes(replies) == ["550 5.6.11", "250 2.0.0"]
    assert owner.messages == []
    assert sum(isinstance(event, Mail) for event in owner.events) == 1
    owner.feed(ENVELOPE + b"DATA\r\ngood\r\n.\r\n")
    assert owner.messages == [b"good\r\n"]


@pytest.mark.parametrize("flaw", FLAWS)
def test_smuggling_in_bdat(flaw: bytes) -> None:
    owner = Owner().in_state(State.RCPT)
    replies = owner.feed(b"BDAT %d LAST\r\n%sRSET\r\n" % (len(flaw), flaw))
    assert codes(replies) == ["550 5.6.11", "250 2.0.0"]
    assert owner.messages == []


@pytest.mark.parametrize("size", [1, 700, 10_000])
def test_a_flaw_counts_more_than_the_size(size: int) -> None:
    owner = Owner().in_state(State.DATA)
    wire = b"x" * 1500 + b"\n" + b"x" * 1500 + b"\r\n.\r\n"
    assert codes("".join(owner.feed(wire[at : at + size]) for at in range(0, len(wire), size))) == ["550 5.6.11"]


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".x\r\n..\r\n...\r\n\r\n.\r\n", b"x\r\n.\r\n..\r\n\r\n"),
        (b"x\r\n.\r\n", b"x\r\n"),
        (b"x" * 999 + b"\r\n.\r\n", None),
        (b"x" * 998 + b"\r\n.\r\n", b"x" * 998 + b"\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10_000])
def test_data(wire: bytes, message: bytes | None, size: int) -> None:
    owner = Owner().in_state(State.DATA)
    replies = "".join(owner.feed(wire[at : at + size]) for at in range(0, len(wire), size))
    assert codes(replies) == ["552 5.3.4" if message is None else "250 2.0.0"]
    assert owner.messages == ([] if message is None else [message])
    assert codes(owner.feed(b"MAIL FROM:<>\r\n")) == ["250 2.0.0"]


@pytest.mark.parametrize(
    ("wire", "replies", "messages"),
    [
        (b"BDAT 3\r\nabcBDAT 2 LAST\r\nde", ["250 2.0.0", "250 2.0.0"], [b"abcde"]),
        (b"BDAT 5\r\nab\r\n.BDAT 0 LAST\r\n", ["250 2.0.0", "250 2.0.0"], [b"ab\r\n."]),
        (b"BDAT 0\r\nBDAT 0 LAST\r\n", ["250 2.0.0", "250 2.0.0"], [b""]),
        (b"BDAT 2\r\na\rBDAT 2 LAST\r\n\nb", ["250 2.0.0", "250 2.0.0"], [b"a\r\nb"]),
        (b"BDAT 2\r\na\rBDAT 2 LAST\r\nbb", ["250 2.0.0", "550 5.6.11"], []),
        (b"BDAT 2\r\na\rBDAT 0 LAST\r\n", ["250 2.0.0", "550 5.6.11"], []),
        (b"bdat 2 last\r\nabNOOP\r\n", ["250 2.0.0", "250 2.0.0"], [b"ab"]),
        (b"BDAT 2\r\nabDATA\r\nNOOP\r\n", ["250 2.0.0", "503 5.5.1", "250 2.0.0"], []),
        (b"BDAT 2\r\nabRSET\r\nBDAT 2 LAST\r\ncd", ["250 2.0.0", "250 2.0.0", "503 5.5.1"], []),
        (b"BDAT 2\r\nabRCPT TO:<c@c.test>\r\n", ["250 2.0.0", "503 5.5.1"], []),
        (b"BDAT 2\r\nabMAIL FROM:<>\r\n", ["250 2.0.0", "503 5.5.1"], []),
        (b"BDAT 600\r\n" + b"x" * 600 + b"BDAT 401 LAST\r\n" + b"y" * 401, ["250 2.0.0", "552 5.3.4"], []),
        (b"BDAT 1001\r\n" + b"x" * 1001 + b"BDAT 1 LAST\r\ny", ["552 5.3.4", "503 5.5.1"], []),
        (b"BDAT 2 LAST\r\nabBDAT 2 LAST\r\ncd", ["250 2.0.0", "503 5.5.1"], [b"ab"]),
        (b"BDAT\r\nNOOP\r\n", ["501 5.5.4"], []),
        (b"BDAT 2 FIRST\r\nNOOP\r\n", ["501 5.5.4"], []),
        (b"BDAT -2\r\nNOOP\r\n", ["501 5.5.4"], []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_bdat(wire: bytes, replies: list[str], messages: list[bytes], size: int) -> None:
    owner = Owner().in_state(State.RCPT)
    got = "".join(owner.feed(wire[at : at + size]) for at in range(0, len(wire), size))
    assert codes(got) == replies
    assert owner.messages == messages


def test_bdat_without_recipients_swallows_its_octets() -> None:
    owner = Owner().in_state(State.MAIL)
    assert codes(owner.feed(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")) == ["503 5.5.1", "250 2.0.0"]


def test_data_is_refused_with_no_recipient_left() -> None:
    owner = Owner().in_state(State.MAIL)
    assert codes(owner.feed(b"RCPT TO:<bad@b.test>\r\nDATA\r\n")) == ["550 5.1.1", "503 5.5.1"]


def test_refuse_message_speaks_at_the_end() -> None:
    owner = Owner().in_state(State.DATA)
    owner.machine.refuse_message(Reply(452, "Full", "4.3.1"))
    assert owner.feed(b"x\r\n") == ""
    assert owner.feed(b".\r\n") == "452 4.3.1 Full\r\n"
    assert not any(isinstance(event, Data) for event in owner.events)


def test_a_message_that_may_not_begin_leaves_the_transaction_open() -> None:
    machine = SmtpServer(OPTIONS)
    machine.greet()
    machine.receive(ENVELOPE + b"DATA\r\nRSET\r\n")
    while not isinstance(event := machine.next_event(), Begin):
        if isinstance(event, Mail | Rcpt):
            machine.answer(OK)
    machine.output()
    assert machine.next_event() is None and not machine.receiving
    machine.answer(Reply(530, "Not any more", "5.7.0"))
    assert machine.state is State.RCPT and machine.output() == b"530 5.7.0 Not any more\r\n"
    assert machine.next_event() == Abandoned() and machine.state is State.READY


def test_an_answer_of_421_closes() -> None:
    machine = SmtpServer(OPTIONS)
    machine.greet()
    machine.receive(b"EHLO x\r\nMAIL FROM:<>\r\nNOOP\r\n")
    while not isinstance(machine.next_event(), Mail):
        pass
    assert not machine.at_rest
    machine.output()
    machine.answer(Reply(421, "Bye", "4.3.2"))
    assert machine.output() == b"421 4.3.2 Bye\r\n"
    assert machine.next_event() == Closed(hostile=False)


# Properties

WORDS = st.sampled_from(
    [
        *COMMANDS.values(),
        *FLAWS,
        b"MAIL FROM:<a@a.test>\r\n",
        b"RCPT TO:<b@b.test>\r\n",
        b"DATA\r\n",
        b"BDAT 5 LAST\r\n",
        b"AUTH LOGIN\r\n",
        b"\r\n.\r\n",
        b"..",
        b"\r",
        b"\n",
        b"x" * 700,
    ]
)
TALK = st.one_of(st.binary(max_size=200), st.lists(st.one_of(WORDS, st.binary(max_size=5)), max_size=30).map(b"".join))


def outcome(pieces: list[bytes], start: bytes) -> tuple[str, list[bytes], list[type]]:
    owner = Owner(ServerOptions("mx.test", max_size=500, max_errors=20))
    replies = owner.feed(start) + "".join(owner.feed(piece) for piece in pieces)
    kinds = [
        type(event) for event in owner.events if isinstance(event, Mail | Rcpt | Message | Login | Abandoned | Closed)
    ]
    return replies, owner.messages, kinds


@settings(max_examples=300, deadline=None)
@given(talk=TALK, cuts=st.lists(st.integers(0, 1000)), start=st.sampled_from(list(DIALOGS.values())))
def test_splitting_changes_nothing(talk: bytes, cuts: list[int], start: bytes) -> None:
    edges = [0, *sorted(cut % (len(talk) + 1) for cut in cuts), len(talk)]
    pieces = [talk[a:b] for a, b in pairwise(edges)]
    assert outcome(pieces, start) == outcome([talk], start)


def stuff(message: bytes) -> bytes:
    """What a client sends for a message that ends with CRLF (RFC 5321 §4.5.2)."""
    lines = message.split(b"\r\n")[:-1]
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


LINES = st.lists(st.text(alphabet=".ab ", max_size=4).map(str.encode), max_size=8)


@settings(deadline=None)
@given(lines=LINES, cuts=st.lists(st.integers(0, 100), max_size=6))
def test_data_comes_out_as_it_went_in(lines: list[bytes], cuts: list[int]) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    wire = stuff(message) + b"NEXT"
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    decoder = DotDecoder()
    got, after = b"", None
    for a, b in pairwise(edges):
        if after is not None:
            after += wire[a:b]
            continue
        content, after = decoder.feed(wire[a:b])
        got += content
    assert (got, after, decoder.flawed) == (message, b"NEXT", False)


@settings(deadline=None)
@given(chunks=st.lists(st.text(alphabet="\r\n\0a", max_size=4).map(str.encode), min_size=1, max_size=6))
def test_bdat_is_flawed_just_when_the_whole_is(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    rest = whole.replace(b"\r\n", b"")
    decoder = ChunkDecoder()
    for number, chunk in enumerate(chunks):
        decoder.begin(len(chunk), last=number == len(chunks) - 1)
        decoder.feed(chunk)
    assert decoder.flawed is any(byte in rest for byte in b"\r\n\0")


@given(st.text(max_size=60))
def test_parameters_never_raise_anything_else(text: str) -> None:
    for parse in (
        lambda: parse_mail(text, {"DSN", "SIZE"}),
        lambda: parse_rcpt("TO:<a@a.test> " + text, {"DSN"}, smtputf8=True),
    ):
        try:
            parse()
        except CommandError as error:
            assert error.reply.permanent
