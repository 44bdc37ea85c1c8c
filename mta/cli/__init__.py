"""The command `posthouse`: one file a verb group, all speaking to the daemon through its socket (`client`).

Exit status: 0 done, 1 refused or failed with a sentence on standard error, 2 not understood.
"""

from __future__ import annotations

import os
import sys

import typer

from mta.cli import (
    backup,
    dns,
    doctor,
    domains,
    init,
    keys,
    messages,
    orgs,
    queue,
    serve,
    suppressions,
)
from mta.errors import PosthouseError

app = typer.Typer(
    help="A self-hosted mail server for software.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("check-config")(serve.check_config)
app.command("send")(messages.send)
app.command("tail")(messages.tail)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("audit")(orgs.audit)
app.command("classify")(messages.classify)
app.add_typer(orgs.app, name="org")
app.add_typer(keys.app, name="key")
app.add_typer(domains.app, name="domain")
app.add_typer(dns.app, name="dns")
app.add_typer(queue.app, name="queue")
app.add_typer(suppressions.app, name="suppression")


def main() -> None:
    """The entry point; leaves through SystemExit."""
    try:
        app(prog_name="posthouse")
    except PosthouseError as error:
        print(f"posthouse: {error.message}", file=sys.stderr)
    except BrokenPipeError:  # `posthouse queue list | head`: nobody reads on, and nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"posthouse: {error}.", file=sys.stderr)
    sys.exit(1)
