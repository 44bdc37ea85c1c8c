"""The signature headers of a webhook call: Standard Webhooks, Svix, StackShift and MailStack, from one secret.

The secret is `whsec_` and base64. Standard Webhooks and Svix take the decoded bytes as the key and sign
`id.timestamp.body` (standardwebhooks.com, "Symmetric"); StackShift takes the whole text and signs `timestamp.body`, and
so does MailStack, whose older readers know the signature of the body alone: `v0`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"


def secret_text(random: bytes) -> str:
    """The secret as its owner gets it, of 24 to 64 random bytes."""
    return PREFIX + base64.b64encode(random).decode()


def headers(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """`timestamp` is epoch seconds. Each of `secrets` signs; readers that look at one signature look at the first."""
    at = str(timestamp)
    standard = " ".join(f"v1,{_standard(secret, id, at, body)}" for secret in secrets)
    timed = ",".join(f"v1={_hex(secret, f'{at}.'.encode() + body)}" for secret in secrets)
    alone = ",".join(f"v0={_hex(secret, body)}" for secret in secrets)
    return {
        "webhook-id": id,
        "webhook-timestamp": at,
        "webhook-signature": standard,
        "svix-id": id,
        "svix-timestamp": at,
        "svix-signature": standard,
        "StackShift-Timestamp": at,
        "StackShift-Signature": f"t={at},{timed}",
        "X-MailStack-Signature": f"t={at},{timed},{alone}",
    }


def _standard(secret: str, id: str, at: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, f"{id}.{at}.".encode() + body, hashlib.sha256)).decode()


def _hex(secret: str, signed: bytes) -> str:
    return hmac.digest(secret.encode(), signed, hashlib.sha256).hex()
