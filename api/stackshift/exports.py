"""/exports: what became of every recipient's copy, as JSON lines to download."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from msgspec import field

from api.routing import Call, Lines, Routes
from api.stackshift.shapes import RECIPIENT_STATUS, Listed, Paging, Shape
from api.times import instant, moment, moment_or_none
from mta.model import DeliveryStatus, Export

routes = Routes("exports")


class ExportRequest(Shape):
    """Of messages made from `from` up to `to`; default: the last 30 days."""

    kind: Literal["recipient_delivery"] = "recipient_delivery"
    format: Literal["jsonl"] = "jsonl"
    from_: str | None = field(name="from", default=None)
    to: str | None = None


class ExportShape(Shape):
    """`status` is pending, processing, completed or failed (`error` says why); the file is kept until `expiresAt`."""

    id: str
    kind: str
    format: str
    status: str
    from_: str = field(name="from")
    to: str
    lines: int
    size: int
    error: str | None
    download_url: str | None
    created_at: str
    completed_at: str | None
    expires_at: str | None


@routes.post("/exports", scope="exports:write", status=202)
async def create(call: Call, body: ExportRequest) -> ExportShape:
    """Ask for an export; it is written in the background."""
    start = None if body.from_ is None else instant(body.from_, "from")
    end = None if body.to is None else instant(body.to, "to")
    return _export(await call.control.exports.create(call.principal, start, end))


@routes.get("/exports", scope="exports:read")
async def list_(call: Call, query: Paging) -> Listed[ExportShape]:
    """Exports, newest first."""
    page = await call.control.exports.page(call.principal, query.limit, query.cursor)
    return Listed(data=[_export(one) for one in page.items], next_cursor=page.next_cursor)


@routes.get("/exports/{id}", scope="exports:read")
async def get(call: Call, id: str) -> ExportShape:
    """How far an export is."""
    return _export(await call.control.exports.get(call.principal, id))


@routes.get("/exports/{id}/download", scope="exports:read")
async def download(call: Call, id: str) -> Lines:
    """A completed export, a JSON object a line."""
    return Lines(_presented(await call.control.exports.lines(call.principal, id)))


def _export(export: Export) -> ExportShape:
    completed = export.status == "completed"
    return ExportShape(
        id=export.id,
        kind=export.kind,
        format="jsonl",
        status=export.status,
        from_=moment(export.from_at),
        to=moment(export.to_at),
        lines=export.lines,
        size=export.size,
        error=export.error,
        download_url=f"/mail/exports/{export.id}/download" if completed else None,
        created_at=moment(export.created_at),
        completed_at=moment_or_none(export.completed_at),
        expires_at=moment_or_none(export.expires_at),
    )


async def _presented(lines: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        yield {
            "messageId": line["message_id"],
            "deliveryId": line["delivery_id"],
            "recipient": line["recipient"],
            "status": RECIPIENT_STATUS[DeliveryStatus(line["status"])],
            "attempts": line["attempts"],
            "code": line["code"],
            "enhancedCode": line["enhanced"],
            "reply": line["reply"],
            "reason": line["reason"],
            "host": line["host"],
            "from": line["from"],
            "domain": line["domain"],
            "subject": line["subject"],
            "stream": line["stream"],
            "templateId": line["template_id"],
            "tags": line["tags"],
            "metadata": line["metadata"],
            "createdAt": moment(line["created_at"]),
            "updatedAt": moment(line["updated_at"]),
        }
