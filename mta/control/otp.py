"""One-time codes: made, mailed, verified, ended. The code exists in the mail and nowhere else; here is a keyed hash.

Everything that guesses could exploit is counted in the store's writer, so that the bounds hold under parallel requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets as random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from config.settings import Settings
from mta import ids
from mta.accept.submission import Accepted
from mta.accept.submit import Accept
from mta.control import otp_mail
from mta.control.otp_mail import Wanted
from mta.errors import Conflict, InvalidInput, LimitReached, NotFound, PosthouseError, Unavailable
from mta.lifecycle import settle
from mta.lifecycle.otp import end, tell
from mta.lifecycle.states import PENDING
from mta.model import DeliveryStatus, OtpChallenge, OtpStatus, Page, Principal
from mta.policy import senders
from mta.protocol.address import Address
from mta.store import deliveries, otp
from mta.store.database import Database
from mta.store.secrets import Secrets
from mta.store.sqlite import Tx

log = structlog.get_logger("otp")

SWEEP_S: Final = 5.0
SWEEP_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    verified: bool
    challenge: OtpChallenge


class Otp:
    def __init__(
        self,
        database: Database,
        accept: Accept,
        secrets: Secrets,
        settings: Settings,
        *,
        clock: Callable[[], int] = ids.now_ms,
    ) -> None:
        self._database = database
        self._accept = accept
        self._key = secrets.derive("otp")
        self._settings = settings.otp
        self._clock = clock

    async def send(self, principal: Principal, wanted: Wanted) -> OtpChallenge:
        """Mails a new code; the older ones for that address and purpose are void from then on.

        Raises InvalidInput, LimitReached (too many codes for the address and purpose), or what accepting raises.
        """
        otp_mail.check(wanted)
        now = self._clock()
        lifetime_ms = self._settings.expires_s * 1000
        if wanted.expires_in is not None:
            lifetime_ms = otp_mail.lifetime_ms(wanted.expires_in, self._settings.max_expires_s)
        code = f"{random.randbelow(10**wanted.code_length):0{wanted.code_length}}"
        id = ids.new("otp", now)
        made = OtpChallenge(
            id=id,
            organization_id=principal.organization_id,
            test=principal.test,
            email=str(wanted.to),
            email_key=wanted.to.key,
            purpose=wanted.purpose,
            status=OtpStatus.CREATED,
            reason=None,
            hash=self._hash(id, code),
            code_length=wanted.code_length,
            attempts=0,
            max_attempts=self._settings.max_attempts,
            message_id="",
            metadata=wanted.metadata,
            created_at=now,
            expires_at=now + lifetime_ms,
        )
        author = wanted.author or (
            wanted.brand_name or "",
            await self._database.read(senders.default_sender, principal.organization_id),
        )
        submission = otp_mail.submission(wanted, author, code, made.expires_at, lifetime_ms)
        kept: list[OtpChallenge] = []
        await self._accept.submit(
            principal, submission, beside=lambda tx, taken: kept.append(self._add(tx, made, taken))
        )
        return kept[0]

    async def verify(
        self,
        principal: Principal,
        code: str,
        *,
        challenge_id: str | None = None,
        to: Address | None = None,
        purpose: str | None = None,
    ) -> Verdict:
        """Whether the code is right; a wrong one counts. By challenge, or the newest for an address and purpose.

        Raises NotFound, or Conflict where the challenge has ended: `otp_verified`, `otp_expired`, `otp_canceled`,
        `otp_failed`.
        """
        if challenge_id is None and (to is None or purpose is None):
            raise InvalidInput("Say which code it is: challengeId, or to and purpose.", field="challengeId")
        digits = "".join(code.split()).replace("-", "")

        def judge(tx: Tx) -> Verdict | PosthouseError:
            found = _find(tx, principal, challenge_id, to, purpose)
            return self._judge(tx, found, digits)

        judged = await self._database.write(judge)
        if isinstance(judged, PosthouseError):  # not raised in there: that would undo the expiry
            raise judged
        return judged

    async def get(self, principal: Principal, id: str) -> OtpChallenge:
        """Raises NotFound."""
        return await self._database.read(_owned, principal, id)

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        cursor: str | None = None,
        to: str | None = None,
        purpose: str | None = None,
        status: str | None = None,
    ) -> Page[OtpChallenge]:
        """Newest first; `to` is an address key."""
        if status is not None and status not in list(OtpStatus):
            raise InvalidInput(f'"{status[:40]}" is no status; there are {", ".join(OtpStatus)}.', field="status")

        def read(tx: Tx) -> list[OtpChallenge]:
            return otp.page(
                tx,
                principal.organization_id,
                principal.test,
                limit=limit + 1,
                before=cursor or otp.LAST,
                email_key=to,
                purpose=purpose,
                status=OtpStatus(status) if status else None,
            )

        found = await self._database.read(read)
        return Page.cut(found, limit)

    async def cancel(self, principal: Principal, id: str) -> OtpChallenge:
        """The code is void, its mail stopped if it still can be. Raises Conflict where it has ended otherwise."""
        now = self._clock()

        def cancel(tx: Tx) -> OtpChallenge:
            found = _owned(tx, principal, id)
            if found.status is OtpStatus.CANCELED:
                return found
            if not found.open or found.expires_at <= now:
                status = found.status if not found.open else OtpStatus.EXPIRED
                raise Conflict(f"Challenge {id} is {status}: there is nothing to cancel.", code=f"otp_{status}")
            return _cancel(tx, found, now, "canceled")

        return await self._database.write(cancel)

    async def sweep(self) -> int:
        """Ends what has expired; returns how many did."""

        def work(tx: Tx) -> int:
            now = self._clock()
            expired = otp.due(tx, now, SWEEP_ROWS)
            for challenge in expired:
                end(tx, challenge, OtpStatus.EXPIRED, now)
            return len(expired)

        total = 0
        while (done := await self._database.write(work)) == SWEEP_ROWS:
            total += done
        return total + done

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                log.error("expired codes could not be swept", error=error.message)
            await asyncio.sleep(SWEEP_S)

    def _add(self, tx: Tx, made: OtpChallenge, accepted: Accepted) -> OtpChallenge:
        """In the accept transaction: the challenge with its message, or the one that the same request made before."""
        if accepted.replayed:
            found = otp.by_message(tx, accepted.message_id)
            if found is None:
                raise Conflict("This idempotency key was used for a different request.", code="idempotency_conflict")
            return found
        self._check_sends(tx, made)
        made = replace(made, message_id=accepted.message_id)
        otp.add(tx, made)
        tell(tx, made, "otp.created", self._clock(), {"expires_at": made.expires_at})
        for older in otp.still_open(tx, made):
            _cancel(tx, older, made.created_at, "superseded")
        return made

    def _check_sends(self, tx: Tx, made: OtpChallenge) -> None:
        window_ms = self._settings.sends_window_s * 1000
        since = made.created_at - window_ms + 1
        times = otp.made_since(
            tx, made.organization_id, made.test, made.email_key, made.purpose, since, self._settings.sends
        )
        if len(times) >= self._settings.sends:
            wait_s = max(1, -(-(times[0] + window_ms - made.created_at) // 1000))
            raise LimitReached(
                f"{self._settings.sends} codes were sent to this address for {made.purpose} within "
                f"{self._settings.sends_window_s} s; try again in {wait_s} s.",
                code="otp_send_limit_reached",
                retry_after=wait_s,
                field="to",
            )

    def _judge(self, tx: Tx, found: OtpChallenge, digits: str) -> Verdict | PosthouseError:
        now = self._clock()
        if found.open and found.expires_at <= now:
            found = end(tx, found, OtpStatus.EXPIRED, now)
        if not found.open:
            return _ended(found)
        if hmac.compare_digest(self._hash(found.id, digits), found.hash):
            return Verdict(True, end(tx, replace(found, verified_at=now), OtpStatus.VERIFIED, now))
        found = replace(found, attempts=found.attempts + 1)
        otp.update(tx, found)
        remaining = found.max_attempts - found.attempts
        tell(tx, found, "otp.failed_attempt", now, {"attempts": found.attempts, "attempts_remaining": remaining})
        if not remaining:
            found = end(tx, found, OtpStatus.FAILED, now, reason="too many wrong codes")
        return Verdict(False, found)

    def _hash(self, id: str, code: str) -> bytes:
        return hmac.digest(self._key, f"{id}:{code}".encode("utf-8", "replace"), hashlib.sha256)


def _owned(tx: Tx, principal: Principal, id: str) -> OtpChallenge:
    found = otp.by_id(tx, id)
    if found is None or not principal.sees(found):
        raise NotFound(f"There is no challenge {id[:100]}.")
    return found


def _find(
    tx: Tx, principal: Principal, challenge_id: str | None, to: Address | None, purpose: str | None
) -> OtpChallenge:
    if challenge_id is not None:
        return _owned(tx, principal, challenge_id)
    assert to is not None and purpose is not None
    found = otp.newest(tx, principal.organization_id, principal.test, to.key, purpose)
    if found is None:
        raise NotFound("No code was sent to this address for this purpose.")
    return found


def _cancel(tx: Tx, found: OtpChallenge, now: int, reason: str) -> OtpChallenge:
    canceled = end(tx, found, OtpStatus.CANCELED, now, reason=reason)
    waiting = [each.id for each in deliveries.by_message(tx, found.message_id) if each.status in PENDING]
    settle.move(tx, waiting, DeliveryStatus.CANCELLED, now, f"the one-time code was {reason}")
    return canceled


_WAYS_OUT: Final[Mapping[OtpStatus, str]] = {
    OtpStatus.VERIFIED: "was used already",
    OtpStatus.EXPIRED: "has expired",
    OtpStatus.CANCELED: "was cancelled or replaced by a newer one",
    OtpStatus.FAILED: "has failed",
}


def _ended(found: OtpChallenge) -> Conflict:
    reason = f" ({found.reason})" if found.reason else ""
    return Conflict(
        f"This code {_WAYS_OUT[found.status]}{reason}. Send a new one.",
        code=f"otp_{found.status}",
        details={"challengeId": found.id, "status": found.status.value},
    )
