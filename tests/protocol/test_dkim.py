"""DKIM signing: digests equal dkimpy's canonicalization however the body is cut, signatures cover what they should."""

import hashlib
import itertools
from importlib.util import find_spec

import dkim
import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.dkim import (
    OVERSIGNED,
    SIGNED,
    BodyDigest,
    SigningKey,
    canonical_field,
    dns_value,
    generate,
    load,
    sign,
)
from mta.protocol.headers import parse

KEYS = [
    SigningKey("example.org", "r", load(generate("rsa-sha256"))),
    SigningKey("example.org", "e", load(generate("ed25519-sha256"))),
]
needs_nacl = pytest.mark.skipif(find_spec("nacl") is None, reason="dkimpy verifies Ed25519 only with PyNaCl")
INDEX = pytest.mark.parametrize("index", [0, pytest.param(1, marks=needs_nacl)])
NOW_S = 1_700_000_000
PIECES = st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"\xc3", b"   ", b"\r\n\r\n", b"word"]), max_size=40)


def digest(body: bytes, cuts: list[int]) -> BodyDigest:
    result = BodyDigest()
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        result.update(body[start:end])
    return result


def relaxed(body: bytes) -> bytes:
    whole = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
    return hashlib.sha256(Relaxed.canonicalize_body(whole)).digest()


@given(PIECES.map(b"".join), st.lists(st.integers(0), max_size=12))
def test_body_hash_equals_dkimpy(body, cuts):
    found = digest(body, cuts)
    assert found.size == len(body)
    assert found.eight_bit == any(octet > 127 for octet in body)
    assert found.longest_line == max(map(len, body.split(b"\r\n")))
    assert found.digest() == relaxed(body)


@given(st.text(st.sampled_from("\r\n \ta")).map(str.encode), st.lists(st.integers(0), max_size=12))
def test_body_hash_equals_dkimpy_with_bare_line_ends(body, cuts):
    body += b"\r\n"
    assert digest(body, cuts).digest() == relaxed(body)


def test_known_body_hashes():
    assert BodyDigest().digest() == hashlib.sha256(b"").digest()  # RFC 6376 §3.4.4, empty body
    assert digest(b" C \r\nD \t E\r\n\r\n\r\n", []).digest() == hashlib.sha256(b" C\r\nD E\r\n").digest()  # §3.4.5


def test_large_bodies_are_cut_into_slices():
    # Not compared with dkimpy: it needs minutes for a run of spaces like this one.
    body = (b" \t" * 200_000 + b"x" + b"\r\n" * 300_000 + b" \r\n" * 5) * 2 + b"y"
    found = digest(body, [1, 400_002, 700_001])
    assert found.digest() == hashlib.sha256((b" x" + b"\r\n" * 300_005) * 2 + b"y\r\n").digest()
    assert found.longest_line == 400_001


def test_a_finished_digest_takes_no_more():
    found = digest(b"a\r\n", [])
    assert found.digest() == found.digest()
    with pytest.raises(ValueError, match="finished"):
        found.update(b"b")


@given(
    st.from_regex(rb"[A-Za-z-]{1,12}", fullmatch=True),
    st.text(st.sampled_from(" \tab:;=\u00e9")).map(str.encode),
    st.integers(0, 9),
)
def test_header_canonicalization_equals_dkimpy(name, value, cut):
    value = value[:cut] + b"\r\n " + value[cut:] + b"\r\n"
    ((expected_name, expected_value),) = Relaxed.canonicalize_headers([(name, value)])
    assert canonical_field(name.decode().lower(), name + b":" + value) == expected_name + b":" + expected_value


def verify(message: bytes, keys: list[SigningKey] = KEYS, index: int = 0) -> bool:
    records = {f"{k.selector}._domainkey.{k.domain}.".encode(): dns_value(k.private_key).encode() for k in keys}
    return dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, timeout=5: records.get(name))


HEAD = (
    b"From: a@example.org\r\nTo: b@example.net\r\nSubject: one\r\nsubject: two\r\nDate: x\r\n"
    b"List-Unsubscribe: <https://u.example/>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Other: 1\r\n"
)
BODY = b"hello\r\n"


def signed(head: bytes = HEAD, body: bytes = BODY) -> bytes:
    return sign(head, digest(body, []).digest(), KEYS, NOW_S) + head + b"\r\n" + body


def test_both_signatures_are_written():
    fields = parse(sign(HEAD, digest(BODY, []).digest(), KEYS, NOW_S)).all("DKIM-Signature")
    assert [b"a=rsa-sha256" in f.value for f in fields] == [True, False]
    assert [b"a=ed25519-sha256" in f.value for f in fields] == [False, True]
    assert all(b"t=1700000000;" in f.value and b" x=" not in f.value for f in fields)
    assert all(len(line) <= 78 for f in fields for line in f.raw.split(b"\r\n"))


@INDEX
def test_each_signature_verifies(index):
    assert verify(signed(), index=index)


@pytest.mark.parametrize("name", sorted(SIGNED))
@INDEX
def test_a_changed_signed_field_breaks_both(name, index):
    field = b"From: a@example.org\r\n" if name == "from" else f"{name}: value\r\n".encode()
    message = signed(HEAD if name == "from" else HEAD + field)
    assert verify(message, index=index)
    assert not verify(message.replace(field, field.replace(b"a", b"o")), index=index)


@pytest.mark.parametrize("name", sorted(OVERSIGNED))
@INDEX
def test_nobody_adds_an_oversigned_field(name, index):
    head = HEAD.replace(b"To: b@example.net\r\n", b"")
    start = len(sign(head, digest(BODY, []).digest(), KEYS, NOW_S))
    message = signed(head)
    for at in (0, start, start + len(head)):
        assert not verify(message[:at] + f"{name}: c@evil.example\r\n".encode() + message[at:], index=index)
    assert verify(b"Received: x\r\n" + message, index=index)


def test_keys():
    for key, words in zip(KEYS, ("v=DKIM1; k=rsa; p=MII", "v=DKIM1; k=ed25519; p="), strict=True):
        assert dns_value(key.private_key).startswith(words)
    with pytest.raises(ValueError, match="PEM"):
        load(b"nonsense")


def test_other_kinds_of_key_are_refused():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="Ed25519"):
        load(pem)
