"""`posthouse org`: organizations, each with its own keys, domains, limits, usage and suppressions; `posthouse audit`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mta.cli.client import Json
from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, Limit, Org, Said, settings_for
from mta.cli.output import note, print_fields, print_json, print_rows

app = typer.Typer(help="Organizations.", no_args_is_help=True)
Tier = Literal["sandbox", "starter", "verified", "trusted", "custom"]
Review = Literal["none", "pending", "approved", "rejected"]
Switch = Literal["on", "off"]


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


@app.command("set")
def set_(
    name: str,
    tier: Annotated[Tier | None, typer.Option(help="Its limits.")] = None,
    limits: Annotated[
        str | None, typer.Option(help="Of the tier custom: minute=60,hour=1000,day=5000; none takes one off.")
    ] = None,
    review: Annotated[
        Review | None, typer.Option(help="rejected: it may not send; pending: no more than the tier sandbox.")
    ] = None,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Another name.")] = None,
    allowance: Annotated[
        str | None, typer.Option(metavar="N", help="Free copies a month; default: the server's setting.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="CENTS", help="For 1,000 more; default: the server's setting.")
    ] = None,
    spend_cap: Annotated[str | None, typer.Option(metavar="CENTS", help="Most that a month may cost, or none.")] = None,
    batching: Annotated[
        Switch | None, typer.Option(help="on: recipients of one domain share a transaction and a return path.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change an organization's name, tier, limits, review, terms of usage or batching."""
    usage = {
        term: _number(text, word)
        for term, text, word in (
            ("allowance", allowance, "default"),
            ("price_per_1000_cents", price, "default"),
            ("cap_cents", spend_cap, "none"),
        )
        if text is not None
    }
    body = {"org": name, "name": rename, "tier": tier, "review": review, "usage": usage or None, **_limits(limits)}
    if batching is not None:
        body["batching"] = batching == "on"
    org = operate(settings_for(config), lambda daemon: daemon.post("/operator/orgs/change", body))
    if as_json:
        print_json(org)
    else:
        own = org["settings"].get("limits") or {}
        shown = ", ".join(f"{span.removeprefix('per_')}={value}" for span, value in own.items()) or "none"
        shown_org = {
            **org,
            "limits": shown if org["tier"] == "custom" else None,
            "review": org["settings"].get("review"),
            "usage": _facts(org["settings"].get("usage") or {}),
            "batching": "on" if org["settings"].get("batching") else None,
        }
        print_fields(shown_org, ["name", "tier", "limits", "review", "usage", "batching"])


@app.command("track")
def track(
    name: Annotated[str, typer.Argument()] = "default",
    opens: Annotated[Said | None, typer.Option(help="A pixel. default: as the server's setting.")] = None,
    clicks: Annotated[Said | None, typer.Option(help="Rewritten links. default: as the server's setting.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only this stream of its mail.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show or change what is tracked in an organization's mail."""
    body = {"org": name, "stream": stream, "opens": opens, "clicks": clicks}
    found = operate(settings_for(config), lambda daemon: daemon.post("/operator/orgs/tracking", body))
    if as_json:
        print_json(found)
        return
    rows = [{"stream": "", **found}, *({"stream": slug, **flags} for slug, flags in found["streams"].items())]
    print_rows(rows, ["stream", "opens", "clicks"], False, empty="")


@app.command("delete")
def delete(name: str, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End an organization, its keys, webhooks and domains; refused while mail of it waits."""
    org = operate(settings_for(config), lambda daemon: daemon.post("/operator/orgs/delete", {"org": name}))
    if as_json:
        print_json(org)
    else:
        note(f'Organization "{org["name"]}" is deleted.')


@app.command("usage")
def usage(
    name: Annotated[str, typer.Argument()] = "default",
    period: Annotated[str | None, typer.Option(metavar="MONTH", help="Like 2026-05. Default: this month.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What an organization has sent in a month, and what that costs."""
    found = operate(settings_for(config), lambda daemon: daemon.get("/operator/usage", org=name, period=period))
    if as_json:
        print_json(found)
    else:
        shown = {**found, "allowance": "unlimited" if found["allowance"] is None else found["allowance"]}
        shown |= {"cents_per_1000": found["price_per_1000_cents"], "spend_cap_cents": found["cap_cents"]}
        names = ["period", "sent", "allowance", "billable", "cents_per_1000", "spend_cap_cents", "projected_cents"]
        print_fields(shown, names)


def audit(org: Org = "default", limit: Limit = 100, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Who did what to an organization, newest first."""
    entries = operate(settings_for(config), lambda daemon: list(daemon.pages("/operator/audit", limit, org=org)))
    shown = [{**entry, "details": entry["details"] if as_json else _facts(entry["details"])} for entry in entries]
    columns = ["created_at", "actor", "action", "resource_id", "details"]
    print_rows(shown, columns, as_json, empty=f"Nothing is noted of organization {org}.")


@app.command("clear")
def clear(
    name: str,
    domain: Annotated[str, typer.Option(help="Only this sending domain.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an organization's reputation healthy again; it is judged anew from the next full hour on."""
    body = {"org": name, "domain": domain}
    standing = operate(settings_for(config), lambda daemon: daemon.post("/operator/orgs/clear", body))
    if as_json:
        print_json(standing)
    else:
        note(f"{domain or name} is {standing['status']}.")


def _facts(details: Json) -> str:
    return ", ".join(f"{name}={value}" for name, value in details.items() if value is not None)


def _number(text: str, word: str) -> int | None:
    """A whole number, or the word that stands for none of one's own."""
    if text == word:
        return None
    if not text.isdecimal() or len(text) > 12:
        raise typer.BadParameter(f'"{text}" is no number; write 0 or more, or {word}.')
    return int(text)


def _limits(text: str | None) -> dict[str, int]:
    """`minute=60,day=none` as the operator's surface takes it: 0 is no limit."""
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        span, _, value = part.strip().partition("=")
        if span not in ("minute", "hour", "day") or not (value == "none" or (value.isdecimal() and int(value))):
            raise typer.BadParameter(f'"{part}" is no limit; write minute=60, hour=1000, day=5000 or day=none.')
        found[f"per_{span}"] = 0 if value == "none" else int(value)
    return found
