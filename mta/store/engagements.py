"""Opens and clicks at rest: visits as they came, and what became of each recipient's copy."""

from __future__ import annotations

from dataclasses import astuple

from mta import ids
from mta.model import Engagement, FollowedLink
from mta.protocol.engagement import Visit
from mta.store.sqlite import Tx

_VISIT = "id, delivery_id, url, at, user_agent, address, prefetch"
ADD_VISIT = f"""
    INSERT INTO visits ({_VISIT}) VALUES (:id, :delivery_id, :url, :at, :user_agent, :address, :prefetch)"""
VISITS = f"SELECT {_VISIT} FROM visits ORDER BY id LIMIT :limit"
DELETE_VISIT = "DELETE FROM visits WHERE id = :id"

_COLUMNS = (
    "delivery_id, message_id, organization_id, delivered_at, opens, automated_opens, first_open_at, clicks, automated_clicks, "
    "first_click_at, last_at, last_click_at, last_url, events"
)
_SAVED = _COLUMNS.split(", ")
SAVE = f"""
    INSERT INTO engagements ({_COLUMNS}) VALUES ({", ".join(f":{name}" for name in _SAVED)})
    ON CONFLICT (delivery_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _SAVED[3:])}"""
BY_DELIVERY = f"SELECT {_COLUMNS} FROM engagements WHERE delivery_id = :id"
BY_MESSAGE = f"SELECT {_COLUMNS} FROM engagements WHERE message_id = :message_id ORDER BY delivery_id"
FOLLOW = """
    INSERT INTO followed_links (delivery_id, url, message_id, clicks, automated_clicks, first_at)
    VALUES (:delivery_id, :url, :message_id, :clicks, :automated, :at)
    ON CONFLICT (delivery_id, url) DO UPDATE SET
        clicks = followed_links.clicks + excluded.clicks,
        automated_clicks = followed_links.automated_clicks + excluded.automated_clicks"""
LINKS = """
    SELECT url, sum(clicks), sum(clicks > 0), sum(automated_clicks), min(first_at) FROM followed_links
    WHERE message_id = :message_id GROUP BY url ORDER BY url LIMIT :limit"""


def add_visit(tx: Tx, made: Visit) -> None:
    tx.run(
        ADD_VISIT,
        id=ids.new("vis", made.at),
        delivery_id=made.delivery_id,
        url=made.url,
        at=made.at,
        user_agent=made.user_agent,
        address=made.address,
        prefetch=int(made.prefetch),
    )


def visits(tx: Tx, limit: int) -> list[tuple[str, Visit]]:
    """What waits to be judged, oldest first, each with its id."""
    return [
        (row[0], Visit(row[1], row[2], row[3], row[4], row[5], bool(row[6]))) for row in tx.all(VISITS, limit=limit)
    ]


def delete_visit(tx: Tx, id: str) -> None:
    tx.run(DELETE_VISIT, id=id)


def by_delivery(tx: Tx, id: str) -> Engagement | None:
    row = tx.one(BY_DELIVERY, id=id)
    return Engagement(*row) if row else None


def save(tx: Tx, changed: Engagement) -> None:
    tx.run(SAVE, **dict(zip(_SAVED, astuple(changed), strict=True)))


def follow(tx: Tx, made: Engagement, url: str, at: int, *, automated: bool) -> None:
    """One more click on a link."""
    tx.run(
        FOLLOW,
        delivery_id=made.delivery_id,
        url=url,
        message_id=made.message_id,
        clicks=int(not automated),
        automated=int(automated),
        at=at,
    )


def by_message(tx: Tx, message_id: str) -> list[Engagement]:
    """Of the recipients that did anything."""
    return [Engagement(*row) for row in tx.all(BY_MESSAGE, message_id=message_id)]


def links(tx: Tx, message_id: str, limit: int) -> list[FollowedLink]:
    """Those of a message's links that were followed."""
    return [FollowedLink(*row) for row in tx.all(LINKS, message_id=message_id, limit=limit)]
