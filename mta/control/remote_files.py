"""Files that an app attaches by their URL: fetched while its message is accepted, through the guarded client."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from mta.errors import InvalidInput
from mta.net.http import FetchError, HttpClient

AT_ONCE: Final = 20  # of all organizations, so that slow servers leave connections for webhooks
MAX_NAME: Final = 255  # characters
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """`filename` is the last part of its URL's path, `content_type` what its server says: None where there is none."""

    content: bytes
    filename: str | None
    content_type: str | None


class RemoteFiles:
    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._places = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, url: str, limit: int, field: str) -> RemoteFile:
        """At most `limit` bytes. Raises InvalidInput (`attachment_unavailable`), which names `field`."""
        try:
            async with self._places:
                found = await self._http.get(url, limit)
        except FetchError as error:
            raise InvalidInput(
                f"{field}: the file at {url[:200]} cannot be fetched. {error}",
                code="attachment_unavailable",
                field=field,
            ) from error
        kind = found.content_type.partition(";")[0].strip().lower()
        return RemoteFile(found.content, _name(url), kind if _TYPE.fullmatch(kind) else None)


def _name(url: str) -> str | None:
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return name if name.isprintable() and 0 < len(name) <= MAX_NAME else None
