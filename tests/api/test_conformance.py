"""Every operation, asked as /openapi.json says, answers as it says: status, type and shape, and never our failure."""

import asyncio
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from tests.api.conftest import House, serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
QUICK = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


async def test_every_operation_does_as_it_says(house: House) -> None:
    secret = await house.key("*", "admin")

    def ask_all(url: str) -> int:
        asked = 0
        for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
            operation = found.ok()
            if operation.path == "/operator/events":  # with `follow` it has no end
                continue
            asked += 1

            @QUICK
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                headers = {"Authorization": f"Bearer {secret}"}
                case.call_and_validate(base_url=url, headers=headers, checks=CHECKS)

            ask()
        return asked

    app = create_app(house.control, house.settings, operator=True)
    async with serving(app) as url:
        assert await asyncio.to_thread(ask_all, url) > 30
