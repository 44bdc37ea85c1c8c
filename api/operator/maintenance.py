"""`posthouse backup` and `doctor`: the daemon copies its own store, so that one process owns it at any time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.routing import Call, Routes
from mta.control.host_checks import Finding

routes = Routes("maintenance")


class BackupRequest(msgspec.Struct):
    """`path`: an absolute path of a directory, or of a file to make."""

    path: str | None = None
    keep: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class BackupMade(msgspec.Struct):
    """`size` in bytes; `removed`: older ones that made way for it."""

    path: str
    size: int
    removed: list[str]


class DoctorRequest(msgspec.Struct):
    """`network`: the DNS and other servers may be asked."""

    network: bool = True


class Found(msgspec.Struct):
    findings: list[Finding]


@routes.post("/doctor")
async def examine(call: Call, body: DoctorRequest) -> Found:
    """What keeps mail from arriving, and the way out."""
    return Found(await call.control.doctor.examine(network=body.network))


@routes.post("/backup", status=201)
async def back_up(call: Call, body: BackupRequest) -> BackupMade:
    """Copy the store to a file, checked and durable when this answers."""
    made = await call.control.maintenance.back_up(body.path, body.keep)
    return BackupMade(made.path, made.size, list(made.removed))
