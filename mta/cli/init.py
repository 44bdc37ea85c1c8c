"""`posthouse init`: from nothing to a configuration, a data directory, an organization and a first key.

What is there already stays as it is, so it may be run again.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from config import lines
from config.load import DEV_DIR, SYSTEM_FILE, load
from mta.cli.client import Client
from mta.cli.offline import operate
from mta.cli.options import ConfigFile, Dev
from mta.cli.output import note

ORGANIZATION = "default"


def init(
    hostname: Annotated[str | None, typer.Option(help="The server's public name. Default: this machine's.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("/var/lib/posthouse"),
    config: ConfigFile = None,
    dev: Dev = False,
) -> None:
    """Write a commented configuration, make the data directory, an organization and a first key."""
    named = config or (Path(os.environ["POSTHOUSE_CONFIG"]) if os.environ.get("POSTHOUSE_CONFIG") else None)
    file = named or (DEV_DIR / "posthouse.toml" if dev else SYSTEM_FILE)
    if file.exists():
        note(f"{file} is there and stays as it is.")
    else:
        values = {"hostname": hostname or ("localhost" if dev else socket.gethostname().lower())}
        values["data_dir"] = str(DEV_DIR if dev else data_dir)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(commented(values), encoding="utf-8")
        file.chmod(0o640)  # it may come to hold a password
        note(f"{file} is written.")
    settings = load(file, os.environ, dev=dev)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = operate(settings, _first_key)
    if secret is None:
        note(f"Organization {ORGANIZATION} has a key already; `posthouse key create NAME` makes another.")
    else:
        print(secret)
        note("This is the first key, for everything; it is not shown again.")
    note(f"Now start it: posthouse serve --config {file}{' --dev' if dev else ''}")


def commented(values: Mapping[str, str]) -> str:
    """The documented configuration with the given keys set and every other one commented out, its default in sight."""
    text = resources.files("config").joinpath("posthouse.toml").read_text(encoding="utf-8").splitlines()
    for number, path, is_table in lines.keys("\n".join(text)):
        if path in values:
            text[number - 1] = f"{path} = {json.dumps(values[path])}"
        elif not is_table or path.endswith("]"):  # a list's table would make an empty item
            text[number - 1] = f"# {text[number - 1]}"
    return "\n".join(text) + "\n"


def _first_key(daemon: Client) -> str | None:
    if all(org["name"] != ORGANIZATION for org in daemon.pages("/operator/orgs")):
        daemon.post("/operator/orgs", {"name": ORGANIZATION, "tier": "custom"})
    if next(daemon.pages("/operator/keys", 1, org=ORGANIZATION), None):
        return None
    made = daemon.post("/operator/keys", {"org": ORGANIZATION, "name": "first", "scopes": ["*"], "test": False})
    return str(made["secret"])
