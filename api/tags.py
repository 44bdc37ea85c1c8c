"""Tags as HTTP clients write them, in every surface alike: "a,b", a list, or an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta


class Tag(msgspec.Struct):
    name: str
    value: str = ""


Tags = Annotated[
    str | dict[str, str] | list[str | Tag],
    Meta(description='"welcome,kind=order", ["welcome"], [{"name": "kind", "value": "order"}] or {"kind": "order"}'),
]


def tags_of(given: Tags | None) -> dict[str, str]:
    """By name; the value of a bare tag is empty."""
    if given is None:
        return {}
    if isinstance(given, dict):
        return given
    listed = given.split(",") if isinstance(given, str) else given
    pairs = (_pair(each) for each in listed)
    return {name: value for name, value in pairs if name}


def as_text(tags: Mapping[str, str]) -> str:
    """As the text that `tags_of` reads."""
    return ",".join(f"{name}={value}" if value else name for name, value in tags.items())


def _pair(given: str | Tag) -> tuple[str, str]:
    if isinstance(given, Tag):
        return given.name, given.value
    name, _, value = given.partition("=")
    return name.strip(), value.strip()
