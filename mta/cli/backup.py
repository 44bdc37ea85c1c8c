"""`posthouse backup` and `restore`: the store as one file, made while the daemon serves, put back while it does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mta import ids
from mta.cli.offline import check_owner, operate
from mta.cli.options import AsJson, ConfigFile, settings_for
from mta.cli.output import note, print_json
from mta.store import backup as copies


def backup(
    dest: Annotated[
        Path | None, typer.Argument(metavar="DEST", help="A directory, or a new file. Default: backups in data_dir.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="So many stay in the directory, the newest.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the store to a file while the daemon serves, and check the copy; everything acknowledged before is in it."""
    settings = settings_for(config)
    body = {"path": str(dest.absolute()) if dest else None, "keep": keep}
    made = operate(settings, lambda daemon: daemon.post("/operator/backup", body, timeout_s=None))
    if as_json:
        print_json(made)
        return
    print(made["path"])
    for old in made["removed"]:
        note(f"{old} is removed.")
    note(f"The key of stored secrets is not in it. Keep a copy of {settings.secret_key_file} in another place.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Set the store that is there aside.")] = False,
    config: ConfigFile = None,
) -> None:
    """Put a backup in the place of the store. The daemon must not run."""
    settings = settings_for(config)
    check_owner(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = settings.store_path
    aside = copies.restore(file, store, ids.now_ms(), force=force)
    note(f"{store} is restored from {file}.")
    if aside is not None:
        note(f"The store before is {aside}; delete it when it is not needed.")
    if not os.access(settings.secret_key_file, os.R_OK):
        note(
            f"{settings.secret_key_file} is not there, and no backup holds it: put the key file of this store back "
            "before the daemon starts."
        )
    note("Mail that was sent after the backup and waited in it is sent again.")
