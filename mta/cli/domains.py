"""`posthouse domain`: the domains that an organization sends from, and the DNS records that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from mta.cli.client import Json
from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, Org, Said, settings_for
from mta.cli.output import note, print_json, print_rows, printable

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
def rotate(
    name: str,
    force: Annotated[
        bool, typer.Option("--force", help="Sign with the new keys at once, whatever the DNS says.")
    ] = False,
    org: Org = "default",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make new DKIM keys; they sign once their records are found, and the old records stay until their mail is gone."""
    _show(_change(config, name, "rotate", org, force=force or None), as_json)


@app.command("trust")
def trust(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Vouch for a domain: it sends whatever the DNS says."""
    _show(_change(config, name, "trust", org), as_json)


@app.command("track")
def track(
    name: str,
    opens: Annotated[Said | None, typer.Option(help="A pixel. default: as the organization says.")] = None,
    clicks: Annotated[Said | None, typer.Option(help="Rewritten links. default: as the organization says.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of its links, like links.example.com; none: the server's.")
    ] = None,
    org: Org = "default",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change what is tracked in mail from a domain; print its records, the one of a host of its own too."""
    said = {"opens": opens, "clicks": clicks, "host": "" if host == "none" else host}
    _show(_change(config, name, "track", org, **said), as_json)


@app.command("disable")
def disable(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Accept no more mail from a domain, until `enable`; what is queued is still sent."""
    _tell(_change(config, name, "disable", org), as_json, "is disabled: mail from it is refused.")


@app.command("enable")
def enable(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Let a disabled domain send again, where the DNS or your word lets it."""
    domain = _change(config, name, "enable", org)
    _tell(domain, as_json, f"is enabled; it is {domain['status']}.")


@app.command("delete")
def delete(name: str, org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Stop sending from a domain; its keys live until its queue is empty."""
    settings = settings_for(config)
    _tell(operate(settings, lambda daemon: daemon.delete(_path(name), org=org)), as_json, "is deleted.")


def _change(config: Path | None, name: str, verb: str, org: str, **more: bool | str | None) -> Json:
    return operate(settings_for(config), lambda daemon: daemon.post(f"{_path(name)}/{verb}", {"org": org, **more}))


def _path(name: str) -> str:
    return f"/operator/domains/{quote(name, '')}"


def _tell(domain: Json, as_json: bool, what: str) -> None:
    if as_json:
        print_json(domain)
    else:
        note(f"{domain['name']} {what}")


def _show(domain: Json, as_json: bool) -> None:
    """The domain's status, then each record: how it stands, what to paste, what was found, what to do."""
    if as_json:
        print_json(domain)
        return
    print(f"{domain['name']}: {domain['status']}{', trusted' if domain['trusted'] else ''}")
    waiting = [
        record["purpose"] for record in domain["records"] if record["required"] and record["status"] != "verified"
    ]
    if waiting and domain["status"] in ("pending", "failed"):
        print(f"It may send once these are verified: {', '.join(waiting)}.")
    for record in domain["records"]:
        _show_record(record)


def _show_record(record: Json) -> None:
    need = "required" if record["required"] else "recommended"
    print(f"\n{record['status'].upper()}  {record['purpose']} ({need})")
    print(f"  type   {record['type']}")
    print(f"  name   {record['name']}")
    if record.get("priority") is not None:
        print(f"  prio   {record['priority']}")
    print(f"  value  {record['value']}")
    for found in record["found"] if record["status"] != "verified" else ():
        print(f"  found  {printable(found)}")
    print(f"  {printable(record['explanation'])}")
