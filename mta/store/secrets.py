"""Secrets at rest: sealed with a key that lies outside the database, since backups travel.

One key file holds 32 random bytes (config/secret_key.py). Everything else, the sealing key and the keys for VERP tokens,
one-time codes and links, is derived from it by HKDF with a label of its own (RFC 5869), so that no two uses share a key.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mta.errors import ConfigError


class Secrets:
    """Seals and opens with AES-256-GCM; `context` names what is sealed, so that one row's secret fits no other row."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._aead = AESGCM(self.derive("seal"))

    def derive(self, label: str) -> bytes:
        """32 bytes of key for one use."""
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"posthouse/{label}".encode()).derive(self._master)

    def seal(self, secret: bytes, context: str) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises ConfigError where the key file is not the one that sealed it."""
        try:
            return self._aead.decrypt(sealed[:12], sealed[12:], context.encode())
        except InvalidTag as error:
            raise ConfigError(
                f"The secret of {context} does not open with this key file: it was sealed with another. "
                "Put the key file back that belonged to this store (it is not part of a backup)."
            ) from error
