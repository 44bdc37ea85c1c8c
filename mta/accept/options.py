"""What an app asked for in `X-Posthouse-` fields, checked, and laid over what its surface asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from mta.errors import InvalidInput
from mta.model import Options
from mta.protocol import hygiene

_STREAM: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_NOTHING: Final = hygiene.Options()
_TRACKED: Final = frozenset({"opens", "clicks"})
MAX_TAGS: Final = 50  # tags and metadata entries of one message
MAX_TEXT: Final = 500  # characters of one of their values


def merge(asked: Options, fields: hygiene.Options) -> Options:
    """The fields win over `asked`, which SMTP leaves at its defaults. Raises InvalidInput."""
    if fields != _NOTHING:
        asked = replace(
            asked,
            stream=asked.stream if fields.stream is None else fields.stream.strip().lower(),
            tags={**asked.tags, **dict(_tag(tag) for tag in fields.tags)},
            metadata={**asked.metadata, **fields.metadata},
            idempotency_key=asked.idempotency_key if fields.idempotency_key is None else fields.idempotency_key,
            track_opens=asked.track_opens if fields.track is None else "opens" in _track(fields.track),
            track_clicks=asked.track_clicks if fields.track is None else "clicks" in _track(fields.track),
        )
    _check(asked)
    return asked


def _tag(text: str) -> tuple[str, str]:
    """`campaign=spring`, or a bare `welcome`, whose value is empty."""
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _track(text: str) -> frozenset[str]:
    """`opens`, `clicks`, both with a comma, or `none`."""
    wanted = frozenset(word.strip().lower() for word in text.split(","))
    if wanted == {"none"}:
        return frozenset()
    if not wanted <= _TRACKED:
        raise InvalidInput(
            f"X-Posthouse-Track is {text[:40]!r}; use opens, clicks, both with a comma between, or none."
        )
    return wanted


def _check(options: Options) -> None:
    if not _STREAM.fullmatch(options.stream):
        raise InvalidInput(
            f"{options.stream[:64]!r} is no stream: use up to 64 lower-case letters, digits, - and _.", field="stream"
        )
    for what, values in (("tags", options.tags), ("metadata", options.metadata)):
        if len(values) > MAX_TAGS:
            raise InvalidInput(f"The message has {len(values)} {what}; at most {MAX_TAGS} are allowed.", field=what)
        for name, value in values.items():
            if not name or len(name) > MAX_TEXT or len(value) > MAX_TEXT:
                raise InvalidInput(
                    f"Names and values of {what} have at most {MAX_TEXT} characters, names at least one.", field=what
                )
