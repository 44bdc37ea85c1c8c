"""`posthouse send`, `tail`, `classify`: a message sent by hand, what happens to all of them, what a raw one is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from mta.cli.client import Client
from mta.cli.options import AsJson, ConfigFile, OrgFilter, settings_for
from mta.cli.output import cell, note, print_json, printable


def send(
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS")],
    to: Annotated[list[str], typer.Option(metavar="ADDRESS", help="Repeats.")],
    cc: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="Repeats.")] = None,
    subject: Annotated[str, typer.Option()] = "",
    text: Annotated[str | None, typer.Option(help="The plain text. Without --text and --html: standard input.")] = None,
    html: Annotated[str | None, typer.Option(help="The HTML.")] = None,
    org: Annotated[str, typer.Option(metavar="ORG", help="Sends as this organization.")] = "default",
    key: Annotated[
        str | None, typer.Option(envvar="POSTHOUSE_KEY", help="Sends as the app with this key does, instead of --org.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send one message and print its id."""
    settings = settings_for(config)
    if text is None and html is None:
        text = sys.stdin.read()
    who = {"key": key} if key else {"org": org}
    body = {**who, "from": sender, "to": to, "cc": cc or None, "subject": subject, "text": text, "html": html}
    sent = Client(settings.socket_path).post("/operator/send", body)
    if as_json:
        print_json(sent)
        return
    print(sent["id"])
    for delivery in sent["deliveries"]:
        note(f"{printable(delivery['recipient'])}: {delivery['status']}")


def tail(
    org: OrgFilter = None,
    type: Annotated[str | None, typer.Option(help="Only events of this type.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many that have happened already.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what happens from now.")] = True,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """The last events, and each new one as it happens, until interrupted."""
    client = Client(settings_for(config).socket_path)
    try:
        for event in client.lines("/operator/events", org=org, type=type, limit=lines, follow=follow):
            if as_json:
                print_json(event)
            else:
                detail = " ".join(f"{name}={value}" for name, value in event["data"].items() if value is not None)
                what = event["recipient"] or event["resource_id"]
                at = cell("created_at", event["created_at"])
                print(f"{at}  {event['type']:<20}  {printable(what)}  {printable(detail)}".rstrip())
            sys.stdout.flush()
    except KeyboardInterrupt:
        return
    if follow:
        note("The daemon has stopped.")
        raise typer.Exit(1)


def classify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="The only form there is.", show_default=False)] = True,
) -> None:
    """What raw messages are (bounce, complaint, auto_reply, delivered, message), as one JSON object a line.

    Needs neither daemon nor configuration.
    """
    importlib.import_module("mta.cli.classify").classify_files(files, sys.stdout)
