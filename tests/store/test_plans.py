"""No list walks a large table: the plan of every statement that serves one uses an index."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from mta.lifecycle import settle
from mta.model import DeliveryStatus, Lane, MessageStatus, Search
from mta.store import (
    audit,
    batches,
    bounces,
    counters,
    deliveries,
    domains,
    engagements,
    events,
    exports,
    inbound,
    messages,
    milestones,
    notices,
    organizations,
    outbox,
    retention,
    search,
    sending,
    standings,
    streams,
    suppressions,
    webhooks,
)
from mta.store.database import Database
from mta.store.sqlite import Row, Tx

LARGE = re.compile(
    r"SCAN (messages|deliveries|events|attempts|bounces|bodies|batch\w+|streams|suppressions|inbound_\w+|webhook_\w+"
    r"|audit|api_keys|sending|otp_\w+|before|one|later|[mdebi])\b"
    r"(?!.*USING (COVERING )?INDEX)"
)

QUERIES: list[Callable[[Tx], Any]] = [
    lambda tx: retention.ended_bodies(tx, "", "x", 2),
    lambda tx: retention.old_events(tx, "o", False, "x", 2),
    lambda tx: retention.old_attempts(tx, "", "x", 2),
    lambda tx: retention.old_challenges(tx, "", "x", 2),
    lambda tx: retention.old_engagements(tx, "", "x", 2),
    lambda tx: engagements.visits(tx, 2),
    lambda tx: engagements.by_delivery(tx, "d"),
    lambda tx: engagements.by_message(tx, "m"),
    lambda tx: engagements.links(tx, "m", 2),
    lambda tx: messages.page(tx, "o", False, limit=2),
    lambda tx: messages.page(tx, "o", False, limit=2, before="x", status=MessageStatus.SENT),
    lambda tx: messages.page(tx, "o", False, limit=2, sender="a@b"),
    lambda tx: messages.page(tx, "o", False, limit=2, recipient="a@b"),
    lambda tx: messages.page(tx, "o", False, limit=2, recipient="a@b", sender="c@d", status=MessageStatus.SENT),
    lambda tx: search.matching(tx, "o", False, Search()),
    lambda tx: search.matching(tx, "o", False, Search(ascending=True, tag="t", start=1, end=2)),
    lambda tx: search.matching(tx, "o", False, Search(statuses=(MessageStatus.SENT, MessageStatus.FAILED))),
    lambda tx: search.matching(tx, "o", False, Search(sender="a@b", statuses=(MessageStatus.SENT,))),
    lambda tx: search.matching(tx, "o", False, Search(recipient="a@b", sender="c@d", subject="x")),
    lambda tx: search.matching(tx, "o", False, Search(happened="message.opened", not_happened=("message.clicked",))),
    lambda tx: search.matching(tx, "o", False, Search(by="delivery.delivered", recipient="a@b")),
    lambda tx: search.senders(tx, "o", False),
    lambda tx: messages.scheduled(tx, "o", False, 2),
    lambda tx: batches.page(tx, "o", False, 2),
    lambda tx: batches.items(tx, "b", 2),
    lambda tx: batches.message_ids(tx, "b"),
    lambda tx: streams.page(tx, "o", 2),
    lambda tx: events.page(tx, "o", False, limit=2),
    lambda tx: events.page(tx, "o", False, limit=2, type="message.sent"),
    lambda tx: events.page(tx, "o", False, limit=2, message_id="m"),
    lambda tx: events.page(tx, "o", False, limit=2, resource=("domain", "d")),
    lambda tx: events.newest(tx, 2),
    lambda tx: events.since(tx, "evt_", 2),
    lambda tx: events.types(tx, "evt_1", "evt_2"),
    lambda tx: events.by_message(tx, "m"),
    lambda tx: milestones.of(tx, "m"),
    lambda tx: bounces.by_message(tx, "m"),
    lambda tx: bounces.page(tx, "o", False, limit=2),
    lambda tx: bounces.page(tx, "o", False, limit=2, email="a@b"),
    lambda tx: bounces.page(tx, "o", False, limit=2, type="hard"),
    lambda tx: bounces.page(tx, "o", False, limit=2, message_id="m"),
    lambda tx: bounces.soft_days(tx, "o", False, "a@b", 1),
    lambda tx: suppressions.page(tx, "o", False, limit=2),
    lambda tx: suppressions.page(tx, "o", False, limit=2, reason="manual"),
    lambda tx: inbound.page(tx, "o", 2, "~", 10),
    lambda tx: inbound.domains(tx, "o", 2),
    lambda tx: notices.oldest(tx, 2),
    lambda tx: deliveries.last_delivered(tx, "o", False, "a@b", 1),
    lambda tx: deliveries.unnoticed(tx, "~", 2),
    lambda tx: tx.all(deliveries.MATES, message_id="m", domain="d"),
    lambda tx: messages.page(tx, "o", False, limit=2, sender="a@b", status=MessageStatus.SENT),
    lambda tx: deliveries.attempts(tx, "m"),
    lambda tx: deliveries.by_message(tx, "m"),
    lambda tx: deliveries.by_message(tx, "m", 20),
    lambda tx: deliveries.live(tx, DeliveryStatus.HELD, "", 2),
    lambda tx: deliveries.live_count(tx, DeliveryStatus.QUEUED),
    lambda tx: deliveries.statuses(tx, "m"),
    lambda tx: deliveries.due(tx, "example.org", Lane.OTP, 1, 2),
    lambda tx: deliveries.pending_domains(tx, "", 2),
    lambda tx: deliveries.next_due(tx, 1),
    lambda tx: deliveries.bring_back(tx, 1, 2),
    lambda tx: settle.recover(tx, 1),
    lambda tx: domains.has_mail(tx, "o", "example.org"),
    lambda tx: deliveries.expired(tx, 1, 2),
    lambda tx: counters.by_bucket(tx, "o", False, start_hour=1, end_hour=2, hours=24),
    lambda tx: counters.totals(tx, "o", False, 1, 2, domain="d"),
    lambda tx: counters.next_scope(tx, "o", False, "d"),
    lambda tx: exports.page(tx, "o", False, 2),
    lambda tx: exports.next_open(tx),
    lambda tx: exports.unfinished(tx, "o"),
    lambda tx: exports.expired(tx, 1, 2),
    lambda tx: exports.lines(tx, "o", False, "", "~", 2),
    lambda tx: standings.in_force(tx, "o", "d"),
    lambda tx: standings.listing(tx, "o", False, 2),
    lambda tx: webhooks.page(tx, "o", False, 2, "~"),
    lambda tx: audit.page(tx, "o", 2),
    lambda tx: audit.purge(tx, "aud_1", 2),
    lambda tx: organizations.page(tx, 2),
    lambda tx: organizations.keys_page(tx, "o", 2),
    lambda tx: organizations.key_by_name(tx, "o", "k", 1),
    lambda tx: sending.used(tx, "o", False, 1),
    lambda tx: outbox.enqueue(tx, "o", False, "e", "message.sent", ("message", "m"), 1),
    lambda tx: outbox.due(tx, "w", 1, 2),
    lambda tx: outbox.waiting(tx),
    lambda tx: outbox.pending(tx, "w", 2),
    lambda tx: outbox.by_id(tx, "d"),
    lambda tx: outbox.by_replay(tx, "r"),
    lambda tx: outbox.page(tx, "w", 2, "~"),
    lambda tx: outbox.page(tx, "w", 2, "~", outbox.PENDING),
    lambda tx: domains.count(tx, "o"),
    lambda tx: outbox.by_event(tx, "w", "e"),
    lambda tx: outbox.events_page(tx, "w", 2, "~"),
    lambda tx: outbox.attempts(tx, "d"),
    lambda tx: outbox.attempts_page(tx, "d", 2, "~"),
    lambda tx: outbox.last_attempts(tx, "w", 2),
    lambda tx: outbox.forget(tx, "w", 2),
    lambda tx: outbox.purge(tx, 1, 2),
]


class Planned(Tx):
    """Keeps the plan of every statement that runs."""

    def __init__(self, inner: Tx) -> None:
        self._inner = inner
        self.plans: list[tuple[str, str]] = []

    def _plan(self, sql: str, parameters: dict[str, Any]) -> None:
        for row in self._inner.all(f"EXPLAIN QUERY PLAN {sql}", **parameters):
            self.plans.append((str(row[3]), sql))

    def one(self, sql: str, **parameters: Any) -> Row | None:
        self._plan(sql, parameters)
        return self._inner.one(sql, **parameters)

    def all(self, sql: str, **parameters: Any) -> list[Row]:
        self._plan(sql, parameters)
        return self._inner.all(sql, **parameters)


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
async def test_it_is_served_by_an_index(database: Database, query: Callable[[Tx], Any]) -> None:
    def planned(tx: Tx) -> list[tuple[str, str]]:
        watching = Planned(tx)
        query(watching)
        return watching.plans

    plans = await database.write(planned)  # some of them change what they find
    assert plans
    for plan, sql in plans:
        assert not LARGE.search(plan), (plan, sql)
        bounded = sql == deliveries.BY_MESSAGE  # a message has a thousand recipients at most
        assert bounded or "TEMP B-TREE FOR ORDER BY" not in plan, (plan, sql)
