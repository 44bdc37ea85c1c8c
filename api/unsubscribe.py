"""/t/unsubscribe: the link in List-Unsubscribe. GET asks, POST leaves, also in one click from a mailbox (RFC 8058)."""

from __future__ import annotations

from api.ops import PLAIN_ERROR, plain_error
from api.pages import Page, page
from api.routing import Call, Routes, Surface
from mta.errors import NotFound

routes = Routes("unsubscribe")


@routes.get("/unsubscribe/{token}")
async def ask(call: Call, token: str) -> Page:
    """A page that asks whether to leave the stream; nothing changes yet."""
    try:
        leaving = await call.control.unsubscribes.look(token)
    except NotFound as error:
        return _unknown(error)
    sender = f" from {leaving.sender}" if leaving.sender else ""
    return page("Unsubscribe", f"Stop “{leaving.stream}” mail{sender} to {leaving.email}?", button="Unsubscribe")


@routes.post("/unsubscribe/{token}")
async def leave(call: Call, token: str) -> Page:
    """Leave the stream: no more of its mail goes to this address. Other mail, as receipts and codes, still does.

    The body `List-Unsubscribe=One-Click` of RFC 8058 may be there or not.
    """
    try:
        left = await call.control.unsubscribes.leave(token)
    except NotFound as error:
        return _unknown(error)
    return page("Unsubscribed", f"{left.email} gets no more of this mail.")


def _unknown(error: NotFound) -> Page:
    return page("Unknown link", error.message, status=404)


SURFACE = Surface("", ("/t",), (routes,), plain_error, PLAIN_ERROR)
