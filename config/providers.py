"""Provider profiles of `providers.toml`: what a site's queue asks before it opens a connection."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from config.settings import Count


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None means the setting of `[outbound]`. `tls = "require"`: never in clear, any certificate."""

    name: str
    mx: tuple[str, ...]
    connections: Count | None = None
    messages_per_connection: Count | None = None
    tls: Literal["opportunistic", "require"] = "opportunistic"

    def owns(self, mx_host: str) -> bool:
        """Whether the MX host is one of the provider's: a listed name or below one."""
        host = mx_host.lower().rstrip(".")
        return any(host == name or host.endswith("." + name) for name in self.mx)


@cache
def providers() -> tuple[Provider, ...]:
    """All profiles, in the order in which they match."""
    table = tomllib.loads(resources.files("config").joinpath("providers.toml").read_text(encoding="utf-8"))
    return msgspec.convert(table["providers"], tuple[Provider, ...])


def provider_of(mx_hosts: Iterable[str]) -> Provider | None:
    """The provider that owns the first of these MX hosts (lowest preference first) that anybody owns, or None."""
    for host in mx_hosts:
        for provider in providers():
            if provider.owns(host):
                return provider
    return None
