from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mta.store.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path / "posthouse.sqlite", floor_bytes=0)
    await made.start()
    yield made
    await made.close()
