"""`posthouse dns`: what the operator publishes, so that customers never touch their records again."""

from __future__ import annotations

from typing import Annotated

import typer

from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, settings_for
from mta.cli.output import print_json

app = typer.Typer(help="Your own DNS zone (dns_zone).", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `zone` a subcommand while it is the only one."""


@app.command("zone")
def zone(
    bare: Annotated[bool, typer.Option("--bare", help="Without SOA and NS, to $INCLUDE in a zone file.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the zone's file: the DKIM keys, return paths and SPF that customers' CNAME records lead to."""
    answer = operate(settings_for(config), lambda daemon: daemon.get("/operator/dns/zone", bare=bare))
    if as_json:
        print_json(answer)
    else:
        print(answer["zone"], end="")
