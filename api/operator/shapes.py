"""Pages of the operator's surface; what stands in them is mostly the model itself."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")
DEFAULT_ORG = "default"


class Paging(msgspec.Struct, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 100
    cursor: str | None = None


class Listed(msgspec.Struct, Generic[T]):
    data: list[T]
    next_cursor: str | None = None
