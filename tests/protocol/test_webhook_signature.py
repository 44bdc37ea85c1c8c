"""The signature headers, judged by the readers that receivers use."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stackshift import verify_webhook_signature
from standardwebhooks import Webhook, WebhookVerificationError

from mta.protocol.webhook_signature import headers, secret_text

NEW, OLD, OTHER = (secret_text(bytes([n]) * 32) for n in range(3))


def standard(secret: str, body: bytes, sent: dict[str, str], family: str = "webhook") -> bool:
    names = ("id", "timestamp", "signature")
    try:
        Webhook(secret).verify(body, {f"webhook-{name}": sent[f"{family}-{name}"] for name in names})
    except WebhookVerificationError:
        return False
    return True


def stackshift(secret: str, body: bytes, sent: dict[str, str]) -> bool:
    return verify_webhook_signature(
        raw_body=body,
        signature_header=sent["StackShift-Signature"],
        timestamp_header=sent["StackShift-Timestamp"],
        secret=secret,
    )


def mailstack(secret: str, body: bytes, sent: dict[str, str], version: str = "v1") -> bool:
    """As MailStack's documentation has it: the time stands in the header, and any of its signatures will do."""
    parts = [part.partition("=")[::2] for part in sent["X-MailStack-Signature"].split(",")]
    signed = dict(parts)["t"].encode() + b"." + body if version == "v1" else body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(value, expected) for name, value in parts if name == version)


@given(st.binary(min_size=24, max_size=64), st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3))
def test_every_family_verifies(random: bytes, data: dict[str, str]) -> None:
    body = json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass") or b"{}"
    secret = secret_text(random)
    sent = headers([secret], "evt_1", int(time.time()), body)
    assert standard(secret, body, sent) and standard(secret, body, sent, "svix") and stackshift(secret, body, sent)
    assert mailstack(secret, body, sent) and mailstack(secret, body, sent, "v0")
    assert all(value.isascii() and value.isprintable() for value in sent.values())


def test_what_was_changed_does_not() -> None:
    now, body = int(time.time()), b'{"type":"mail.message.sent"}'
    sent = headers([NEW], "evt_1", now, body)
    assert not standard(OTHER, body, sent) and not stackshift(OTHER, body, sent)
    assert not standard(NEW, body + b" ", sent) and not stackshift(NEW, body + b" ", sent)
    assert not mailstack(OTHER, body, sent) and not mailstack(NEW, body + b" ", sent)
    assert not mailstack(NEW, body + b" ", sent, "v0")
    assert not standard(NEW, body, sent | {"webhook-id": "evt_2"})
    late = sent | {"webhook-timestamp": str(now + 1), "StackShift-Timestamp": str(now + 1)}
    assert not standard(NEW, body, late) and not stackshift(NEW, body, late)
    old = headers([NEW], "evt_1", now - 3600, body)
    assert not standard(NEW, body, old) and not stackshift(NEW, body, old)


def test_two_secrets_sign() -> None:
    """Readers that know several signatures take either secret; stackshift's looks at the first alone."""
    body = b"{}"
    now = int(time.time())
    for first, second in ((NEW, OLD), (OLD, NEW)):
        sent = headers([first, second], "evt_1", now, body)
        assert standard(first, body, sent) and standard(second, body, sent) and not standard(OTHER, body, sent)
        alone = [headers([each], "", now, body)["StackShift-Signature"].partition("v1=")[2] for each in (first, second)]
        assert sent["StackShift-Signature"] == f"t={now},v1={alone[0]},v1={alone[1]}"
        assert stackshift(first, body, sent) and not stackshift(second, body, sent)
        assert mailstack(first, body, sent) and mailstack(second, body, sent) and not mailstack(OTHER, body, sent)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_the_secret_is_what_the_standard_asks_for(size: int) -> None:
    assert secret_text(bytes(size)).startswith("whsec_")
    Webhook(secret_text(bytes(size)))
