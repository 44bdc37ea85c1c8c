"""`posthouse queue`: what waits, why, and the operator's hand on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from mta.cli.client import Client, Json
from mta.cli.options import AsJson, ConfigFile, Limit, OrgFilter, seconds, settings_for
from mta.cli.output import note, print_fields, print_json, print_rows, printable
from mta.model import DeliveryStatus

app = typer.Typer(help="Deliveries that wait, and what to do with them.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Deliveries, or messages for all of theirs.")]
Domain = Annotated[str | None, typer.Option(metavar="DOMAIN", help="Only recipients of this domain.")]
Site = Annotated[str | None, typer.Option(metavar="SITE", help="Only this site (a set of MX hosts; see stats).")]
Status = Annotated[DeliveryStatus | None, typer.Option(help="Only these. Default: all that are not final.")]
OlderThan = Annotated[str | None, typer.Option(metavar="SPAN", help="Only those older than this, like 2h or 5d.")]
All = Annotated[bool, typer.Option("--all", help="Everything that waits, of every organization.")]

ACTIONS = {
    "hold": "Stop trying until `release`.",
    "release": "Let what is held be tried again.",
    "retry": "Try now instead of when the schedule says.",
    "cancel": "Never deliver it; the app hears that it was cancelled.",
}
_COLUMNS = ["id", "recipient", "status", "attempts", "next_at", "lane", "reply"]
_DETAILS = ["id", "message_id", "organization_id", "recipient", "status", "reason", "lane", "attempts", "next_at"]
_DETAILS += ["expires_at", "created_at", "updated_at", "host", "code", "enhanced", "reply"]
_ATTEMPTS = ["number", "started_at", "ended_at", "outcome", "host", "address", "code", "enhanced", "reply"]


@app.command("list")
def list_(
    domain: Domain = None,
    site: Site = None,
    org: OrgFilter = None,
    status: Status = None,
    older_than: OlderThan = None,
    limit: Limit = 100,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Deliveries that wait, oldest first."""
    found = _client(config).pages("/operator/queue", limit, **_filter(domain, site, org, status, older_than))
    print_rows(found, _COLUMNS, as_json, empty="Nothing waits.")


@app.command("show")
def show(id: str, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One delivery, or all of a message, with every attempt."""
    found = _client(config).get(f"/operator/queue/{quote(id, '')}")
    if as_json:
        print_json(found)
        return
    for delivery in found["deliveries"]:
        print_fields(delivery, _DETAILS)
        print()
        tried = [attempt for attempt in found["attempts"] if attempt["delivery_id"] == delivery["id"]]
        print_rows(tried, _ATTEMPTS, False, empty="Not tried yet.")


@app.command("explain")
def explain(id: str, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Why it is where it is, what happens next, and when."""
    found = _client(config).get(f"/operator/queue/{quote(id, '')}/explain")
    if as_json:
        print_json(found)
        return
    for line in found["lines"]:
        print(printable(line))


@app.command("stats")
def stats(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """How many wait in each state, and how each site does."""
    found = _client(config).get("/operator/stats")
    if as_json:
        print_json(found)
        return
    counts = [{"status": name, "deliveries": count} for name, count in found["statuses"].items()]
    print_rows(counts, ["status", "deliveries"], False, empty="Nothing waits.")
    if found["sites"]:
        print()
        print_rows(found["sites"], ["name", "queued", "connections", "state", "retry_at"], False, empty="")


def _add_action(action: str, does: str) -> None:
    """One command for each of ACTIONS: they differ in what the daemon does, not in how deliveries are chosen."""

    @app.command(action, help=does)
    def act(
        ids: Ids = None,
        domain: Domain = None,
        site: Site = None,
        org: OrgFilter = None,
        status: Status = None,
        older_than: OlderThan = None,
        everything: All = False,
        config: ConfigFile = None,
        as_json: AsJson = False,
    ) -> None:
        selection = _selection(ids, _filter(domain, site, org, status, older_than), everything)
        done = _client(config).post(f"/operator/queue/{action}", selection)
        if as_json:
            print_json(done)
        else:
            print(f"{action}: {done['changed']} changed, {len(done['skipped'])} skipped")
            for skipped in done["skipped"]:
                note(f"{skipped['id']}: {printable(skipped['reason'])}")
        if ids and not done["changed"]:
            raise typer.Exit(1)


for _action, _does in ACTIONS.items():
    _add_action(_action, _does)


def _client(config: Path | None) -> Client:
    return Client(settings_for(config).socket_path)


def _filter(
    domain: str | None, site: str | None, org: str | None, status: DeliveryStatus | None, older_than: str | None
) -> Json:
    asked: Json = {"domain": domain, "site": site, "org": org, "status": status.value if status else None}
    asked["older_than_s"] = seconds(older_than) if older_than else None
    return {key: value for key, value in asked.items() if value is not None}


def _selection(ids: list[str] | None, wanted: Json, everything: bool) -> Json:
    given: dict[str, Any] = {"ids": ids, "filter": wanted, "all": everything}
    chosen = {key: value for key, value in given.items() if value}
    if not chosen:
        raise typer.BadParameter("Name ids or a filter (--domain, --site, ...), or say --all.")
    if len(chosen) > 1:
        raise typer.BadParameter("Ids, a filter and --all exclude each other.")
    return chosen
