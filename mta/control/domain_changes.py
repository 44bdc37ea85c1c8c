"""What happens to sending domains, each in one transaction: made, found, judged by the DNS, changed, switched, deleted.

Behind `control.domains`, which looks things up and makes keys before it comes here. Whatever changes is told by an event
or noted in the audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from config.settings import Settings
from mta.control import rotation
from mta.control.domain_settings import SettingChanges, changed
from mta.control.inspect import merge, unsure
from mta.control.records import FAILED, MISSING, PENDING, VERIFIED, check_name, needed_checks
from mta.errors import Conflict, NotFound
from mta.model import DkimKey, Domain, Principal
from mta.policy import senders
from mta.protocol.address import AddressError, ascii_domain
from mta.store import audit, domains, events, organizations
from mta.store.sqlite import Tx

DISABLED: Final = "disabled"
FIRST_CHECK_MS: Final = (
    300_000  # who adds a domain publishes its records first; a "no such name" is remembered for long
)
PATH_CHECKS: Final = ("return_path", "spf")  # what was found at the name of the return path

Found = tuple[Domain, list[DkimKey]]


def refuse_taken(tx: Tx, organization_id: str, name: str) -> None:
    if found := domains.by_name(tx, organization_id, name):
        raise Conflict(
            f"{name} is a domain of this organization already ({found.id}).", code="domain_exists", field="domain"
        )


def add(tx: Tx, domain: Domain, keys: Sequence[DkimKey]) -> None:
    refuse_taken(tx, domain.organization_id, domain.name)
    domains.add(tx, domain)
    domains.check_at(tx, domain.id, domain.created_at + FIRST_CHECK_MS)
    for key in keys:
        domains.add_key(tx, key)
    _tell(tx, domain, "domain.created", domain.created_at)
    _note(tx, domain, "created", trusted=domain.trusted)
    if domain.status == VERIFIED:
        _tell(tx, domain, "domain.verified", domain.created_at)


def page(tx: Tx, organization_id: str, limit: int, before: str) -> list[Found]:
    return [(domain, domains.keys(tx, domain.id)) for domain in domains.page(tx, organization_id, limit, before)]


def everything(tx: Tx, after: str, limit: int) -> list[Found]:
    return [(domain, domains.keys(tx, domain.id)) for domain in domains.everything(tx, after, limit)]


def owned(tx: Tx, organization_id: str, id: str) -> Found:
    domain = domains.by_id(tx, id)
    if domain is None or domain.organization_id != organization_id:
        raise NotFound(f"There is no domain {id}.")
    return domain, domains.keys(tx, id)


def named(tx: Tx, organization_id: str, name: str) -> Found:
    try:
        domain = domains.by_name(tx, organization_id, ascii_domain(name))
    except AddressError:
        domain = None
    if domain is None:
        raise NotFound(f"There is no domain {name} in this organization.")
    return domain, domains.keys(tx, domain.id)


def keep_checks(
    tx: Tx, organization_id: str, seen: Domain, checks: Mapping[str, Any], settings: Settings, now: int, patient: bool
) -> Found:
    id = seen.id
    domain, keys = owned(tx, organization_id, id)
    if domain.settings.mail_from != seen.settings.mail_from:  # moved while we looked
        checks = {**checks, **{name: unsure() for name in PATH_CHECKS}}
    kept = merge(domain.checks, checks, now)
    rotation.switch(tx, keys, checks, now, demote=not domain.trusted)
    rotation.expire(tx, keys, settings, now)
    keys = domains.keys(tx, id)
    status = judge(domain, needed_checks(keys, settings), kept)
    if status == FAILED and domain.status == VERIFIED and patient and not _taken_over(tx, domain, kept):
        since = min(kept[each]["since"] for each in needed_checks(keys, settings) if _is_bad(kept.get(each)))
        if now - since < settings.domains.grace_s * 1000:
            status = VERIFIED
    verified_at = now if status == VERIFIED and domain.verified_at is None else domain.verified_at
    domains.update(
        tx, id, status=status, trusted=domain.trusted, checks=kept, verified_at=verified_at, last_checked_at=now
    )
    if status != domain.status:
        _tell_change(tx, domain, status, kept, needed_checks(keys, settings), now)
    return owned(tx, organization_id, id)


def _is_bad(found: Mapping[str, Any] | None) -> bool:
    return found is not None and found["status"] in (MISSING, FAILED)


def judge(domain: Domain, needed: Sequence[str], checks: Mapping[str, Any]) -> str:
    """The domain's status: only what the DNS says for sure changes it.

    One that was verified once and whose records are gone has failed; a new one waits for them.
    """
    if domain.status == DISABLED or domain.trusted:
        return domain.status
    states = {checks[name]["status"] if name in checks else PENDING for name in needed}
    if states == {VERIFIED}:
        return VERIFIED
    if not states & {MISSING, FAILED}:
        return domain.status
    return FAILED if FAILED in states or domain.verified_at else PENDING


def _taken_over(tx: Tx, domain: Domain, checks: Mapping[str, Any]) -> bool:
    """The proof is gone, and the DNS has proved the name to be another organization's."""
    return _is_bad(checks.get("ownership")) and domains.verified_elsewhere(tx, domain)


