"""`posthouse serve` and `check-config`: what needs the whole configuration to be right."""

from __future__ import annotations

import os

import typer

from config.load import config_file, load
from mta.cli.options import AsJson, ConfigFile, Dev
from mta.cli.output import print_json
from mta.errors import ConfigError


def serve(config: ConfigFile = None, dev: Dev = False) -> None:
    """Run the mail server until it is told to stop (SIGTERM)."""
    settings = load(config, os.environ, dev=dev, files=True)
    from mta import daemon  # it brings the whole server: other commands start without it
    from mta.cli.welcome import welcome

    daemon.run(settings, welcome if dev else None)


def check_config(config: ConfigFile = None, dev: Dev = False, as_json: AsJson = False) -> None:
    """Say every mistake in the configuration, with its line."""
    file = config_file(config, os.environ, dev=dev)
    try:
        load(config, os.environ, dev=dev, files=True)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(file) if file else None, "problems": error.details.get("problems", [error.message])})
        raise typer.Exit(1) from error
    if as_json:
        print_json({"file": str(file) if file else None, "problems": []})
    else:
        print(f"{file or 'The defaults'}: no mistakes.")
