"""What several commands share: their options, and how they read durations and find the settings."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from config.load import DEV_DIR, config_file, load
from config.settings import Settings

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The configuration. Default: POSTHOUSE_CONFIG.")
]
Dev = Annotated[bool, typer.Option("--dev", help="Loopback, high ports, mail is captured instead of sent.")]
Said = Literal["on", "off", "default"]  # default: nothing is said, so what comes after decides
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Org = Annotated[str, typer.Option("--org", metavar="ORG", help="The organization, by name or id.")]
OrgFilter = Annotated[str | None, typer.Option("--org", metavar="ORG", help="Only this organization.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def settings_for(config: Path | None) -> Settings:
    """Those of the daemon that the command is for.

    Where nothing names or holds a configuration, and `serve --dev` has run in this directory, it is that one.
    """
    named = config_file(config, os.environ) or "POSTHOUSE_DATA_DIR" in os.environ
    return load(config, os.environ, dev=not named and (DEV_DIR / "secret.key").exists())


def seconds(text: str) -> int:
    """`90s`, `15m`, `2h`, `5d`, `1w` in seconds."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not found:
        raise typer.BadParameter(f'"{text}" is not a time span; write it like 15m, 2h or 5d.')
    return int(found[1]) * _UNITS[found[2]]


def moment_ms(text: str, now_ms: int) -> int:
    """A span from now (`30d`) or a date, with or without a time (`2030-12-31`, UTC), in epoch milliseconds."""
    if re.fullmatch(r"\d+[smhdw]", text):
        return now_ms + seconds(text) * 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f'"{text}" is neither a span like 30d nor a date like 2030-12-31.') from error
    at_ms = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if at_ms <= now_ms:
        raise typer.BadParameter(f'"{text}" has passed.')
    return at_ms