def rotate(tx: Tx, organization_id: str, id: str, made: Sequence[DkimKey], now: int, force: bool) -> Found:
    domain, keys = owned(tx, organization_id, id)
    rotation.add_next(tx, keys, made)
    keys = domains.keys(tx, id)
    active = [domain.checks.get(check_name(key.selector), {}) for key in keys if key.state == "active"]
    never_seen = all(each.get("status") != VERIFIED for each in active)
    if force or (domain.trusted and never_seen):
        rotation.switch(tx, keys, {}, now, force=True)
    _note(tx, domain, "rotated", force=force)
    return owned(tx, organization_id, id)


def change(tx: Tx, organization_id: str, id: str, changes: SettingChanges, now: int) -> Found:
    domain, _ = owned(tx, organization_id, id)
    settings = changed(domain, changes)
    domains.set_settings(tx, id, settings)
    if settings.mail_from != domain.settings.mail_from:  # nothing is known of the new name: the server's own until then
        known = {name: found for name, found in domain.checks.items() if name not in PATH_CHECKS}
        _set_status(tx, replace(domain, checks=known), domain.status, domain.verified_at)
        domains.check_at(tx, id, now)
    if settings != domain.settings:
        _tell(tx, domain, "domain.updated", now)
    _note(tx, domain, "changed", **changes)
    return owned(tx, organization_id, id)


def make_default(tx: Tx, organization_id: str, id: str) -> Found:
    domain, _ = owned(tx, organization_id, id)
    senders.sending_domain(tx, Principal(organization_id), domain.name)
    organization = organizations.by_id(tx, organization_id)
    assert organization is not None
    settings = {**organization.settings, senders.DEFAULT_DOMAIN: domain.name}
    organizations.update(tx, replace(organization, settings=settings))
    _note(tx, domain, "made_default")
    return owned(tx, organization_id, id)


def trust(tx: Tx, organization_id: str, id: str, now: int) -> Found:
    domain, keys = owned(tx, organization_id, id)
    _set_status(tx, domain, VERIFIED, domain.verified_at or now, trusted=True)
    if not any(key.state == "active" for key in keys):
        rotation.switch(tx, keys, {}, now, force=True)
    if domain.status != VERIFIED:
        _tell(tx, domain, "domain.verified", now)
    _note(tx, domain, "trusted")
    return owned(tx, organization_id, id)


def disable(tx: Tx, organization_id: str, id: str, now: int, reason: str) -> Found:
    domain, _ = owned(tx, organization_id, id)
    if domain.status != DISABLED:
        _set_status(tx, domain, DISABLED, domain.verified_at)
        _tell(tx, domain, "domain.failed", now, status=DISABLED, reason=reason)
        _note(tx, domain, "disabled")
    return owned(tx, organization_id, id)


def enable(tx: Tx, organization_id: str, id: str, settings: Settings, now: int) -> Found:
    domain, keys = owned(tx, organization_id, id)
    if domain.status != DISABLED:
        raise Conflict(f"{domain.name} is not disabled; it is {domain.status}.", code="domain_not_disabled")
    before = replace(domain, status=VERIFIED if domain.trusted else PENDING)
    status = judge(before, needed_checks(keys, settings), domain.checks)
    _set_status(tx, domain, status, domain.verified_at)
    domains.check_at(tx, id, now)
    _note(tx, domain, "enabled")
    if status == VERIFIED:
        _tell(tx, domain, "domain.verified", now)
    return owned(tx, organization_id, id)


def delete(tx: Tx, organization_id: str, id: str, now: int) -> Found:
    found = owned(tx, organization_id, id)
    domains.delete(tx, id, now)
    _tell(tx, found[0], "domain.deleted", now)
    _note(tx, found[0], "deleted")
    return found


def _set_status(tx: Tx, domain: Domain, status: str, verified_at: int | None, *, trusted: bool | None = None) -> None:
    domains.update(
        tx,
        domain.id,
        status=status,
        trusted=domain.trusted if trusted is None else trusted,
        checks=domain.checks,
        verified_at=verified_at,
        last_checked_at=domain.last_checked_at,
    )


def _tell_change(
    tx: Tx, domain: Domain, status: str, checks: Mapping[str, Any], needed: Sequence[str], now: int
) -> None:
    if status == VERIFIED:
        _tell(tx, domain, "domain.verified", now)
        domains.check_others(tx, domain)  # who had the name before may have it no longer
    elif status == FAILED:
        wrong = {name: checks[name]["said"] for name in needed if _is_bad(checks.get(name))}
        _tell(tx, domain, "domain.failed", now, status=FAILED, reason=" ".join(wrong.values()), checks=sorted(wrong))


def _note(tx: Tx, domain: Domain, what: str, **details: Any) -> None:
    audit.add(tx, domain.organization_id, f"domain.{what}", domain.id, domain=domain.name, **details)


def _tell(tx: Tx, domain: Domain, type: str, now: int, **data: Any) -> None:
    events.add(tx, domain.organization_id, type, "domain", domain.id, data={"domain": domain.name, **data}, at=now)
