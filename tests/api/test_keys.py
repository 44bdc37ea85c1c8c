"""Keys: one list of scopes for every surface, and no key that may do more than the one that made it."""

from pathlib import Path

import pytest

from api.app import surfaces_of
from api.internal import Internal
from api.ops import Operations
from mta.control.keys import SCOPES
from mta.errors import Forbidden, InvalidInput
from mta.model import ADMIN, Principal
from tests.api.conftest import House

ROOT = Path(__file__).parents[2]


def test_every_scope_has_a_sentence_that_the_documentation_gives() -> None:
    page = (ROOT / "docs" / "organizations.md").read_text()
    for scope, sentence in SCOPES.items():
        assert sentence and f"| `{scope}` | {sentence} |\n" in page


async def test_every_route_asks_for_a_scope_that_a_key_can_have(house: House) -> None:
    surfaces = surfaces_of(Operations(house.control, lambda: True), Internal(house.settings), True)
    asked = {route.scope for surface in surfaces for _, route in surface.routes() if route.scope is not None}
    assert asked <= set(SCOPES)


async def test_a_key_gives_only_what_it_may_do_itself(house: House) -> None:
    giver = Principal(house.organization_id, "key_giver", frozenset({"keys:write", "emails:send"}))
    key, _ = await house.control.keys.create(giver, "narrow", ["emails:send"])
    assert (key.organization_id, key.scopes) == (house.organization_id, ("emails:send",))
    for scope in ("*", "emails:read", ADMIN):
        with pytest.raises(Forbidden) as refused:
            await house.control.keys.create(giver, "wide", ["emails:send", scope])
        assert (refused.value.code, refused.value.details) == ("scope_forbidden", {"scope": scope})
    with pytest.raises(Forbidden):  # an admin key does not make another
        await house.control.keys.create(
            Principal(house.organization_id, "key_a", frozenset({"*", ADMIN})), "a", [ADMIN]
        )
    with pytest.raises(InvalidInput, match="emails:fly"):
        await house.control.keys.create(giver, "typo", ["emails:fly"])


async def test_a_test_key_makes_no_live_one(house: House) -> None:
    giver = Principal(house.organization_id, "key_giver", test=True)
    with pytest.raises(Forbidden, match="live key"):
        await house.control.keys.create(giver, "live", test=False)
    assert (await house.control.keys.create(giver, "test"))[0].test
