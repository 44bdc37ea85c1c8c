"""Resend. One file a resource; its `routes` stand in the list below."""

from api.resend import shapes
from api.routing import Surface

SURFACE = Surface(
    name="Resend",
    mounts=("/resend",),
    resources=(),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
)
