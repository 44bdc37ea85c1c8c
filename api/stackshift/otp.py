"""/otp: one-time codes by mail. A code is in no answer: it is in the mail alone."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from api.addresses import One, key_of, mailbox
from api.compose import idempotency_header
from api.routing import Call, Routes
from api.shapes import Simulation
from api.stackshift.shapes import Listed, Paging, Shape
from api.times import moment, moment_or_none
from mta.control.otp_mail import Wanted
from mta.model import OtpChallenge

routes = Routes("one-time codes")


class OtpRequest(Shape):
    """Without `from`: no-reply@ the first verified domain."""

    to: One
    purpose: str
    from_: One | None = field(name="from", default=None)
    expires_in: Annotated[str, Meta(description='like "10m", "90s" or "1h"')] | None = None
    code_length: Annotated[int, Meta(ge=4, le=10)] = 6
    metadata: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    subject: str | None = None
    brand_name: str | None = None
    simulation: Simulation | None = None


class VerifyRequest(Shape):
    """`challengeId`, or `to` and `purpose`: then the newest code counts."""

    code: str
    challenge_id: str | None = None
    to: One | None = None
    purpose: str | None = None


class ChallengeQuery(Paging):
    to: str | None = None
    purpose: str | None = None
    status: str | None = None


class ChallengeShape(Shape):
    """`status` is created, sent, verified, failed, expired or canceled; `reason` says why it ended."""

    id: str
    to: str
    purpose: str
    status: str
    reason: str | None
    message_id: str
    code_length: int
    attempts: int
    attempts_remaining: int
    max_attempts: int
    metadata: dict[str, Any]
    test: bool
    expires_at: str
    created_at: str
    sent_at: str | None
    verified_at: str | None


class VerdictShape(Shape):
    verified: bool
    status: str
    challenge_id: str
    attempts_remaining: int


@routes.post("/otp/send", scope="otp:write", status=202)
async def send(call: Call, body: OtpRequest) -> ChallengeShape:
    """Mail a new code; older ones for that address and purpose are void."""
    wanted = Wanted(
        to=mailbox(body.to, "to")[1],
        purpose=body.purpose,
        author=None if body.from_ is None else mailbox(body.from_, "from"),
        expires_in=body.expires_in,
        code_length=body.code_length,
        metadata=body.metadata,
        idempotency_key=body.idempotency_key or idempotency_header(call),
        subject=body.subject,
        brand_name=body.brand_name,
        simulation=body.simulation.scenario if body.simulation else None,
    )
    return _challenge(await call.control.otp.send(call.principal, wanted))


@routes.post("/otp/verify", scope="otp:write")
async def verify(call: Call, body: VerifyRequest) -> VerdictShape:
    """Check a code; a wrong one counts, and what has ended is 409."""
    judged = await call.control.otp.verify(
        call.principal,
        body.code,
        challenge_id=body.challenge_id,
        to=None if body.to is None else mailbox(body.to, "to")[1],
        purpose=body.purpose,
    )
    challenge = judged.challenge
    return VerdictShape(
        verified=judged.verified,
        status=challenge.status.value,
        challenge_id=challenge.id,
        attempts_remaining=challenge.max_attempts - challenge.attempts,
    )


@routes.get("/otp/challenges", scope="otp:read")
async def list_(call: Call, query: ChallengeQuery) -> Listed[ChallengeShape]:
    """Challenges, newest first."""
    page = await call.control.otp.page(
        call.principal,
        limit=query.limit,
        cursor=query.cursor,
        to=key_of(query.to, "to") if query.to else None,
        purpose=query.purpose,
        status=query.status,
    )
    return Listed(data=[_challenge(each) for each in page.items], next_cursor=page.next_cursor)


@routes.get("/otp/challenges/{id}", scope="otp:read")
async def get(call: Call, id: str) -> ChallengeShape:
    """One challenge."""
    return _challenge(await call.control.otp.get(call.principal, id))


@routes.post("/otp/challenges/{id}/cancel", scope="otp:write")
async def cancel(call: Call, id: str) -> ChallengeShape:
    """Make a code void."""
    return _challenge(await call.control.otp.cancel(call.principal, id))


def _challenge(challenge: OtpChallenge) -> ChallengeShape:
    return ChallengeShape(
        id=challenge.id,
        to=challenge.email,
        purpose=challenge.purpose,
        status=challenge.status.value,
        reason=challenge.reason,
        message_id=challenge.message_id,
        code_length=challenge.code_length,
        attempts=challenge.attempts,
        attempts_remaining=challenge.max_attempts - challenge.attempts,
        max_attempts=challenge.max_attempts,
        metadata=dict(challenge.metadata),
        test=challenge.test,
        expires_at=moment(challenge.expires_at),
        created_at=moment(challenge.created_at),
        sent_at=moment_or_none(challenge.sent_at),
        verified_at=moment_or_none(challenge.verified_at),
    )
