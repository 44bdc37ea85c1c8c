"""A webhook receiver on loopback: keeps what comes, answers as told.

async with Receiver() as receiver:
    receiver.answers = [500, 200]     # in turn; the last one for good
    await receiver.wait(3)            # until three calls came
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Called:
    headers: Mapping[str, str]
    body: bytes
    answered: int

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    answers: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    text: str = "thanks"
    calls: list[Called] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)  # event types that get a 500
    port: int = 0

    def __post_init__(self) -> None:
        self._came = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if json.loads(body)["type"] in self.refuse:
            status = 500
        async with self._came:
            self.calls.append(Called(dict(request.headers), body, status))
            self._came.notify_all()
        return web.Response(status=status, text=self.text, headers=self.headers)

    async def wait(self, count: int, seconds: float = 20) -> list[Called]:
        async with self._came:
            await asyncio.wait_for(self._came.wait_for(lambda: len(self.calls) >= count), seconds)
        return self.calls

    @property
    def taken(self) -> list[dict[str, Any]]:
        return [call.event for call in self.calls if call.answered < 300]
