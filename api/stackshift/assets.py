"""/api/v1/assets: files that are uploaded once and attached by id (`assetId`)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from api.routing import Call, Routes, Surface
from api.stackshift import shapes
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment
from api.uploads import Upload
from mta.control.assets import File
from mta.errors import InvalidInput
from mta.model import Asset

routes = Routes("assets")

LABELS = ("bucket", "key", "folder", "visibility", "cache_control")
UPLOAD_BYTES = 27_000_000  # of a request: a file of the largest message's size, and the form around it


class AssetShape(Shape):
    """`revision` is 1: an asset does not change."""

    id: str
    filename: str
    content_type: str
    size: int
    sha256: str
    bucket: str
    key: str
    folder: str
    visibility: str
    cache_control: str
    metadata: dict[str, Any]
    revision: int
    created_at: str


@routes.post("/upload", scope="emails:send", status=201, limit=UPLOAD_BYTES)
async def upload(call: Call, body: Upload) -> AssetShape:
    """Upload a file (multipart/form-data, part `file`)."""
    file = File(
        body.content,
        body.filename,
        body.content_type,
        {name: body.fields[name] for name in LABELS if name in body.fields},
        _metadata(body.fields.get("metadata", "")),
    )
    return _asset(await call.control.assets.add(call.principal.organization_id, file))


@routes.get("", scope="emails:read")
async def list_(call: Call, query: Paging) -> Listed[AssetShape]:
    """Assets, newest first."""
    page = await call.control.assets.page(call.principal.organization_id, query.limit, query.cursor)
    return Listed(data=[_asset(each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/{id}", scope="emails:read")
async def get(call: Call, id: str) -> AssetShape:
    """What is known of one asset."""
    return _asset(await call.control.assets.get(call.principal.organization_id, id))


@routes.get("/{id}/content", scope="emails:read")
async def content(call: Call, id: str) -> Response:
    """The file itself, to download."""
    found = await call.control.assets.get(call.principal.organization_id, id)
    return StreamingResponse(
        call.control.assets.content(found),
        media_type="application/octet-stream",
        headers={
            "content-length": str(found.size),
            "content-disposition": f"attachment; filename*=utf-8''{quote(found.filename, safe='')}",
        },
    )


@routes.delete("/{id}", scope="emails:send")
async def delete(call: Call, id: str) -> None:
    """Delete an asset; mail that was accepted with it keeps its copy."""
    await call.control.assets.delete(call.principal.organization_id, id)


def _metadata(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidInput("metadata has to be a JSON object.", field="metadata") from error


def _asset(asset: Asset) -> AssetShape:
    return AssetShape(
        id=asset.id,
        filename=asset.filename,
        content_type=asset.content_type,
        size=asset.size,
        sha256=asset.sha256,
        bucket=asset.bucket,
        key=asset.key,
        folder=asset.folder,
        visibility=asset.visibility,
        cache_control=asset.cache_control,
        metadata=dict(asset.metadata),
        revision=1,
        created_at=moment(asset.created_at),
    )


SURFACE = Surface(
    name="StackShift Assets",
    mounts=("/api/v1/assets",),
    resources=(routes,),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
    wrap=shapes.envelope,
    wrap_schema=shapes.envelope_schema,
)
