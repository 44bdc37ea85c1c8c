"""Certificates of one's own, for the tests of who is trusted: authorities, servers' certificates, TLS contexts."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key; `chain` is what its server presents, itself first."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        return self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def tlsa(self, usage: int, selector: int = 1, matching: int = 1) -> tuple[int, int, int, bytes]:
        """The record that describes this certificate."""
        data = self.spki if selector else self.der
        return usage, selector, matching, (bytes, _digest("sha256"), _digest("sha512"))[matching](data)

    def presented(self) -> list[bytes]:
        return [certificate.public_bytes(Encoding.DER) for certificate in self.chain]

    def context(self, directory: Path) -> ssl.SSLContext:
        """A server's."""
        path = directory / f"{self.certificate.serial_number}.pem"
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _digest(name: str):  # type: ignore[no-untyped-def]
    return lambda data: hashlib.new(name, data).digest()


def issue(name: str, issuer: Issued | None = None, *, ca: bool | None = False, days: int = 10) -> Issued:
    """Good for `days` from now; `ca` None: it does not say whether it is an authority's. Without issuer, self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=20))
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Issued(certificate, key, (certificate, *(issuer.chain if issuer else ())))


def as_text(record: tuple[int, int, int, bytes]) -> str:
    """A TLSA record as a zone file has it."""
    usage, selector, matching, data = record
    return f"{usage} {selector} {matching} {data.hex()}"
