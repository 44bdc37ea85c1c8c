"""The sites in memory, and which of them a recipient domain's mail was last routed to."""

from __future__ import annotations

from collections.abc import Iterator

from mta.outbound.site import Site


class Sites:
    def __init__(self) -> None:
        self._by_name: dict[str, Site] = {}
        self._name_of: dict[str, str] = {}

    def __iter__(self) -> Iterator[Site]:
        return iter(self._by_name.values())

    def named(self, name: str) -> Site | None:
        return self._by_name.get(name)

    def of(self, domain: str) -> Site | None:
        """The site of a recipient domain, while it is remembered."""
        return self._by_name.get(self._name_of.get(domain, ""))

    def name_of(self, domain: str) -> str:
        """Its name; empty where no mail was routed there yet."""
        return self._name_of.get(domain, "")

    def add(self, site: Site) -> Site:
        self._by_name[site.key] = site
        return site

    def routed(self, domain: str, site: Site) -> None:
        """Mail for this domain goes to that site now."""
        self._name_of[domain] = site.key

    def forget_quiet(self) -> None:
        """Those that have nothing to do and nothing to remember, with their domains."""
        for site in [site for site in self if site.quiet]:
            del self._by_name[site.key]
            for domain in site.domains:
                self._name_of.pop(domain, None)
