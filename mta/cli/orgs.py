"""`posthouse org`: organizations, each with its own keys, domains, limits and suppressions."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, settings_for
from mta.cli.output import note, print_json, print_rows

app = typer.Typer(help="Organizations.", no_args_is_help=True)
Tier = Literal["sandbox", "starter", "verified", "trusted", "custom"]


@app.command("add")
def add(
    name: str,
    tier: Annotated[Tier, typer.Option(help="Its limits; custom is without any.")] = "custom",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an organization and print its id."""
    org = operate(settings_for(config), lambda daemon: daemon.post("/operator/orgs", {"name": name, "tier": tier}))
    if as_json:
        print_json(org)
    else:
        print(org["id"])
        note(f'Organization "{org["name"]}" is there; `posthouse key create NAME --org {org["name"]}` makes it a key.')


@app.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """All organizations."""
    orgs = operate(settings_for(config), lambda daemon: list(daemon.pages("/operator/orgs")))
    print_rows(orgs, ["id", "name", "tier", "created_at"], as_json, empty="There is no organization.")
