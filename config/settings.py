"""Every setting as a typed, frozen value; `config/posthouse.toml` says the same for people.

`config.load` makes these from the file and the environment, `config.check` judges them; the rest only reads them.
A key's unit is its ending: `_bytes`, `_s` (seconds), `_days`, `_percent`; a plain number is a count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(description="a text in quotes")]
Texts = Annotated[tuple[str, ...], Meta(description='a list of texts, like ["a", "b"]')]
Flag = Annotated[bool, Meta(description="true or false")]
Count = Annotated[int, Meta(gt=0, description="a whole number above 0")]
CountOrNone = Annotated[int, Meta(ge=0, description="a whole number, 0 or more")]
Port = Annotated[int, Meta(gt=0, lt=65536, description="a port, 1 to 65535")]
Percent = Annotated[float, Meta(ge=0, le=100, description="a number from 0 to 100")]
Growth = Annotated[float, Meta(ge=1, description="a number, 1 or more")]
Seconds = Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1, description="a list of whole numbers")]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1, description="a list of whole numbers above 0")]

ListenerRole = Literal["submission", "inbound"]
ListenerTls = Literal["off", "starttls", "implicit"]
Dane = Literal["off", "opportunistic"]
RouteTls = Literal["off", "opportunistic", "require", "verify"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Listener(Section, frozen=True):
    """`[[listeners]]`: a port where SMTP is spoken. The trusted networks and AUTH concern submission only."""

    role: ListenerRole
    address: Text
    tls: ListenerTls = "starttls"
    require_auth: Flag = True
    trusted_networks: Texts = ()
    trusted_org: Text = "default"


class Store(Section, frozen=True):
    """`[store]`: where the durable truth lives."""

    url: Text = ""
    free_floor_bytes: CountOrNone = 200_000_000
    free_floor_percent: Percent = 5


class Api(Section, frozen=True):
    """`[api]`: HTTP."""

    address: Text = "127.0.0.1:8025"
    public_url: Text = ""
    internal_token: Text = ""


class Tls(Section, frozen=True):
    """`[tls]`: the certificate that listeners show."""

    certificate: Text = ""
    key: Text = ""


class Dns(Section, frozen=True):
    """`[dns]`: whom to ask."""

    servers: Texts = ()
    trusted: Flag = False


class Domains(Section, frozen=True):
    """`[domains]`: how sending domains are watched in the DNS."""

    recheck_s: Count = 14_400
    grace_s: CountOrNone = 86_400
    dmarc_required: Flag = False


class Blocklists(Section, frozen=True):
    """`[blocklists]`: the DNS lists that a domain's report asks, by what they list."""

    addresses: Texts = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")
    domains: Texts = ("dbl.spamhaus.org", "multi.surbl.org")


class Limits(Section, frozen=True):
    """`[limits]`: what a client may ask of us; beyond it, a refusal that names the limit."""

    message_bytes: Count = 25 * 1024 * 1024
    header_bytes: Count = 100 * 1024
    hops: Count = 50
    recipients: Count = 1000
    connections_per_address: Count = 50
    errors_per_session: Count = 20
    idle_s: Count = 300
    data_s: Count = 600
    data_min_bytes_per_s: CountOrNone = 1024
    idempotency_key_chars: Count = 256


class Retry(Section, frozen=True):
    """`[retry]`: when a delivery is tried again, and when we give up."""

    schedule_s: Counts = (300, 600, 1200, 2400, 3600, 7200, 14_400)
    jitter_percent: Percent = 10
    greylist_s: Count = 300
    lifetime_s: Count = 432_000
    delay_notice_s: Count = 14_400


class Timeouts(Section, frozen=True):
    """`[timeouts]`: how long each step of an outgoing SMTP session may take."""

    connect_s: Count = 30
    banner_s: Count = 60
    ehlo_s: Count = 300
    tls_s: Count = 60
    mail_s: Count = 300
    rcpt_s: Count = 300
    data_start_s: Count = 120
    data_block_s: Count = 180
    dot_s: Count = 600
    rset_s: Count = 20
    quit_s: Count = 20


class Route(Section, frozen=True):
    """`[[outbound.routes]]`: where mail for a domain goes instead of to its MX hosts."""

    domain: Text
    host: Text
    port: Port = 25
    tls: RouteTls = "opportunistic"


class Outbound(Section, frozen=True):
    """`[outbound]`: how we meet other servers."""

    port: Port = 25
    source_addresses: Texts = ()
    capture: Flag = False
    mta_sts: Flag = True
    dane: Dane = "opportunistic"
    connections_start: Count = 5
    connections_cap: Count = 20
    connections_cap_mx: Count = 10
    batch_recipients: Count = 50
    messages_per_connection: Count = 100
    connection_idle_s: Count = 5
    connection_life_s: Count = 300
    mx_addresses: Count = 5
    mx_sessions: Count = 2
    backoff_start_s: Count = 60
    backoff_max_s: Count = 3600
    broken_tls_s: Count = 3600
    broken_family_s: Count = 3600
    deliveries_in_memory: Count = 20_000
    routes: tuple[Route, ...] = ()


