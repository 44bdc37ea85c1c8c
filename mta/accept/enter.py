"""The one durable transaction of accepting, run in the store's writer: all that depends on what is stored is judged
here, so that it holds under parallel senders, and the message with all that belongs to it is written, or nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from config.settings import Settings
from mta import ids
from mta.accept.broadcast import WayOut, personal
from mta.accept.prepare import Prepared
from mta.accept.submission import Accepted
from mta.errors import NotFound
from mta.lifecycle.states import roll_up
from mta.model import (
    DeliveryStatus,
    Domain,
    Lane,
    Message,
    MessageStatus,
    Options,
    Organization,
    Principal,
    Queued,
    Recipient,
    StreamType,
    Suppression,
)
from mta.policy import idempotency, limits, senders, standing, streams, suppression, tracking, usage
from mta.protocol import simulator
from mta.store import bodies, deliveries, events, messages, organizations
from mta.store import idempotency as keys
from mta.store.sqlite import Tx


@dataclass(frozen=True, slots=True)
class Entered:
    """What the transaction came to: `accepted` with the deliveries to offer, or who was suppressed where that is all."""

    accepted: Accepted | None
    deliveries: tuple[Queued, ...] = ()
    refused: tuple[Suppression, ...] = ()


def enter(tx: Tx, principal: Principal, prepared: Prepared, settings: Settings, way_out: WayOut) -> Entered:
    """Judges and stores. Raises InvalidInput, Forbidden, Conflict, LimitReached or PaymentRequired: then nothing is kept."""
    organization = organizations.by_id(tx, principal.organization_id)
    if organization is None:
        raise NotFound("The organization of this key is gone.")
    key = prepared.options.idempotency_key
    again = None if key is None else replayed(tx, principal, key, prepared.fingerprint, settings, prepared.now)
    if again is not None:
        return Entered(again)
    domain = _check_sender(tx, principal, prepared)
    chosen = tracking.resolved(prepared.options, organization, domain, settings.tracking)
    if chosen is not prepared.options:
        prepared = replace(prepared, options=chosen)
    if streams.named(tx, organization.id, prepared.options.stream).type is StreamType.BROADCAST:
        prepared = personal(prepared, principal, way_out)
    suppressed = suppression.among(
        tx,
        organization.id,
        principal.test,
        (recipient.address for recipient in prepared.recipients),
        prepared.options.stream,
    )
    going = len(prepared.recipients) - len(suppressed)
    if not going and not prepared.options.keep_suppressed:
        data = {"stream": prepared.options.stream, "subject": prepared.subject}
        for recipient in prepared.recipients:
            found = suppressed[recipient.address.key]
            suppression.tell_refused(tx, found, recipient.address, prepared.now, data)
        _count(tx, principal, prepared, "suppressed", len(suppressed))
        return Entered(None, refused=tuple(suppressed.values()))
    slowed = standing.admit(tx, organization, prepared.author[1].domain, principal.test)
    used = limits.count(tx, organization, principal.test, going, prepared.now, settings.tiers, slowed)
    if not principal.test:
        usage.check(organization, settings.usage, used.month, prepared.now)
    return _store(tx, organization, principal, prepared, settings, suppressed)


def enter_all(
    tx: Tx, principal: Principal, prepared: Sequence[Prepared], settings: Settings, way_out: WayOut
) -> list[Entered]:
    """Several, or none where one is refused."""
    return [enter(tx, principal, each, settings, way_out) for each in prepared]


def replayed(tx: Tx, principal: Principal, key: str, fingerprint: str, settings: Settings, now: int) -> Accepted | None:
    """The answer that this request got already, or None. Raises Conflict where the key stood for another request."""
    after = now - settings.retention.idempotency_s * 1000
    earlier = idempotency.earlier(tx, principal.organization_id, principal.test, key, fingerprint, after)
    return None if earlier is None else _replay(tx, earlier)


def _replay(tx: Tx, message_id: str) -> Accepted:
    """The first answer again, whatever became of the message since."""
    message = messages.by_id(tx, message_id)
    scheduled = message is not None and message.scheduled_at is not None and message.scheduled_at > message.created_at
    refused = tuple(
        delivery.recipient
        for delivery in deliveries.by_message(tx, message_id)
        if delivery.status is DeliveryStatus.SUPPRESSED and delivery.updated_at == delivery.created_at
    )
    return Accepted(message_id, MessageStatus.SCHEDULED if scheduled else MessageStatus.QUEUED, True, refused)


def _check_sender(tx: Tx, principal: Principal, prepared: Prepared) -> Domain:
    found = senders.sending_domain(tx, principal, prepared.author[1].domain)
    reverse_path = prepared.submission.reverse_path
    if reverse_path is not None and reverse_path.domain != found.name:
        senders.check_reverse_path(tx, principal, reverse_path.domain)
    return found


def _store(
    tx: Tx,
    organization: Organization,
    principal: Principal,
    prepared: Prepared,
    settings: Settings,
    suppressed: Mapping[str, Suppression],
) -> Entered:
    batch = _may_batch(organization, prepared)
    made = _message(principal, prepared, len(prepared.recipients) - len(suppressed), batch)
    bodies.add(tx, prepared.body, prepared.chunks(), prepared.now)
    messages.add(tx, made, _path(prepared))
    going = _add_deliveries(tx, made, prepared, settings, suppressed, batch)
    if going:
        _tell_accepted(tx, made, prepared)
    real = [each for each in going if made.test or simulator.scenario(each.recipient, settings.hostname) is None]
    _count(tx, principal, prepared, "queued", len(real))  # a simulator address says nothing of how real mail does
    _count(tx, principal, prepared, "suppressed", len(suppressed))
    if prepared.options.idempotency_key is not None:
        keys.add(
            tx,
            organization.id,
            principal.test,
            prepared.options.idempotency_key,
            prepared.fingerprint,
            made.id,
            prepared.now,
        )
    names = tuple(str(one.address) for one in prepared.recipients if one.address.key in suppressed)
    return Entered(Accepted(made.id, made.status, False, names), tuple(going))


def _may_batch(organization: Organization, prepared: Prepared) -> bool:
    """Its recipients may share a transaction: they get the same bytes, and the organization opted in."""
    tracked = prepared.options.track_opens or prepared.options.track_clicks
    return bool(organization.settings.get("batching")) and len(prepared.recipients) > 1 and not tracked


def _message(principal: Principal, prepared: Prepared, going: int, batch: bool) -> Message:
    chosen = prepared.options
    scheduled = chosen.scheduled_at is not None and chosen.scheduled_at > prepared.now
    return Message(
        id=prepared.message_id,
        organization_id=principal.organization_id,
        body_id=prepared.body.id,
        domain=prepared.author[1].domain,
        status=roll_up((DeliveryStatus.QUEUED if going else DeliveryStatus.SUPPRESSED,), scheduled=scheduled),
        test=principal.test,
        source=prepared.submission.source,
        stream=chosen.stream,
        from_address=prepared.author[1].key,
        sender=prepared.sender,
        to=prepared.to,
        cc=prepared.cc,
        bcc=prepared.bcc,
        reply_to=prepared.reply_to,
        subject=prepared.subject,
        header_message_id=prepared.header_message_id,
        size=prepared.size,
        tags=chosen.tags,
        metadata=chosen.metadata,
        options=_kept_options(chosen, batch),
        created_at=prepared.now,
        updated_at=prepared.now,
        scheduled_at=chosen.scheduled_at if scheduled else None,
        sent_at=None,
    )


def _kept_options(chosen: Options, batch: bool) -> dict[str, Any]:
    """What delivery and the presenters read back, and only where it was asked for."""
    kept = {
        "ret": chosen.ret,
        "envid": chosen.envid,
        "simulation": chosen.simulation,
        "template_id": chosen.template_id,
        "track_opens": chosen.track_opens,
        "track_clicks": chosen.track_clicks,
        "idempotency_key": chosen.idempotency_key,
        "batch": batch or None,
    }
    return {name: value for name, value in kept.items() if value is not None}


def _path(prepared: Prepared) -> str | None:
    path = prepared.submission.reverse_path
    return None if path is None else str(path)


def _add_deliveries(
    tx: Tx,
    made: Message,
    prepared: Prepared,
    settings: Settings,
    suppressed: Mapping[str, Suppression],
    batch: bool,
) -> list[Queued]:
    """Stores one delivery a recipient; returns those that go out."""
    going: list[Queued] = []
    for recipient in prepared.recipients:
        queued = _queued(made, recipient, prepared, settings, batch)
        found = suppressed.get(recipient.address.key)
        if found is None:
            deliveries.add(tx, queued, DeliveryStatus.QUEUED)
            going.append(queued)
            continue
        deliveries.add(tx, queued, DeliveryStatus.SUPPRESSED, found.reason)
        events.add(
            tx,
            made.organization_id,
            "message.suppressed",
            "message",
            made.id,
            test=made.test,
            message_id=made.id,
            recipient=str(recipient.address),
            data={"delivery_id": queued.delivery_id, "reason": found.reason},
            at=prepared.now,
        )
    return going


def _queued(made: Message, recipient: Recipient, prepared: Prepared, settings: Settings, batch: bool) -> Queued:
    chosen, now = prepared.options, prepared.now
    next_at = made.scheduled_at or now
    expires_at = next_at + settings.retry.lifetime_s * 1000
    return Queued(
        delivery_id=ids.new("dlv", now),
        message_id=made.id,
        organization_id=made.organization_id,
        recipient=recipient.address,
        lane=Lane.TRANSACTIONAL if chosen.lane is None else chosen.lane,
        attempts=0,
        next_at=next_at,
        expires_at=expires_at if chosen.expires_at is None else min(expires_at, chosen.expires_at),
        created_at=now,
        body_id=made.body_id,
        sender_domain=made.domain,
        reverse_path=_path(prepared),
        notify=recipient.notify,
        orcpt=recipient.orcpt,
        ret=chosen.ret,
        envid=chosen.envid,
        test=made.test,
        simulation=chosen.simulation,
        stream=made.stream,
        template_id=chosen.template_id or "",
        track_opens=chosen.track_opens is True,
        track_clicks=chosen.track_clicks is True,
        batch=batch,
        body=prepared.body,
    )


def _tell_accepted(tx: Tx, made: Message, prepared: Prepared) -> None:
    only = str(prepared.recipients[0].address) if len(prepared.recipients) == 1 else None
    events.add(
        tx,
        made.organization_id,
        "message.scheduled" if made.status is MessageStatus.SCHEDULED else "message.queued",
        "message",
        made.id,
        test=made.test,
        message_id=made.id,
        recipient=only,
        data={"recipients": len(prepared.recipients)},
        at=made.created_at,
    )


def _count(tx: Tx, principal: Principal, prepared: Prepared, name: str, recipients: int) -> None:
    """The counters that analytics and reputation read."""
    if recipients:
        events.count(
            tx,
            principal.organization_id,
            principal.test,
            name,
            prepared.now,
            domain=prepared.author[1].domain,
            template_id=prepared.options.template_id or "",
            value=recipients,
        )
