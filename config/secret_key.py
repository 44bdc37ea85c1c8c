"""The key that encrypts secrets at rest (DKIM keys, webhook secrets): outside the database, since backups travel."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from config.settings import Settings
from mta.errors import ConfigError

KEY_BYTES = 32


def read_secret_key(settings: Settings, *, create: bool = False) -> bytes:
    """The 32 bytes of `settings.secret_key_file` (64 hexadecimal digits); raises ConfigError where no good key is.

    With `create`, a key in `data_dir` that is not there yet is made, readable by its owner only. Only a new store may
    ask for that: with a new key, an old store's secrets are lost.
    """
    path = Path(settings.secret_key_file)
    if create and path.parent == settings.data_dir and not path.exists():
        _make(path)
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The key of stored secrets, {path}, cannot be read ({error}). Restore it from where you keep it, apart "
            "from the backups, or name it with secret_key_file.",
            field="secret_key_file",
        ) from error
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{2 * KEY_BYTES}}}", text):
        raise ConfigError(
            f"{path} does not hold {2 * KEY_BYTES} hexadecimal digits; `openssl rand -hex {KEY_BYTES}` makes such.",
            field="secret_key_file",
        )
    return bytes.fromhex(text)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