class Webhooks(Section, frozen=True):
    """`[webhooks]`: how events reach an app."""

    allow_private: Flag = False
    timeout_s: Count = 15
    schedule_s: Seconds = (0, 5, 60, 300, 1800, 7200, 21_600, 43_200, 86_400)
    jitter_percent: Percent = 10
    disable_after_s: Count = 172_800


class Retention(Section, frozen=True):
    """`[retention]`: how long things are kept; an organization may have its own for bodies and events."""

    bodies_days: CountOrNone = 7
    events_days: Count = 90
    idempotency_s: Count = 86_400
    audit_days: Count = 365


class Otp(Section, frozen=True):
    """`[otp]`: one-time codes."""

    expires_s: Count = 600
    max_expires_s: Count = 86_400
    max_attempts: Count = 5
    sends: Count = 5
    sends_window_s: Count = 600


class Suppression(Section, frozen=True):
    """`[suppression]`: when soft bounces add up to a suppressed address."""

    soft_bounces: Count = 5
    soft_bounce_days: Count = 14


class Reputation(Section, frozen=True):
    """`[reputation]`: the rates at which an organization is watched, throttled, disabled."""

    window_days: Count = 7
    min_deliveries: Count = 2000
    min_complaints: Count = 3
    bounce_watch_percent: Percent = 2
    bounce_throttled_percent: Percent = 5
    bounce_disabled_percent: Percent = 10
    complaint_watch_percent: Percent = 0.08
    complaint_throttled_percent: Percent = 0.1
    complaint_disabled_percent: Percent = 0.3


class Warmup(Section, frozen=True):
    """`[warmup]`: how fast a new source address may grow, in messages an hour to one provider, by day."""

    enabled: Flag = False
    hourly: Counts = (20, 28, 39, 55, 77, 108, 151, 211, 295, 413, 579, 810, 1000)
    growth: Growth = 1.4


class Usage(Section, frozen=True):
    """`[usage]`: what organizations that have no terms of their own send free in a calendar month, and what more costs."""

    allowance: CountOrNone = 0
    price_per_1000_cents: CountOrNone = 0
    cap_cents: CountOrNone = 0


class Tracking(Section, frozen=True):
    """`[tracking]`: what is tracked where nobody says otherwise, and what is taken for a program."""

    opens: Flag = False
    clicks: Flag = False
    keep_addresses: Flag = False
    at_delivery_s: CountOrNone = 2
    links_at_once_s: Count = 1
    events_per_recipient: Count = 100


class Tier(Section, frozen=True):
    """Messages that an organization of the tier may send."""

    per_day: Count
    per_hour: Count
    per_minute: Count


class Tiers(Section, frozen=True):
    """`[tiers]`: the named sizes of organizations; the tier `custom` has its own numbers, or none."""

    sandbox: Tier = Tier(per_day=200, per_hour=50, per_minute=10)
    starter: Tier = Tier(per_day=5000, per_hour=1000, per_minute=60)
    verified: Tier = Tier(per_day=50_000, per_hour=10_000, per_minute=600)
    trusted: Tier = Tier(per_day=1_000_000, per_hour=100_000, per_minute=6000)


class Settings(Section, frozen=True):
    """The whole file. What `config.load` returns has the empty `hostname`, `bounce_domain`, `secret_key_file` and
    `api.public_url` filled in."""

    hostname: Text = ""
    data_dir: Path = Path("/var/lib/posthouse")
    bounce_domain: Text = ""
    dns_zone: Text = ""
    secret_key_file: Text = ""
    store: Store = Store()
    listeners: tuple[Listener, ...] = (
        Listener(role="submission", address="0.0.0.0:587"),
        Listener(role="inbound", address="0.0.0.0:25"),
    )
    api: Api = Api()
    tls: Tls = Tls()
    dns: Dns = Dns()
    domains: Domains = Domains()
    blocklists: Blocklists = Blocklists()
    limits: Limits = Limits()
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    outbound: Outbound = Outbound()
    webhooks: Webhooks = Webhooks()
    retention: Retention = Retention()
    otp: Otp = Otp()
    suppression: Suppression = Suppression()
    reputation: Reputation = Reputation()
    warmup: Warmup = Warmup()
    usage: Usage = Usage()
    tracking: Tracking = Tracking()
    tiers: Tiers = Tiers()

    @property
    def socket_path(self) -> Path:
        """Where the daemon listens for the command line."""
        return self.data_dir / "posthouse.sock"

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "posthouse.sqlite"


def host_port(address: str, default_port: int | None = None) -> tuple[str, int]:
    """`127.0.0.1:25`, `[::1]:25` or `mx.example:25` as host and port; ValueError (a sentence) where it is neither.

    Without `default_port` the port must be there. Port 0 asks the system for a free one.
    """
    host, colon, digits = address.rpartition(":")
    bare = not colon or address.endswith("]") or (address.count(":") > 1 and "]" not in address)
    if bare:
        host, digits = address, "" if default_port is None else str(default_port)
    if not digits.isascii() or not digits.isdigit() or int(digits) > 65535:
        raise ValueError(f'"{address}" has no port; write it like "127.0.0.1:25" or "[::1]:25".')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:
        raise ValueError(f'"{address}" names no host; "0.0.0.0" or "[::]" is every address.')
    return host, int(digits)
