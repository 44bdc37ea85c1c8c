"""Files as answers: always a download, never shown by a browser, whatever their authors call them."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

OCTETS = "application/octet-stream"


def as_file(data: bytes, name: str, media_type: str = OCTETS) -> Response:
    return Response(
        data, headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(name, '')}"}, media_type=media_type
    )
