"""Webhooks as their organization sees them: endpoints, secrets, deliveries with their attempts, replay, diagnosis.

A webhook made with a test key gets the events of test keys, and only those; the sending itself is `control.dispatch`.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from config.settings import Webhooks as WebhookSettings
from mta import ids
from mta.control.dispatch import ACTIVE, DISABLED, tell
from mta.control.webhook_call import About, Caller
from mta.errors import Conflict, InvalidInput, NotFound
from mta.model import Event, Page, Principal, Webhook, WebhookAttempt, WebhookDelivery
from mta.net.http import Answer
from mta.policy import idempotency as keys
from mta.protocol.web_address import WebAddressError, parse_web_address
from mta.protocol.webhook_signature import PREFIX, secret_text
from mta.store import audit, events, idempotency, outbox, webhooks
from mta.store.database import Database
from mta.store.sqlite import Tx

MAX_WEBHOOKS: Final = 100  # of an organization
MAX_DESCRIPTION: Final = 500  # characters
MAX_REPLAY: Final = 100  # events at once
OVERLAP_MS: Final = 86_400_000  # a rotated secret is good for another day
DIAGNOSED: Final = 100  # attempts that a diagnosis looks at
COUNTED: Final = 10_000  # pending deliveries are counted up to here
BY_OWNER: Final = "Disabled by its owner."
SHOWN: Final = 4  # characters of a secret, its last, that a hint shows
TEST_TYPE: Final = "webhook.test"
STATUSES: Final = (outbox.PENDING, outbox.SUCCEEDED, outbox.FAILED)
# What went wrong with a call, and what its owner can do.
ADVICE: Final = {
    "address": "The URL leads to an address that is not public. Give the endpoint a public address.",
    "name": "The name of the host does not resolve. Check the URL, and the A and AAAA records of its host.",
    "connection": "Nothing takes the connection. Check that the server runs, and that its firewall lets us through.",
    "tls": "The certificate is not good for that name. Renew it, with its whole chain, from a public authority.",
    "timeout": "The endpoint is too slow. Answer 2xx as soon as the event is stored, and do the work afterwards.",
    "status": "The endpoint answers, but not with 2xx. Look at the response and at its own log.",
    "internal": "The trouble is on our side: ask the operator of this server to look at its log.",
    "event": "The event was deleted before it could be sent: it was older than the retention allows.",
}


@dataclass(frozen=True, slots=True)
class WithSecret:
    """A webhook with its secret in clear; `old_until` is when the one before it ends, if there is one."""

    webhook: Webhook
    secret: str
    old_until: int | None


@dataclass(frozen=True, slots=True)
class Cause:
    """How often, of the last attempts, a call failed for one cause."""

    cause: str
    count: int
    last: WebhookAttempt
    advice: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`attempts` were looked at; `causes` is empty where none of them failed."""

    webhook: Webhook
    attempts: int
    pending: int
    causes: tuple[Cause, ...]
    summary: str


