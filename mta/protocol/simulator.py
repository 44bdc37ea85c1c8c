"""Addresses that play a recipient: mail to them never goes on the wire, whoever sends it and with whatever key.

For apps that submit over SMTP and have no field to ask for a simulation; read by accept and by the runner.
"""

from __future__ import annotations

from typing import Final

from .address import Address

DOMAIN: Final = "simulator.posthouse.invalid"  # RFC 2606 §2: no such name will ever exist
SCENARIOS: Final = ("delivered", "delayed", "bounced", "complained")


def scenario(recipient: Address, hostname: str) -> str | None:
    """What this recipient plays, or None for a real one. `simulator.HOSTNAME` does as well; `bounced+17@` is `bounced@`.

    Anybody else there is unknown, as at a real server: bounced.
    """
    if recipient.domain not in (DOMAIN, f"simulator.{hostname}"):
        return None
    name = recipient.local.lower().partition("+")[0]
    return name if name in SCENARIOS else "bounced"
