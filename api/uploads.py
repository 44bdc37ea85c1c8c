"""Files that come as multipart/form-data, spooled while they arrive and bounded in size."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from api.errors import UnsupportedMedia
from mta.errors import InvalidInput, StorageFull, TooLarge

MAX_FIELDS: Final = 20
MAX_FIELD_BYTES: Final = 65_536
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        **{name: {"type": "string"} for name in ("bucket", "key", "folder", "visibility", "cache_control")},
        "metadata": {"type": "string", "description": "a JSON object"},
    },
}


@dataclass(frozen=True, slots=True)
class Upload:
    """The file of the part `file`, and the other parts as text. `content` ends with the request."""

    content: BinaryIO
    filename: str
    content_type: str
    fields: dict[str, str]


async def read_upload(request: Request, limit: int) -> Upload:
    """Raises UnsupportedMedia, InvalidInput, TooLarge (more than `limit` bytes in all) or StorageFull."""
    media = request.headers.get("content-type", "")
    if media.partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMedia("An upload has to be multipart/form-data, with the file in the part `file`.")
    parser = MultiPartParser(
        request.headers,
        _bounded(request, limit),
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        said = error.message if isinstance(error, MultiPartException) else "it has no boundary, or is cut short"
        raise InvalidInput(f"The multipart body cannot be read: {said}", code="invalid_multipart") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The disk that uploads are spooled to is full; nothing was kept.") from error
        raise
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidInput("The upload has no part `file` with a filename.", field="file")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    content_type = file.content_type or "application/octet-stream"
    return Upload(file.file, file.filename or "file", content_type, fields)


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"The upload is larger than {limit} bytes, which is the most that is taken here.")
        yield chunk
