"""`posthouse domain`: the domains that an organization sends from, and the DNS records that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from mta.cli.client import Json
from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, Org, settings_for
from mta.cli.output import note, print_json, print_rows

app = typer.Typer(help="Sending domains.", no_args_is_help=True)


@app.command("add")
def add(
    name: str,
    trust: Annotated[bool, typer.Option("--trust", help="You vouch for it: it sends without a DNS check.")] = False,
    org: Org = "default",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a domain and print the records to publish."""
    body = {"org": org, "name": name, "trust": trust}
    _show(operate(settings_for(config), lambda daemon: daemon.post("/operator/domains", body)), as_json)


@app.command("list")
def list_(org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The domains of an organization."""
    domains = operate(settings_for(config), lambda daemon: list(daemon.pages("/operator/domains", org=org)))
    print_rows(domains, ["id", "name", "status", "trusted"], as_json, empty=f"Organization {org} has no domain.")


@app.command("records")
def records(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The DNS records to publish, and how they were found last."""
    settings = settings_for(config)
    _show(operate(settings, lambda daemon: daemon.get(f"{_path(name)}/records", org=org)), as_json)


@app.command("verify")
def verify(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look the records up now; fails while the domain may not send."""
    domain = _change(config, name, "verify", org)
    _show(domain, as_json)
    if domain["status"] != "verified" and not domain["trusted"]:
        raise typer.Exit(1)


@app.command("rotate")
def rotate(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Make a new DKIM key under a new selector; leave the old record published until its mail is gone."""
    _show(_change(config, name, "rotate", org), as_json)


@app.command("delete")
def delete(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Stop sending from a domain; its keys live until its queue is empty."""
    domain = operate(settings_for(config), lambda daemon: daemon.delete(_path(name), org=org))
    if as_json:
        print_json(domain)
    else:
        note(f"{domain['name']} is deleted.")


def _change(config: Path | None, name: str, verb: str, org: str) -> Json:
    return operate(settings_for(config), lambda daemon: daemon.post(f"{_path(name)}/{verb}", {"org": org}))


def _path(name: str) -> str:
    return f"/operator/domains/{quote(name, '')}"


def _show(domain: Json, as_json: bool) -> None:
    if as_json:
        print_json(domain)
        return
    print(f"{domain['name']}: {domain['status']}{', trusted' if domain['trusted'] else ''}")
    columns = ["purpose", "status", "type", "name", "priority", "value"]
    print_rows(domain["records"], columns, False, empty="It needs no record.")