class Webhooks:
    def __init__(self, database: Database, caller: Caller, settings: WebhookSettings) -> None:
        self._database = database
        self._caller = caller
        self._settings = settings

    async def create(
        self,
        principal: Principal,
        url: str,
        event_types: Sequence[str],
        matches: Sequence[str],
        *,
        description: str = "",
        format: str = "stackshift",
        enabled: bool = True,
    ) -> WithSecret:
        """`event_types` are the surface's names, `matches` ours ("*" is all of them). Raises InvalidInput, Conflict."""
        now, id, secret = ids.now_ms(), ids.new("whk"), secret_text(secrets.token_bytes(32))
        made = Webhook(
            id=id,
            organization_id=principal.organization_id,
            test=principal.test,
            url=self._checked(url),
            description=_description(description),
            status=ACTIVE if enabled else DISABLED,
            reason="" if enabled else BY_OWNER,
            format=format,
            event_types=_some(event_types),
            matches=tuple(matches),
            secret=self._caller.seal(id, secret),
            old_secret=None,
            old_secret_until=0,
            failures=0,
            failing_since=None,
            next_at=0,
            last_success_at=None,
            last_failure_at=None,
            created_at=now,
        )
        await self._database.write(_add, made, now)
        return WithSecret(made, secret, None)

    async def page(self, principal: Principal, limit: int = 50, cursor: str | None = None) -> Page[Webhook]:
        """Newest first."""
        found = await self._database.read(
            webhooks.page, principal.organization_id, principal.test, limit + 1, cursor or "~"
        )
        return Page.cut(found, limit)

    async def get(self, principal: Principal, id: str) -> Webhook:
        """Raises NotFound, as everything below."""
        return await self._database.read(owned, principal, id)

    async def update(
        self,
        principal: Principal,
        id: str,
        *,
        url: str | None = None,
        description: str | None = None,
        event_types: Sequence[str] | None = None,
        matches: Sequence[str] | None = None,
        status: str | None = None,
    ) -> Webhook:
        """None leaves as it is. Making it active forgets its failures. Raises InvalidInput."""
        if status not in (None, ACTIVE, DISABLED):
            raise InvalidInput(f"A webhook is {ACTIVE} or {DISABLED}.", field="status")

        def change(tx: Tx) -> Webhook:
            before, now = owned(tx, principal, id), ids.now_ms()
            after = replace(
                before,
                url=before.url if url is None else self._checked(url),
                description=before.description if description is None else _description(description),
                event_types=before.event_types if event_types is None else _some(event_types),
                matches=before.matches if matches is None else tuple(matches),
                status=status or before.status,
            )
            if status == ACTIVE:
                after = replace(after, reason="", failures=0, failing_since=None, next_at=0)
            elif status == DISABLED and before.status == ACTIVE:
                after = replace(after, reason=BY_OWNER)
                tell(tx, before, "webhook.disabled", now, url=before.url, reason=after.reason)
            webhooks.save(tx, after)
            if after != before:
                tell(tx, after, "webhook.updated", now, url=after.url, status=after.status)
                _note(tx, after, "changed", status=after.status)
            tx.announce(id)
            return after

        return await self._database.write(change)

    async def delete(self, principal: Principal, id: str) -> None:
        """With everything that was to be sent to it."""

        def remove(tx: Tx) -> None:
            webhook = owned(tx, principal, id)
            webhooks.delete(tx, id)
            tell(tx, webhook, "webhook.deleted", ids.now_ms(), url=webhook.url)
            _note(tx, webhook, "deleted")

        await self._database.write(remove)
        while await self._database.write(outbox.forget, id, 500):  # small jobs: others wait for the writer too
            pass

    async def rotate(self, principal: Principal, id: str) -> WithSecret:
        """A new secret; the one before it signs too for another day."""
        secret, now = secret_text(secrets.token_bytes(32)), ids.now_ms()

        def change(tx: Tx) -> Webhook:
            before = owned(tx, principal, id)
            after = replace(
                before,
                secret=self._caller.seal(id, secret),
                old_secret=before.secret,
                old_secret_until=now + OVERLAP_MS,
            )
            webhooks.save(tx, after)
            tell(tx, after, "webhook.updated", now, url=after.url, status=after.status, secret_rotated=True)
            _note(tx, after, "secret_rotated")
            return after

        return WithSecret(await self._database.write(change), secret, now + OVERLAP_MS)

    async def reveal(self, principal: Principal, id: str) -> WithSecret:
        """The secret that signs now."""
        webhook, now = await self._database.write(_reveal, principal, id), ids.now_ms()
        found = self._caller.secrets_of(webhook, now)
        return WithSecret(webhook, found[0], webhook.old_secret_until if len(found) > 1 else None)

    def hint(self, webhook: Webhook) -> str:
        """As much of the secret that signs now as tells it from others."""
        return f"{PREFIX}...{self._caller.secrets_of(webhook, ids.now_ms())[0][-SHOWN:]}"

    async def deliveries(
        self, principal: Principal, id: str, *, status: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[WebhookDelivery]:
        """Newest first. Raises InvalidInput for a status that there is not."""
        if status is not None and status not in STATUSES:
            raise InvalidInput(f"A delivery is {', '.join(STATUSES)}.", field="status")

        def read(tx: Tx) -> list[WebhookDelivery]:
            owned(tx, principal, id)
            return outbox.page(tx, id, limit + 1, cursor or "~", status)

        found = await self._database.read(read)
        return Page.cut(found, limit)

    async def delivery(self, principal: Principal, id: str) -> tuple[WebhookDelivery, list[WebhookAttempt]]:
        """With its attempts, oldest first."""
        return await self._database.read(lambda tx: (_owned_delivery(tx, principal, id)[0], outbox.attempts(tx, id)))

    async def retry(self, principal: Principal, id: str) -> tuple[WebhookDelivery, list[WebhookAttempt]]:
        """Sends it (again) now, whatever the endpoint's back-off says. Raises Conflict where the webhook is disabled."""

        def change(tx: Tx) -> None:
            found, webhook = _owned_delivery(tx, principal, id)
            now = ids.now_ms()
            _refuse_disabled(webhook)
            outbox.update(tx, id, outbox.PENDING, found.attempts, now, now)
            webhooks.save(tx, replace(webhook, next_at=0))
            tx.announce(webhook.id)

        await self._database.write(change)
        return await self.delivery(principal, id)

    async def replay(
        self, principal: Principal, id: str, event_ids: Sequence[str], key: str | None
    ) -> list[WebhookDelivery]:
        """Sends events again, whatever types the webhook asks for; the same key and events answer as the first time.

        Raises InvalidInput, NotFound for an event that is not there, Conflict.
        """
        if not 1 <= len(event_ids) <= MAX_REPLAY:
            raise InvalidInput(f"1 to {MAX_REPLAY} events can be replayed at once.", field="eventIds")
        if key is not None:
            keys.check_key(key, 256)
        fingerprint = sha256("\n".join(event_ids).encode("utf-8", "replace")).hexdigest()
        name = f"webhook-replay/{id}/{key}"

        def change(tx: Tx) -> list[WebhookDelivery]:
            webhook, now = owned(tx, principal, id), ids.now_ms()
            whose = principal.organization_id, principal.test
            after = now - OVERLAP_MS
            if key is not None and (earlier := keys.earlier(tx, *whose, name, fingerprint, after)):
                return outbox.by_replay(tx, earlier)
            _refuse_disabled(webhook)
            found = [_owned_event(tx, principal, event_id) for event_id in dict.fromkeys(event_ids)]
            replay = ids.new("rpl", now)
            for event in found:
                resource = f"{event.resource_type}/{event.resource_id}"
                outbox.add(tx, id, event.id, event.type, resource, now, replay)
            if key is not None:
                idempotency.add(tx, *whose, name, fingerprint, replay, now)
            return outbox.by_replay(tx, replay)

        return await self._database.write(change)

    async def diagnosis(self, principal: Principal, id: str) -> Diagnosis:
        """What the last attempts say."""

        def read(tx: Tx) -> tuple[Webhook, list[WebhookAttempt], int]:
            return owned(tx, principal, id), outbox.last_attempts(tx, id, DIAGNOSED), outbox.pending(tx, id, COUNTED)

        webhook, attempts, pending = await self._database.read(read)
        counted = Counter(each.cause for each in attempts if each.cause)
        causes = [
            Cause(cause, count, next(each for each in attempts if each.cause == cause), ADVICE.get(cause, ""))
            for cause, count in counted.most_common()
        ]
        return Diagnosis(webhook, len(attempts), pending, tuple(causes), _summary(webhook, attempts))

    async def try_out(self, principal: Principal, id: str) -> tuple[Answer, str]:
        """A signed call with an event of no meaning; how it ended, and what to do."""
        webhook = await self.get(principal, id)
        event = Event(
            id=ids.new("evt"),
            organization_id=webhook.organization_id,
            test=webhook.test,
            type=TEST_TYPE,
            resource_type="webhook",
            resource_id=webhook.id,
            message_id=None,
            recipient=None,
            data={},
            created_at=ids.now_ms(),
        )
        answer = await self._caller.call(webhook, event, About())
        return answer, "The endpoint took the call." if answer.cause is None else ADVICE[answer.cause]

    def _checked(self, url: str) -> str:
        try:
            return parse_web_address(url, allow_private=self._settings.allow_private).url
        except WebAddressError as error:
            raise InvalidInput(str(error), code="invalid_url", field="url") from error


def _add(tx: Tx, made: Webhook, now: int) -> None:
    if len(webhooks.page(tx, made.organization_id, made.test, MAX_WEBHOOKS, "~")) >= MAX_WEBHOOKS:
        raise Conflict(f"There are {MAX_WEBHOOKS} webhooks already; delete one first.", code="too_many_webhooks")
    tell(tx, made, "webhook.created", now, url=made.url)  # before it is there: its own making is no news to it
    webhooks.add(tx, made)
    _note(tx, made, "created")


def _reveal(tx: Tx, principal: Principal, id: str) -> Webhook:
    webhook = owned(tx, principal, id)
    _note(tx, webhook, "secret_revealed")
    return webhook


def _note(tx: Tx, webhook: Webhook, what: str, **details: str) -> None:
    """Of the URL only the host: the rest may hold a password."""
    host = urlsplit(webhook.url).hostname
    audit.add(tx, webhook.organization_id, f"webhook.{what}", webhook.id, host=host, test=webhook.test, **details)


def owned(tx: Tx, principal: Principal, id: str) -> Webhook:
    found = webhooks.by_id(tx, id)
    if found is None or not principal.sees(found):
        raise NotFound(f"There is no webhook {id}.")
    return found


def _owned_delivery(tx: Tx, principal: Principal, id: str) -> tuple[WebhookDelivery, Webhook]:
    found = outbox.by_id(tx, id)
    webhook = webhooks.by_id(tx, found.webhook_id) if found else None
    if found is None or webhook is None or not principal.sees(webhook):
        raise NotFound(f"There is no webhook delivery {id}.")
    return found, webhook


def _owned_event(tx: Tx, principal: Principal, id: str) -> Event:
    found = events.by_id(tx, id)
    if found is None or not principal.sees(found):
        raise NotFound(f"There is no event {id}.", field="eventIds")
    return found


def _refuse_disabled(webhook: Webhook) -> None:
    if webhook.status != ACTIVE:
        raise Conflict(
            f"Webhook {webhook.id} is disabled: {webhook.reason} Make it active first.", code="webhook_disabled"
        )


def _some(event_types: Sequence[str]) -> tuple[str, ...]:
    if not event_types:
        raise InvalidInput('Name at least one event type, or "*" for all.', field="eventTypes")
    return tuple(dict.fromkeys(event_types))


def _description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION:
        raise InvalidInput(f"A description has at most {MAX_DESCRIPTION} characters.", field="description")
    return text


def _summary(webhook: Webhook, attempts: Sequence[WebhookAttempt]) -> str:
    if webhook.status != ACTIVE:
        return f"Disabled: {webhook.reason} What is pending waits until it is made active again."
    if not attempts:
        return "Nothing was sent yet. POST to this path sends a signed test call."
    if webhook.failures:
        return f"The last {webhook.failures} calls failed. The endpoint is tried again by itself; nothing is lost."
    failed = sum(each.cause is not None for each in attempts)
    return f"It works. {failed} of the last {len(attempts)} calls failed." if failed else "It works."
