"""DANE for SMTP (RFC 7672): what a host's TLSA records demand of its certificate, and whether a certificate meets it.

The records come from outbound/dane, which knows that DNSSEC vouches for them; net/smtp asks here after the handshake.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

TRUST_ANCHOR: Final = 2  # DANE-TA: the authority that signed it
END_ENTITY: Final = 3  # DANE-EE: the server's own key or certificate
_SIZES: Final = {1: 32, 2: 64}  # octets of a hash: SHA-256, SHA-512
MAX_CHAIN: Final = 16  # certificates of a peer that are looked at


class DaneError(Exception):
    """The certificate does not meet the records; `result` names it as TLSRPT does (RFC 8460 §4.3)."""

    def __init__(self, result: str, text: str) -> None:
        super().__init__(text)
        self.result = result


@dataclass(frozen=True, slots=True)
class Tlsa:
    """RFC 6698 §2.1. `selector`: 0 the certificate, 1 its key; `matching`: 0 as it is, 1 SHA-256, 2 SHA-512."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def matches(self, certificate: bytes) -> bool:
        """Whether it describes this certificate (DER)."""
        octets = certificate if self.selector == 0 else _key(certificate)
        if self.matching:
            octets = hashlib.new("sha256" if self.matching == 1 else "sha512", octets).digest()
        return octets == self.data


def usable(records: Iterable[tuple[int, int, int, bytes]]) -> tuple[Tlsa, ...]:
    """Those that can authenticate a mail server: usages 0 and 1 cannot (RFC 7672 §3.1.3), nor what is malformed."""
    return tuple(
        Tlsa(usage, selector, matching, data)
        for usage, selector, matching, data in records
        if usage in (TRUST_ANCHOR, END_ENTITY)
        and selector in (0, 1)
        and ((matching == 0 and data) or (matching in _SIZES and len(data) == _SIZES[matching]))
    )


def check(records: Sequence[Tlsa], chain: Sequence[bytes], host: str, now: datetime.datetime) -> None:
    """Whether one of the usable `records` holds for what `host` presented (DER, its own certificate first).

    Raises DaneError. Of DANE-EE neither name nor expiry matters (RFC 7672 §3.1.1); of DANE-TA both do (§3.1.2).
    """
    if not chain:
        raise DaneError("validation-failure", "it presented no certificate")
    own, others = chain[0], chain[1:MAX_CHAIN]
    if any(record.usage == END_ENTITY and record.matches(own) for record in records):
        return
    anchors = [
        certificate
        for record in records
        if record.usage == TRUST_ANCHOR
        for certificate in (*others, *([record.data] if (record.selector, record.matching) == (0, 0) else ()))
        if certificate != own and record.matches(certificate)
    ]
    if not anchors:
        raise DaneError("validation-failure", "none of its TLSA records describes the certificate that it presented")
    _check_path(own, others, anchors, host, now)


def _check_path(
    own: bytes, others: Sequence[bytes], anchors: Sequence[bytes], host: str, now: datetime.datetime
) -> None:
    any_extensions = ExtensionPolicy.permit_all()
    authority = any_extensions.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    named = any_extensions.require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    try:
        verifier = (
            PolicyBuilder()
            .store(Store([x509.load_der_x509_certificate(anchor) for anchor in anchors]))
            .time(now)
            .extension_policies(ca_policy=authority, ee_policy=named)
            .build_server_verifier(x509.DNSName(host))
        )
        verifier.verify(x509.load_der_x509_certificate(own), [x509.load_der_x509_certificate(each) for each in others])
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        text = str(error).partition(" (encountered")[0]
        result = "certificate-host-mismatch" if "subjectAltName" in text else "certificate-not-trusted"
        result = "certificate-expired" if "validation time" in text else result
        raise DaneError(result, f"the authority of its TLSA record does not vouch for {host}: {text}") from error


def _is_authority(policy: Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("a certificate of the chain is not that of an authority")


def _key(certificate: bytes) -> bytes:
    """The public key (SubjectPublicKeyInfo); empty where nobody can read it."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""
