"""MailStack. One file a resource; its `routes` stand in the list below."""

from api.mailstack import shapes
from api.routing import Surface

SURFACE = Surface(
    name="MailStack",
    mounts=("/v1",),
    resources=(),
    present_error=shapes.error,
    error_schema=shapes.ERROR,
)
