"""The durable transaction of a batch: every item is judged by itself, and all that became of them is stored, or nothing.

A client that was cut off before the answer finds no batch, or the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import Settings
from mta import ids
from mta.accept.broadcast import WayOut
from mta.accept.enter import Entered, enter
from mta.accept.prepare import Prepared
from mta.errors import PosthouseError, Unavailable
from mta.model import Batch, Principal
from mta.policy import suppression
from mta.store import batches, events
from mta.store.sqlite import Tx


def enter_batch(
    tx: Tx,
    principal: Principal,
    items: Sequence[Prepared | PosthouseError],
    settings: Settings,
    way_out: WayOut,
    now: int,
    scheduled_at: int | None,
    whole: bool,
) -> tuple[Batch, list[Entered]]:
    """Stores what can be accepted, and why the rest cannot. Raises only Unavailable and the like, or, where the batch
    is accepted as a `whole` only, the first refusal."""
    batch_id = ids.new("bat", now)
    entered: list[Entered] = []
    for index, item in enumerate(items):
        found = item if isinstance(item, PosthouseError) else _enter(tx, principal, item, settings, way_out)
        if whole and isinstance(found, PosthouseError):
            raise at_index(found, index)
        if isinstance(found, PosthouseError):
            batches.add_item(tx, batch_id, index, found)
        elif found.accepted is None and whole:
            raise at_index(suppression.refusal(found.refused), index)
        elif found.accepted is None:
            batches.add_item(tx, batch_id, index, suppression.refusal(found.refused))
        else:
            batches.add_item(tx, batch_id, index, found.accepted.message_id)
            entered.append(found)
    made = Batch(batch_id, principal.organization_id, principal.test, len(items), len(entered), scheduled_at, now, None)
    batches.add(tx, made)
    data = {"total": made.total, "accepted": made.accepted, "failed": made.total - made.accepted}
    for type in ("batch.created", "batch.completed"):
        events.add(tx, made.organization_id, type, "batch", made.id, test=made.test, data=data, at=now)
    return made, entered


def at_index(error: PosthouseError, index: int) -> PosthouseError:
    """The error, saying which item of a batch it is about."""
    error.message = f"[{index}] {error.message}"
    return error


def _enter(
    tx: Tx, principal: Principal, item: Prepared, settings: Settings, way_out: WayOut
) -> Entered | PosthouseError:
    """A refusal takes back only what its own item had written (its count against the limits)."""
    tx.run("SAVEPOINT item")
    try:
        found: Entered | PosthouseError = enter(tx, principal, item, settings, way_out)
    except Unavailable:
        raise
    except PosthouseError as error:
        tx.run("ROLLBACK TO item")
        found = error
    tx.run("RELEASE item")
    return found
