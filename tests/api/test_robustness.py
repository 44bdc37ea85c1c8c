"""Whatever comes, the answer is JSON in the surface's shape and never our own failure."""

import asyncio
import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from tests.api.conftest import House

TEXT = st.text(max_size=40)
ADDRESS = st.one_of(
    st.sampled_from(
        ["bob@example.org", "Bob <bob@example.org>", "a@example.com, b@example.com", "<>", '"x" <', "ä@ö.de"]
    ),
    st.fixed_dictionaries({"email": st.one_of(st.just("bob@example.org"), TEXT)}, optional={"name": TEXT}),
    TEXT,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
HEADER = st.sampled_from(["X-A", "List-Unsubscribe", "Subject", "X\r\n", "Message-ID", "x-posthouse-stream", ""]) | TEXT
BODY = st.fixed_dictionaries(
    {"from": st.just("ada@example.com") | ADDRESS, "to": ADDRESS | st.lists(ADDRESS, max_size=3), "subject": TEXT},
    optional={
        "text": TEXT,
        "html": TEXT,
        "cc": ADDRESS,
        "bcc": st.lists(ADDRESS, max_size=2),
        "replyTo": ADDRESS,
        "headers": st.dictionaries(HEADER, TEXT, max_size=3),
        "tags": st.dictionaries(TEXT, TEXT, max_size=2),
        "metadata": st.dictionaries(TEXT, TEXT, max_size=2) | JSON,
        "stream": TEXT | st.just("broadcast"),
        "idempotencyKey": TEXT,
        "attachments": st.lists(
            st.fixed_dictionaries(
                {"filename": TEXT, "content": st.sampled_from(["", "aGk=", "%"])},
                optional={"contentType": TEXT | st.just("text/plain"), "contentId": TEXT},
            ),
            max_size=2,
        ),
        "tracking": JSON,
        "simulation": JSON,
    },
)
KINDS = {200, 202, 400, 403, 409, 413, 422}


async def test_any_send_is_accepted_or_refused_with_a_reason(house: House) -> None:
    app = create_app(house.control, house.settings)
    loop = asyncio.get_running_loop()
    accepted: list[str] = []

    async def post(body: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {house.secret}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            return await client.post("/v1/mail/send", content=json.dumps(body), headers=headers)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=BODY | JSON)
    def try_it(body: Any) -> None:
        answer = asyncio.run_coroutine_threadsafe(post(body), loop).result(30)
        shown = answer.json()
        assert answer.status_code in KINDS, shown
        if answer.status_code == 202:
            accepted.append(shown["data"]["id"])
        else:
            assert shown["success"] is False and shown["error"]["code"] != "internal_error", shown

    await asyncio.to_thread(try_it)
    principal = await house.control.authenticator.authenticate(house.secret)
    for id in accepted[:50]:  # what was accepted can be shown
        await house.control.messages.content(principal, id)
