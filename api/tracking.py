"""/t/o and /t/c: the pixel and the links in tracked mail, for whoever got it; under every host name that leads here.

A link leads where its token says, and nowhere else: the token is signed and holds the destination.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec
from starlette.responses import Response

from api.ops import PLAIN_ERROR, plain_error
from api.pages import Page, page
from api.routing import Call, Routes, Surface
from mta.control.tracking import Visitor
from mta.errors import NotFound
from mta.protocol.tracking import location

routes = Routes("tracking")

PIXEL: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # 1x1, transparent
_PREFETCH: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")


@routes.get("/o/{pixel}")
async def opened(call: Call, pixel: str) -> Response:
    """The pixel: a transparent image, whatever the token."""
    try:
        call.control.tracking.visit(pixel, _visitor(call), pixel=True)
    except NotFound:
        pass  # a mail shows no broken image
    return Response(PIXEL, media_type="image/gif")


@routes.get("/c/{link}", status=302)
async def clicked(call: Call, link: str) -> Page:
    """A link: 302 to where its author meant it to lead; a page, 404, for a token that is not ours."""
    try:
        url = call.control.tracking.visit(link, _visitor(call), pixel=False)
    except NotFound as error:
        return page("Unknown link", error.message, status=404)
    return Page("", 302, {"location": location(url), "x-robots-tag": "noindex"})


class HostQuery(msgspec.Struct):
    """`domain` is a host name, as Caddy asks before it gets a certificate for it."""

    domain: str


@routes.get("/host")
async def host(call: Call, query: HostQuery) -> None:
    """Whether tracked links lead to a host: 200, else 404."""
    if not await call.control.tracking.serves(query.domain):
        raise NotFound("Tracked links do not lead to that host.")


def _visitor(call: Call) -> Visitor:
    """Who asks with HEAD looks at nothing: that is a prefetch too."""
    request = call.request
    purposes = [request.headers.get(name, "").lower() for name in _PREFETCH]
    return Visitor(
        request.headers.get("user-agent", ""),
        request.client.host if request.client else "",
        request.method == "HEAD" or any("prefetch" in purpose or "preview" in purpose for purpose in purposes),
    )


SURFACE = Surface("", ("/t",), (routes,), plain_error, PLAIN_ERROR)
