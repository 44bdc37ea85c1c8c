"""Records of a domain, put into the DNS of a test as its owner would."""

from collections.abc import Iterable
from typing import Any

from tests.api.conftest import House

HOST = {"mail.posthouse.test": {"A": ["198.51.100.25"]}}


def publish(house: House, records: Iterable[tuple[str, str, str]]) -> None:
    """(type, name, value), as a zone file has them: the value of an MX begins with its preference."""
    house.dns.records |= HOST
    for type, name, text in records:
        value: Any = text
        if type == "MX":
            preference, _, host = text.partition(" ")
            value = (int(preference), host)
        house.dns.records.setdefault(name, {}).setdefault(type, []).append(value)
