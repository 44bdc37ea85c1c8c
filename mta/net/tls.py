"""TLS contexts: one a policy towards other servers, one from our own certificate for those who come to us."""

from __future__ import annotations

import _ssl
import datetime
import ssl
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mta.errors import ConfigError
from mta.protocol.dane import Tlsa

TlsMode = Literal["off", "opportunistic", "require", "verify"]
_SELF_SIGNED_DAYS = 3650


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What a next hop must offer. `verify_name` is the name that its certificate must bear, None for the host's own.

    opportunistic: STARTTLS where offered, whoever it is; require: TLS 1.2 or better, whoever it is; verify: also a
    certificate for that name from an authority we trust (`ca_file`, None for the system's). With `tlsa`, whatever the
    mode, the certificate has to meet those records instead (DANE). `demanded_by` names what demands it, for people.
    """

    mode: TlsMode = "opportunistic"
    verify_name: str | None = None
    ca_file: str | None = None
    tlsa: tuple[Tlsa, ...] = ()
    demanded_by: str = ""

    @property
    def name(self) -> str:
        """As attempts have it: dane, mta-sts, or the mode."""
        return self.demanded_by.lower() or self.mode


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """A session as it was negotiated; `verified`: the certificate was that of the server. `policy` is what applied."""

    version: str
    cipher: str
    verified: bool
    policy: str


@lru_cache(maxsize=32)
def client_context(mode: TlsMode, ca_file: str | None = None) -> ssl.SSLContext:
    """The context for a policy other than "off"; loading the authorities takes 10 ms, so contexts are kept."""
    if mode == "verify":
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if mode == "require":
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        # Old TLS is better than none, which is what a server that fails here would get (RFC 7435 §3).
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def peer_chain(session: ssl.SSLObject) -> list[bytes]:
    """The certificates that the peer sent, in DER, its own first; nobody has verified them."""
    if sys.version_info >= (3, 13):
        return session.get_unverified_chain()
    chain = session._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in chain or ()]


def self_signed(hostname: str) -> tuple[bytes, bytes]:
    """A certificate for `hostname` and its key, both PEM: for STARTTLS where the operator configured none."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return (
        certificate.public_bytes(encoding),
        key.private_bytes(encoding, private, serialization.NoEncryption()),
    )


class ServerTls:
    """Our certificate for everyone who connects: `context` stays the same object when the files are read again."""

    def __init__(self, hostname: str, certificate: str = "", key: str = "") -> None:
        """Without a certificate, a self-signed one for `hostname`; raises ConfigError when the files cannot be used."""
        self._certificate, self._key = certificate, key or certificate
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            self.reload()
            return
        pems = self_signed(hostname)
        with tempfile.TemporaryDirectory() as directory:  # the ssl module loads from files only
            path = Path(directory, "self-signed.pem")
            path.touch(mode=0o600)
            path.write_bytes(b"".join(pems))
            self.context.load_cert_chain(path)

    def reload(self) -> None:
        """Read the files again, for connections from now on; raises ConfigError and keeps the old when they are bad."""
        if not self._certificate:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"The certificate {self._certificate} with the key {self._key} cannot be used: {error}. "
                "Check that both exist, are PEM, belong together and are readable by this user.",
                field="tls.certificate",
            ) from error
