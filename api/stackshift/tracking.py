"""/tracking and /messages/{id}/engagement: what is tracked, under which host, and what recipients did."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from api.routing import Call, Routes
from api.stackshift.domains import RecordShape, record_shape
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment_or_none
from mta.control.domain_settings import SettingChanges
from mta.control.domains import DomainView
from mta.control.tracking import Flags, TrackingSettings
from mta.model import Delivery, DomainSettings, Engagement, FollowedLink

routes = Routes("tracking")


class FlagsShape(Shape):
    """Null: nothing is said here, so what comes after decides."""

    opens: bool | None
    clicks: bool | None


class SettingsShape(Shape):
    """`opens`, `clicks`: the organization's own. A send, then its stream, then its domain say it before them."""

    opens: bool
    clicks: bool
    streams: dict[str, FlagsShape]


class SettingsChange(Shape):
    """What is left out stays, null takes it away. `stream`: that stream's instead of the organization's."""

    opens: bool | UnsetType | None = UNSET
    clicks: bool | UnsetType | None = UNSET
    stream: str | None = None


class HostRequest(Shape):
    """`hostname` is below the sending domain that `domainId` names."""

    domain_id: str
    hostname: str


class HostChange(Shape):
    """`enabled` false: links use the server's host again. `revoke`: the host is forgotten; its links need its record.

    `opens`, `clicks`: what is tracked in mail from the domain; null: it says nothing. What is left out stays.
    """

    enabled: bool | None = None
    revoke: bool = False
    opens: bool | UnsetType | None = UNSET
    clicks: bool | UnsetType | None = UNSET


class HostShape(Shape):
    """A host of tracked links; `id` is that of its sending domain. Links use it while it is enabled and verified.

    `opens`, `clicks`: what the domain says of mail from it.
    """

    id: str
    domain_id: str
    domain: str
    hostname: str
    status: str
    enabled: bool
    opens: bool | None
    clicks: bool | None
    records: list[RecordShape]


class CountsShape(Shape):
    """`total` of people, `unique` recipients, and `automated` ones, which are in neither."""

    total: int
    unique: int
    automated: int
    first_at: str | None


class LinkShape(Shape):
    url: str
    total: int
    unique: int
    automated: int
    first_at: str | None


class RecipientShape(Shape):
    email: str
    opens: int
    clicks: int
    automated_opens: int
    automated_clicks: int
    first_opened_at: str | None
    first_clicked_at: str | None


class EngagementShape(Shape):
    """`tracking` is what is tracked in this message. Opens are approximate."""

    message_id: str
    tracking: FlagsShape
    opens: CountsShape
    clicks: CountsShape
    links: list[LinkShape]
    recipients: list[RecipientShape]


@routes.get("/tracking/settings", scope="domains:read")
async def settings(call: Call) -> SettingsShape:
    """What is tracked where a send does not say."""
    return _settings(await call.control.tracking.settings(call.principal.organization_id))


@routes.put("/tracking/settings", scope="domains:write")
async def set_settings(call: Call, body: SettingsChange) -> SettingsShape:
    """Change what is tracked in mail that is accepted from now on."""
    given = {"opens": body.opens, "clicks": body.clicks}
    changes = {name: value for name, value in given.items() if not isinstance(value, UnsetType)}
    return _settings(await call.control.tracking.change(call.principal.organization_id, changes, body.stream))


@routes.get("/tracking/domains", scope="domains:read")
async def hosts(call: Call, query: Paging) -> Listed[HostShape]:
    """Sending domains with a host for links or flags of their own, newest first; a page may hold less than `limit`."""
    page = await call.control.domains.page(call.principal.organization_id, query.limit, query.cursor)
    found = [_host(view) for view in page.items if _says_something(view.domain.settings)]
    return Listed(data=found, next_cursor=page.next_cursor)


