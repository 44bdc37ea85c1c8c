"""`posthouse key`: API keys, which are also the passwords of SMTP submission."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from mta import ids
from mta.cli.offline import operate
from mta.cli.options import AsJson, ConfigFile, Org, moment_ms, settings_for
from mta.cli.output import note, print_json, print_rows

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command("create")
def create(
    name: str,
    org: Org = "default",
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; repeats. Default: *, everything.")] = None,
    test: Annotated[bool, typer.Option("--test", help="A test key: its mail is simulated.")] = False,
    expires: Annotated[str | None, typer.Option(metavar="WHEN", help="A span like 30d, or a date.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="It sends from this domain only; the scope has to be emails:send.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print its secret, once and alone on standard output."""
    body = {
        "org": org,
        "name": name,
        "scopes": scope or ["*"],
        "test": test,
        "expires_at": moment_ms(expires, ids.now_ms()) if expires else None,
        "domain": domain,
    }
    key = operate(settings_for(config), lambda daemon: daemon.post("/operator/keys", body))
    if as_json:
        print_json(key)
    else:
        print(key["secret"])
        note(f"Key {key['id']} of {org}, for {', '.join(key['scopes'])}. The secret is not shown again.")


@app.command("list")
def list_(org: Org = "default", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The keys of an organization, without their secrets."""
    keys = operate(settings_for(config), lambda daemon: list(daemon.pages("/operator/keys", org=org)))
    columns = [
        "id",
        "name",
        "prefix",
        "scopes",
        "domain",
        "test",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    ]
    print_rows(keys, columns, as_json, empty=f"Organization {org} has no key.")


@app.command("rename")
def rename(key_id: str, name: str, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Give a key another name."""
    path = f"/operator/keys/{quote(key_id, '')}/rename"
    key = operate(settings_for(config), lambda daemon: daemon.post(path, {"name": name}))
    if as_json:
        print_json(key)
    else:
        note(f'Key {key["id"]} is called "{key["name"]}".')


@app.command("revoke")
def revoke(key_id: str, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """End a key at once."""
    key = operate(settings_for(config), lambda daemon: daemon.post(f"/operator/keys/{quote(key_id, '')}/revoke", {}))
    if as_json:
        print_json(key)
    else:
        note(f'Key {key["id"]} ("{key["name"]}") is revoked.')
