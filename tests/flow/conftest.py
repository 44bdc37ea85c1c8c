"""The event loops that a module's tests run on: `LOOPS = ("asyncio", "uvloop")` where transports behave differently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {name: _FACTORIES[name] for name in getattr(item.module, "LOOPS", ("asyncio",))}
