"""What a webhook's body looks like, by the surface whose API made the webhook: one line a surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.mailstack import webhooks as mailstack
from api.resend import payloads as resend
from api.stackshift import webhooks as stackshift
from mta.control.webhook_call import Format

FORMATS: Final[Mapping[str, Format]] = {
    "stackshift": stackshift.body,
    "mailstack": mailstack.body,
    "resend": resend.body,
}
