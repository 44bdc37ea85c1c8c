"""The operator's surface, for the command line: only on the unix socket, whose permissions are its only lock.

What it answers stands at the head of `mta.cli.client`.
"""

from api.operator import events, maintenance, provisioning, queue, send, submit, suppressions
from api.ops import PLAIN_ERROR, plain_error
from api.routing import Surface
from mta.control.audit import OPERATOR

SURFACE = Surface(
    name="operator",
    mounts=("/operator",),
    resources=(
        provisioning.routes,
        queue.routes,
        send.routes,
        events.routes,
        suppressions.routes,
        submit.routes,
        maintenance.routes,
    ),
    present_error=plain_error,
    error_schema=PLAIN_ERROR,
    actor=OPERATOR,
)
