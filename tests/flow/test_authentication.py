"""Keys against a real store: who they stand for, when they stop, and when they were used last."""

import asyncio

import pytest

from mta.errors import Unauthenticated
from mta.model import ApiKey
from mta.policy import authentication
from mta.policy.authentication import Authenticator
from mta.store import organizations
from tests.flow.house import NOON, House, house

__all__ = ["house"]  # the fixture


def clocked(house: House) -> Authenticator:
    return Authenticator(house.database, clock=lambda: house.now)


async def stored(house: House, id: str) -> ApiKey:
    found = await house.database.read(organizations.key_by_id, id)
    assert found is not None
    return found


async def revoke(house: House, id: str) -> None:
    await house.database.write(organizations.revoke_key, id, house.now)


async def code_of(authenticator: Authenticator, secret: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(secret)
    return caught.value.code


async def test_a_secret_stands_for_an_organization_with_its_scopes(house: House) -> None:
    id = await house.key("ph_secret", "emails:send", test=True)
    principal = await clocked(house).authenticate("ph_secret")
    assert (principal.organization_id, principal.key_id, principal.test) == (house.organization.id, id, True)
    assert principal.may("emails:send") and not principal.may("domains:write")


@pytest.mark.parametrize("secret", ["", "wrong", "ph_secre", "ph_secret ", "\udcff", "x" * 100_000])
async def test_an_unknown_secret_stands_for_nobody(house: House, secret: str) -> None:
    await house.key("ph_secret")
    assert await code_of(clocked(house), secret) == "unauthorized"


async def test_a_revoked_key_stops_at_once(house: House) -> None:
    id = await house.key("ph_secret")
    authenticator = clocked(house)
    principal = await authenticator.authenticate("ph_secret")
    assert authenticator.is_live(principal)
    await revoke(house, id)
    authenticator.revoked(id)
    assert not authenticator.is_live(principal)
    assert await code_of(authenticator, "ph_secret") == "key_revoked"
    with pytest.raises(Unauthenticated):
        await authenticator.confirm(principal)


async def test_a_key_that_another_process_revoked_stops_within_a_minute(house: House) -> None:
    id = await house.key("ph_secret")
    authenticator = clocked(house)
    principal = await authenticator.authenticate("ph_secret")
    await revoke(house, id)
    house.now += authentication.REMEMBERED_MS
    assert not authenticator.is_live(principal)
    assert await code_of(authenticator, "ph_secret") == "key_revoked"


async def test_what_was_read_before_a_revocation_is_not_remembered_after_it(house: House) -> None:
    id = await house.key("ph_secret")
    authenticator = clocked(house)
    reading = asyncio.create_task(authenticator.authenticate("ph_secret"))
    await asyncio.sleep(0)  # the read is under way, and has seen the key or not
    authenticator.revoked(id)
    principal = await reading
    assert not authenticator.is_live(principal)


async def test_a_key_expires_while_it_is_remembered(house: House) -> None:
    await house.key("ph_secret", expires_at=NOON + 10)
    authenticator = clocked(house)
    principal = await authenticator.authenticate("ph_secret")
    house.now += 10
    assert not authenticator.is_live(principal)
    assert await code_of(authenticator, "ph_secret") == "key_expired"


async def test_a_forgotten_key_is_confirmed_by_the_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "CAPACITY", 1)
    await house.key("ph_one")
    await house.key("ph_two")
    authenticator = clocked(house)
    one = await authenticator.authenticate("ph_one")
    two = await authenticator.authenticate("ph_two")
    assert authenticator.is_live(two) and not authenticator.is_live(one)
    await authenticator.confirm(one)


async def test_its_last_use_is_noted_once_a_minute(house: House) -> None:
    id = await house.key("ph_secret")
    authenticator = clocked(house)
    await authenticator.authenticate("ph_secret")
    house.now += 59_999
    principal = await authenticator.authenticate("ph_secret")
    await house.database.write(lambda tx: None)  # what was posted before is done
    assert (await stored(house, id)).last_used_at == NOON
    house.now += 1
    await authenticator.confirm(principal)
    await authenticator.authenticate("ph_secret")
    await house.database.write(lambda tx: None)
    assert (await stored(house, id)).last_used_at == NOON + 60_000
