"""`Control`: what the control plane offers, as one value that the daemon builds and every surface gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.rules import load_rules
from config.settings import Settings
from mta.accept.submit import Accept
from mta.control.account import Account
from mta.control.analytics import Analytics
from mta.control.assets import Assets
from mta.control.audit import Audit
from mta.control.batches import Batches
from mta.control.bounces import Bounces
from mta.control.doctor import Doctor
from mta.control.domains import Domains
from mta.control.downloads import Downloads
from mta.control.events import Events
from mta.control.exports import Exports
from mta.control.inbound import InboundMail
from mta.control.keys import Keys
from mta.control.limits import SendingLimits
from mta.control.maintenance import Maintenance
from mta.control.messages import Messages
from mta.control.metrics import Metrics
from mta.control.organizations import Organizations
from mta.control.otp import Otp
from mta.control.queue import Queue, QueueControl
from mta.control.remote_files import RemoteFiles
from mta.control.reputation import Reputation
from mta.control.resend import Resend
from mta.control.scheduled import Scheduled
from mta.control.streams import Streams
from mta.control.suppressions import Suppressions
from mta.control.templates import Templates
from mta.control.tracking import Tracking
from mta.control.unsubscribes import Unsubscribes
from mta.control.usage import Usage
from mta.control.webhook_call import Caller
from mta.control.webhook_events import WebhookEvents
from mta.control.webhooks import Webhooks
from mta.inbound.authenticate import Verifier
from mta.inbound.receive import Inbound
from mta.inbound.recipients import Names
from mta.net.dns import Resolver
from mta.policy.authentication import Authenticator
from mta.protocol import unsubscribe
from mta.store.database import Database
from mta.store.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Control:
    """Everything that a surface may call."""

    accept: Accept
    authenticator: Authenticator
    organizations: Organizations
    audit: Audit
    usage: Usage
    account: Account
    keys: Keys
    domains: Domains
    messages: Messages
    events: Events
    queue: QueueControl
    templates: Templates
    otp: Otp
    maintenance: Maintenance
    doctor: Doctor
    streams: Streams
    unsubscribes: Unsubscribes
    scheduled: Scheduled
    batches: Batches
    assets: Assets
    remote_files: RemoteFiles
    analytics: Analytics
    metrics: Metrics
    limits: SendingLimits
    reputation: Reputation
    suppressions: Suppressions
    bounces: Bounces
    inbound: InboundMail
    downloads: Downloads
    exports: Exports
    resend: Resend
    webhooks: Webhooks
    webhook_events: WebhookEvents
    tracking: Tracking


def build(
    database: Database,
    accept: Accept,
    authenticator: Authenticator,
    resolver: Resolver,
    secrets: Secrets,
    settings: Settings,
    queue: Queue,
    caller: Caller,
    domain_changed: Callable[[str, str], None] = lambda organization_id, name: None,
) -> Control:
    """`domain_changed` makes delivery look a sending domain up anew."""
    webhooks = Webhooks(database, caller, settings.webhooks)
    messages = Messages(database, queue)
    inbound = InboundMail(database, resolver, settings, _door(database, resolver, secrets, settings))
    limits, usage = SendingLimits(database, settings), Usage(database, settings)
    return Control(
        accept=accept,
        authenticator=authenticator,
        organizations=Organizations(database, authenticator, settings),
        audit=Audit(database),
        usage=usage,
        account=Account(database, limits, usage),
        keys=Keys(database, authenticator),
        domains=Domains(database, resolver, secrets, settings, domain_changed),
        messages=messages,
        events=Events(database),
        queue=QueueControl(database, queue),
        templates=Templates(database),
        otp=Otp(database, accept, secrets, settings),
        maintenance=Maintenance(database),
        doctor=Doctor(settings, database),
        streams=Streams(database),
        unsubscribes=Unsubscribes(database, secrets),
        scheduled=Scheduled(database, queue),
        batches=Batches(database, queue),
        assets=Assets(database, accept),
        remote_files=RemoteFiles(caller.http),
        analytics=Analytics(database),
        metrics=Metrics(database),
        limits=limits,
        reputation=Reputation(database, settings),
        suppressions=Suppressions(database),
        bounces=Bounces(database),
        inbound=inbound,
        downloads=Downloads(messages, inbound, secrets, settings.api.public_url),
        exports=Exports(database, settings),
        resend=Resend(database, accept, settings),
        webhooks=webhooks,
        webhook_events=WebhookEvents(database, caller, webhooks, settings),
        tracking=Tracking(database, secrets, settings),
    )


def _door(database: Database, resolver: Resolver, secrets: Secrets, settings: Settings) -> Inbound:
    own = frozenset({settings.hostname, settings.bounce_domain or settings.hostname})
    names = Names(own, (secrets.derive("verp"),))
    verifier = Verifier(resolver, settings.hostname)
    return Inbound(database, settings, load_rules(), names, verifier, secrets.derive(unsubscribe.KEY))
