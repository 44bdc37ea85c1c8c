"""Each of our two signatures, alone, is verified by dkimpy and by OpenDKIM, on messages that break careless signers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dkim
import pytest

from mta.protocol.dkim import BodyDigest, SigningKey, dns_value, generate, load, sign
from mta.protocol.encoding import to_seven_bit
from mta.protocol.headers import split_head
from tests.peers import need, need_modules

KEYS = {
    "rsa": SigningKey("example.org", "rsa", load(generate("rsa-sha256"))),
    "ed25519": SigningKey("example.org", "ed", load(generate("ed25519-sha256"))),
}
RECORDS = {f"{key.selector}._domainkey.example.org": dns_value(key.private_key) for key in KEYS.values()}
NOW_S = 1_700_000_000

HEAD = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: Hello\r\n"
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@example.org>\r\n"
)
MULTIPART = (
    b"--b\r\nContent-Type: text/plain\r\n\r\none  \r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n\r\n"
)
INNER = b"From: carol@example.com\r\nDKIM-Signature: v=1; a=rsa-sha256; b=x\r\nSubject: inner\r\n\r\ntext\r\n"


def mime(kind: bytes) -> bytes:
    return HEAD + b"MIME-Version: 1.0\r\nContent-Type: " + kind + b"\r\n"


MESSAGES: dict[str, tuple[bytes, bytes]] = {
    "plain": (HEAD, b"Hello Bob\r\n"),
    "trailing blanks": (HEAD, b"one \r\ntwo\t\t \r\n \r\n\t\r\n"),
    "blank lines at the end": (HEAD, b"one\r\n\r\n \r\n\r\n"),
    "blank lines inside and first": (HEAD, b"\r\n\r\none\r\n\r\n\r\ntwo\r\n"),
    "runs of white space": (HEAD, b"a \t b\r\n\t c   d\r\n    e\r\n"),
    "a line of 998 octets": (HEAD, b"x" * 998 + b"\r\n"),
    "a line of 60000 octets": (HEAD, b"x" * 60_000 + b"\r\ny\r\n"),
    "8-bit body": (mime(b"text/plain; charset=utf-8"), "Grüße, 漢字\r\n".encode()),
    "UTF-8 in header fields": (HEAD.replace(b"Hello", "Grüße ☕".encode()), b"x\r\n"),
    "dots at line starts": (HEAD, b".\r\n..\r\n.x\r\n\r\n.\r\n"),
    "empty body": (HEAD, b""),
    "only a line end": (HEAD, b"\r\n"),
    "only line ends": (HEAD, b"\r\n" * 50),
    "no line end at the end": (HEAD, b"one\r\ntwo"),
    "blanks and no line end at the end": (HEAD, b"one\r\ntwo \t"),
    "folded fields": (HEAD.replace(b"Hello", b"a\r\n b\r\n\tc \r\n  d"), b"x\r\n"),
    "duplicate fields": (HEAD + b"Subject: again\r\nTo: carol@example.net\r\nsubject: thrice\r\n", b"x\r\n"),
    "odd white space in fields": (HEAD.replace(b"Subject: Hello", b"SUBJECT:Hello \t  there\t "), b"x\r\n"),
    "a long subject": (HEAD.replace(b"Hello", b"word " * 190), b"x\r\n"),
    "an empty subject": (HEAD.replace(b" Hello", b""), b"x\r\n"),
    "no subject": (HEAD.replace(b"Subject: Hello\r\n", b""), b"x\r\n"),
    "multipart": (mime(b"multipart/alternative;\r\n boundary=b"), MULTIPART),
    "message/rfc822": (mime(b"message/rfc822"), INNER),
    "signed by others before": (b"DKIM-Signature: v=1; a=rsa-sha256; d=old.example; s=x; h=from; bh=; b=\r\n" + HEAD, b"x\r\n"),
    "one-click unsubscription": (
        HEAD + b"List-Unsubscribe: <https://u.example/?a=b;c>,\r\n <mailto:u@example.org>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: a:b:c\r\n",
        b"x\r\n",
    ),
    "colons and equals signs": (HEAD.replace(b"Hello", b"b=abc; bh=: x : y"), b"b=abc; bh=\r\n"),
    "20 MB": (HEAD, (b"The quick  brown fox jumps over the lazy dog. \t\r\n" * 450_000)[: 20 << 20] + b"\r\n\r\n"),
}  # fmt: skip


def signed(head: bytes, body: bytes, key: SigningKey) -> bytes:
    """The message as it is after DATA: SMTP ends the last line."""
    digest = BodyDigest()
    for start in range(0, len(body), 65_537):
        digest.update(body[start : start + 65_537])
    ending = b"" if not body or body.endswith(b"\r\n") else b"\r\n"
    return sign(head, digest.digest(), [key], NOW_S) + head + b"\r\n" + body + ending


def dkimpy_says(message: bytes) -> bool:
    return dkim.DKIM(message).verify(dnsfunc=lambda name, timeout=5: RECORDS[name.decode().rstrip(".")].encode())


def opendkim_says(messages: dict[str, bytes], directory: Path, records: dict[str, str] = RECORDS) -> dict[str, str]:
    """Its verdict for each message, as it prints it."""
    (directory / "keys").write_text("".join(f"{name} {value}\n" for name, value in records.items()))
    (directory / "conf").write_text(f"Mode v\nTestPublicKeys {directory / 'keys'}\nSyslog no\n")
    verdicts = {}
    for number, (name, message) in enumerate(messages.items()):
        path = directory / f"{number}.eml"
        path.write_bytes(message)
        run = subprocess.run(
            ["opendkim", "-x", str(directory / "conf"), "-t", str(path)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        verdicts[name] = (run.stdout + run.stderr).strip()
    return verdicts


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("name", MESSAGES)
def test_dkimpy_verifies(name, algorithm):
    if algorithm == "ed25519":
        need_modules("nacl")
    assert dkimpy_says(signed(*MESSAGES[name], KEYS[algorithm]))


@pytest.mark.parametrize("algorithm", KEYS)
def test_opendkim_verifies(algorithm, tmp_path):
    need("opendkim")
    messages = {name: signed(head, body, KEYS[algorithm]) for name, (head, body) in MESSAGES.items()}
    verdicts = opendkim_says(messages, tmp_path)
    assert {name: verdict for name, verdict in verdicts.items() if not verdict.endswith("succeeded")} == {}


@pytest.mark.parametrize("algorithm", KEYS)
def test_opendkim_sees_what_was_changed(algorithm, tmp_path):
    need("opendkim")
    good = signed(*MESSAGES["plain"], KEYS[algorithm])
    changed = {
        "body": good.replace(b"Hello Bob", b"Hello Eve"),
        "subject": good.replace(b"Subject: Hello", b"Subject: hello"),
        "another From": b"From: eve@example.org\r\n" + good,
        "another Subject": good.replace(b"Subject:", b"Subject: Buy\r\nSubject:"),
        "a Reply-To": b"Reply-To: eve@example.com\r\n" + good,
    }
    verdicts = opendkim_says(changed, tmp_path)
    assert [name for name, verdict in verdicts.items() if "failed" not in verdict] == []


@pytest.mark.parametrize("name", ["8-bit body", "UTF-8 in header fields", "a line of 60000 octets", "multipart"])
@pytest.mark.parametrize("algorithm", KEYS)
def test_re_encoded_messages_verify(name, algorithm, tmp_path):
    need("opendkim")
    head, chunks = to_seven_bit(MESSAGES[name][0], [MESSAGES[name][1]])
    message = signed(head, b"".join(chunks), KEYS[algorithm])
    assert message.isascii() and split_head(message)[0].endswith(head)
    assert opendkim_says({name: message}, tmp_path)[name].endswith("succeeded")
