"""`posthouse org`: organizations, each with its own keys, domains, limits and suppressions."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, settings_for
from mta.cli.output import note, print_fields, print_json, print_rows

app = typer.Typer(help="Organizations.", no_args_is_help=True)
Tier = Literal["sandbox", "starter", "verified", "trusted", "custom"]
Review = Literal["none", "pending", "approved", "rejected"]


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
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change an organization's tier, limits or review."""
    body = {"org": name, "tier": tier, "review": review, **_limits(limits)}
    org = operate(settings_for(config), lambda daemon: daemon.post("/operator/orgs/change", body))
    if as_json:
        print_json(org)
    else:
        own = org["settings"].get("limits") or {}
        shown = ", ".join(f"{span.removeprefix('per_')}={value}" for span, value in own.items()) or "none"
        print_fields(
            {**org, "limits": shown if org["tier"] == "custom" else None, "review": org["settings"].get("review")},
            ["name", "tier", "limits", "review"],
        )


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


def _limits(text: str | None) -> dict[str, int]:
    """`minute=60,day=none` as the operator's surface takes it: 0 is no limit."""
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        span, _, value = part.strip().partition("=")
        if span not in ("minute", "hour", "day") or not (value == "none" or (value.isdecimal() and int(value))):
            raise typer.BadParameter(f'"{part}" is no limit; write minute=60, hour=1000, day=5000 or day=none.')
        found[f"per_{span}"] = 0 if value == "none" else int(value)
    return found
