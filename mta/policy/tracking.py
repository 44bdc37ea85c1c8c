"""Whether a message is tracked: as the send says, else its stream, its domain, its organization, else the server.

Decided in the accept transaction and kept with the message, so that a change never touches mail that was accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from config.settings import Tracking
from mta.model import Domain, Lane, Options, Organization

WHAT: Final = ("opens", "clicks")


def resolved(options: Options, organization: Organization, domain: Domain, default: Tracking) -> Options:
    """The options with what is tracked; the same object where nothing is. One-time codes never are."""
    own = organization.settings.get("tracking") or {}
    stream = (own.get("streams") or {}).get(options.stream) or {}
    opens = _first(
        options.track_opens, stream.get("opens"), domain.settings.track_opens, own.get("opens"), default.opens
    )
    clicks = _first(
        options.track_clicks, stream.get("clicks"), domain.settings.track_clicks, own.get("clicks"), default.clicks
    )
    if options.lane is Lane.OTP:
        opens = clicks = False
    if opens is bool(options.track_opens) and clicks is bool(options.track_clicks):
        return options
    return replace(options, track_opens=opens, track_clicks=clicks)


def changed(settings: Mapping[str, Any], stream: str | None, changes: Mapping[str, bool | None]) -> dict[str, Any]:
    """An organization's settings with other flags, its own or those of a stream; None takes one away."""
    own = dict(settings.get("tracking") or {})
    streams = dict(own.get("streams") or {})
    before = own if stream is None else streams.get(stream) or {}
    flags = {name: value for name, value in {**before, **changes}.items() if name in WHAT and value is not None}
    if stream is None:
        own = flags
    else:
        streams[stream] = flags
    kept = {name: value for name, value in streams.items() if value}
    after = {**{name: own[name] for name in WHAT if name in own}, **({"streams": kept} if kept else {})}
    rest = {name: value for name, value in settings.items() if name != "tracking"}
    return {**rest, "tracking": after} if after else rest


def _first(*said: bool | None) -> bool:
    return next((bool(each) for each in said if each is not None), False)