@routes.post("/tracking/domains", scope="domains:write", status=201)
async def add_host(call: Call, body: HostRequest) -> HostShape:
    """Give a sending domain a host of its own for tracked links; publish its record, then verify it."""
    return _host(
        await call.control.domains.change(
            call.principal.organization_id,
            body.domain_id,
            {"tracking_host": body.hostname, "tracking_enabled": True},
        )
    )


@routes.post("/tracking/domains/{id}/verify", scope="domains:write")
async def verify_host(call: Call, id: str) -> HostShape:
    """Look its record up now."""
    return _host(await call.control.domains.verify(call.principal.organization_id, id))


@routes.put("/tracking/domains/{id}", scope="domains:write")
async def change_host(call: Call, id: str, body: HostChange) -> HostShape:
    """Switch a host off and on, take it away, or say what is tracked in mail from its domain."""
    changes: SettingChanges = {}
    if body.revoke:
        changes["tracking_host"] = ""
    elif body.enabled is not None:
        changes["tracking_enabled"] = body.enabled
    if not isinstance(body.opens, UnsetType):
        changes["track_opens"] = body.opens
    if not isinstance(body.clicks, UnsetType):
        changes["track_clicks"] = body.clicks
    return _host(await call.control.domains.change(call.principal.organization_id, id, changes))


@routes.get("/messages/{id}/engagement", scope="emails:read")
async def engagement(call: Call, id: str) -> EngagementShape:
    """Who opened the message and followed its links: people and programs apart."""
    found = await call.control.tracking.engagement(call.principal, id)
    done = [each for _, each in found.recipients]
    return EngagementShape(
        message_id=found.message.id,
        tracking=FlagsShape(
            opens=found.message.options.get("track_opens") is True,
            clicks=found.message.options.get("track_clicks") is True,
        ),
        opens=_counts(
            [(each.opens, each.automated_opens, each.first_open_at) for each in done],
        ),
        clicks=_counts(
            [(each.clicks, each.automated_clicks, each.first_click_at) for each in done],
        ),
        links=[_link(link) for link in found.links],
        recipients=[_recipient(delivery, each) for delivery, each in found.recipients],
    )


def _settings(found: TrackingSettings) -> SettingsShape:
    return SettingsShape(
        opens=found.opens,
        clicks=found.clicks,
        streams={slug: _flags(flags) for slug, flags in found.streams.items()},
    )


def _flags(flags: Flags) -> FlagsShape:
    return FlagsShape(opens=flags.opens, clicks=flags.clicks)


def _says_something(settings: DomainSettings) -> bool:
    return bool(settings.tracking_host) or settings.track_opens is not None or settings.track_clicks is not None


def _host(view: DomainView) -> HostShape:
    domain = view.domain
    records = [record for record in view.records if record.check == "tracking"]
    return HostShape(
        id=domain.id,
        domain_id=domain.id,
        domain=domain.name,
        hostname=domain.settings.tracking_host,
        status=records[0].status if records else "none",
        enabled=domain.settings.tracking_enabled and bool(records),
        opens=domain.settings.track_opens,
        clicks=domain.settings.track_clicks,
        records=[record_shape(record) for record in records],
    )


def _counts(each: list[tuple[int, int, int | None]]) -> CountsShape:
    firsts = [first for _, _, first in each if first is not None]
    return CountsShape(
        total=sum(people for people, _, _ in each),
        unique=len(firsts),
        automated=sum(programs for _, programs, _ in each),
        first_at=moment_or_none(min(firsts, default=None)),
    )


def _link(link: FollowedLink) -> LinkShape:
    return LinkShape(
        url=link.url,
        total=link.clicks,
        unique=link.people,
        automated=link.automated_clicks,
        first_at=moment_or_none(link.first_at),
    )


def _recipient(delivery: Delivery, done: Engagement) -> RecipientShape:
    return RecipientShape(
        email=delivery.recipient,
        opens=done.opens,
        clicks=done.clicks,
        automated_opens=done.automated_opens,
        automated_clicks=done.automated_clicks,
        first_opened_at=moment_or_none(done.first_open_at),
        first_clicked_at=moment_or_none(done.first_click_at),
    )
