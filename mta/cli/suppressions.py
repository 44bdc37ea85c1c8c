"""`posthouse suppression`: addresses that an organization's mail does not go to."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from mta.cli.client import Client, Json
from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, Org, settings_for
from mta.cli.output import note, print_json, print_rows

app = typer.Typer(help="Suppressed addresses.", no_args_is_help=True)
COLUMNS = ["id", "email", "reason", "source", "stream", "created_at"]


@app.command("list")
def list_(
    email: Annotated[str | None, typer.Option(help="Only this address.")] = None,
    reason: Annotated[str | None, typer.Option(help="hard_bounce, complaint, manual, blocked ...")] = None,
    org: Org = "default",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What is suppressed, and why."""
    rows = operate(
        settings_for(config),
        lambda daemon: list(daemon.pages("/operator/suppressions", org=org, email=email, reason=reason)),
    )
    print_rows(rows, COLUMNS, as_json, empty="Nothing is suppressed.")


@app.command("add")
def add(
    email: str,
    reason: Annotated[str, typer.Option(help="manual, blocked ...")] = "manual",
    org: Org = "default",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send nothing to an address any more."""
    body = {"org": org, "email": email, "reason": reason}
    _show(operate(settings_for(config), lambda daemon: daemon.post("/operator/suppressions", body)), as_json)


@app.command("delete")
def delete(
    id_or_email: Annotated[str, typer.Argument(help="A suppression's id, or the address: all of its suppressions.")],
    org: Org = "default",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let mail go to an address again."""
    gone = operate(settings_for(config), lambda daemon: _delete(daemon, org, id_or_email))
    if not gone:
        note(f"{id_or_email} is not suppressed.")
        raise typer.Exit(1)
    for each in gone:
        if as_json:
            print_json(each)
        else:
            note(f"Mail goes to {each['email']} again.")


def _delete(daemon: Client, org: str, id_or_email: str) -> list[Json]:
    ids = [id_or_email]
    if "@" in id_or_email:
        ids = [each["id"] for each in daemon.pages("/operator/suppressions", org=org, email=id_or_email)]
    return [daemon.delete(f"/operator/suppressions/{quote(id, '')}", org=org) for id in ids]


def _show(found: Json, as_json: bool) -> None:
    print_rows([found], COLUMNS, as_json, empty="")
