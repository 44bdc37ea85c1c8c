"""Resend. One file a resource; its `routes` stand in the list below."""

from api.resend import domains, shapes
from api.routing import Surface

SURFACE = Surface(
    name="Resend",
    mounts=("/resend",),
    resources=(domains.routes,),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
)
