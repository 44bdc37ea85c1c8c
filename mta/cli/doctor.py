"""`posthouse doctor`: what keeps mail from arriving, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import Annotated

import typer

from config.load import config_file, load
from config.settings import Settings
from mta.cli.client import Json
from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, settings_for
from mta.cli.output import print_json, printable
from mta.errors import ConfigError, PosthouseError

ORDER = {"fail": 0, "warn": 1, "ok": 2}


def doctor(
    network: Annotated[bool, typer.Option(help="Ask the DNS and try port 25; --no-network looks only here.")] = True,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for what keeps mail from arriving: names, port 25, certificate, clock, disk, store. Changes nothing."""
    try:
        settings = settings_for(config)
        if file := config_file(config, os.environ):
            load(file, os.environ, files=True)
        found = [_finding("config", "ok", f"{file or 'The defaults'}: no mistakes."), *_examine(settings, network)]
    except ConfigError as error:
        problems = error.details.get("problems", [error.message])
        found = [_finding("config", "fail", text, "posthouse check-config says when it is right.") for text in problems]
    for finding in sorted(found, key=lambda each: ORDER[each["level"]]):
        if as_json:
            print_json(finding)
            continue
        print(f"{finding['level']:<4}  {finding['check']:<9}  {printable(finding['text'])}")
        if finding["fix"]:
            print(f"{'':<4}  {'':<9}  -> {printable(finding['fix'])}")
    if any(finding["level"] == "fail" for finding in found):
        raise typer.Exit(1)


def _examine(settings: Settings, network: bool) -> list[Json]:
    """By the daemon, or with the store; where that cannot be opened, all the rest."""
    try:
        answer = operate(settings, lambda daemon: daemon.post("/operator/doctor", {"network": network}, timeout_s=None))
        return list(answer["findings"])
    except PosthouseError as error:
        from mta.control.doctor import Doctor  # it brings the resolver and the store: only where it is needed

        found = asyncio.run(Doctor(settings, None).examine(network=network))
        return [_finding("store", "fail", error.message, "Nothing was looked at in the store."), *map(asdict, found)]


def _finding(check: str, level: str, text: str, fix: str | None = None) -> Json:
    return {"check": check, "level": level, "text": text, "fix": fix}
