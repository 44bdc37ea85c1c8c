"""What `serve --dev` says when it is ready: a key, a domain that may send, and a first send to paste."""

from __future__ import annotations

import os
import sys

from config.settings import Settings, host_port
from mta.control.build import Control
from mta.errors import Conflict, Unauthenticated
from mta.model import Principal

DOMAIN = "example.com"
KEY_FILE = "first-key"  # in the data directory: the same key after a restart


async def welcome(control: Control, settings: Settings) -> None:
    """Makes what a first send needs, and prints the send on standard output."""
    organization = await control.organizations.ensure_default()
    try:
        await control.domains.create(organization.id, DOMAIN, trusted=True)
    except Conflict:
        pass  # an earlier start made it
    key = await _key(control, settings, organization.id)
    _, smtp_port = host_port(next(each.address for each in settings.listeners if each.role == "submission"))
    print(
        f"""
Posthouse runs for development: what you send is captured and readable, nothing leaves this machine.

  API key   {key}
  HTTP      http://{settings.api.address}    the API, described at http://{settings.api.address}/docs
  SMTP      127.0.0.1:{smtp_port}           STARTTLS, any user name, the key as the password

A first send to paste:

  curl http://{settings.api.address}/v1/mail/send \\
    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"from": "app@{DOMAIN}", "to": "you@example.net", "subject": "Hello", "text": "It works."}}'

It answers with an id. Read the message back with

  curl -H "Authorization: Bearer {key}" http://{settings.api.address}/v1/mail/messages/ID/content
  posthouse queue show ID           (.venv/bin/posthouse in a checkout)
""",
        flush=True,
    )


async def _key(control: Control, settings: Settings, organization_id: str) -> str:
    path = settings.data_dir / KEY_FILE
    if path.exists():
        secret = path.read_text().strip()
        try:
            await control.authenticator.authenticate(secret)
            return secret
        except Unauthenticated:
            print(f"The key in {path} is no longer good; here is a new one.", file=sys.stderr)
    _, secret = await control.keys.create(Principal(organization_id), "development")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret + "\n")
    return secret
