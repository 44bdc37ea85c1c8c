"""schemathesis, with all its checks and phases, asks every operation of /openapi.json: what it says is what happens."""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from api.app import create_app, surfaces_of
from api.internal import Internal
from api.ops import Operations
from api.routing import Surface
from tests.api.conftest import House, serving
from tests.api.things import Things, field_of, things_of

# What a well-formed request may get nevertheless: a way to elsewhere, a value that no schema tells, no such thing, in the
# way of another.
REFUSALS = ["2xx", 302, 400, 401, 402, 403, 404, 409, 415, 422, 429]
# Where one check cannot hold: the values of a form are text, whatever they were meant to be; what is suppressed already
# is answered as if it were new, so that a second deletion of it finds nothing.
EXCEPT = {"/api/v1/assets/upload": "negative_data_rejection", "/v1/mail/suppressions": "ensure_resource_availability"}
EXAMPLES = 4  # an operation in the fuzzing phase; the coverage phase makes some 40 of its own


def config(surfaces: list[Surface], things: Things) -> str:
    """Ids in paths are those of the house, so that most operations find their thing."""
    lines = ["[checks]", f"positive_data_acceptance.expected-statuses = {json.dumps(REFUSALS)}"]
    for path, check in EXCEPT.items():
        lines += ["[[operations]]", f'include-path = "{path}"', f"checks.{check}.enabled = false"]
    for surface in surfaces:
        for path in {route.path for _, route in surface.routes() if route.parameters}:
            route = next(route for _, route in surface.routes() if route.path == path)
            own = {f"path.{name}": getattr(things, field_of(surface, route, name)) for name in route.parameters}
            pairs = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in own.items())
            lines += ["[[operations]]", f"include-path = {json.dumps(surface.mounts[0] + path)}"]
            lines += [f"parameters = {{ {pairs} }}"]
    return "\n".join(lines)


async def conforms(url: str, file: Path, *arguments: str) -> None:
    # In a process of its own: it keeps the interpreter busy, and the server is in this one.
    run = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(file), "run", f"{url}/openapi.json"]
    fixed = ["--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-shrink", "--no-color"]
    process = await asyncio.create_subprocess_exec(
        *run, *fixed, "--continue-on-failure", *arguments, stdout=PIPE, stderr=STDOUT, cwd=file.parent
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert re.search(r"\d{3,} generated", output), output


async def test_every_operation_does_as_it_says(house: House, tmp_path: Path) -> None:
    """Of two mounts of a surface, which are the same endpoints, one is asked."""
    surfaces = surfaces_of(Operations(house.control, lambda: True), Internal(house.settings), False)
    again = [f"^{re.escape(mount)}/" for surface in surfaces for mount in surface.mounts[1:]]
    file = tmp_path / "schemathesis.toml"
    file.write_text(config(surfaces, await things_of(house)))
    key = f"Authorization: Bearer {await house.key('*', 'admin')}"
    await conforms(house.url, file, "--header", key, "--exclude-path-regex", "|".join(again))


async def test_every_operation_of_the_operator_does_as_it_says(house: House, tmp_path: Path) -> None:
    file = tmp_path / "schemathesis.toml"
    file.write_text(config([], await things_of(house)))
    app = create_app(house.control, house.settings, operator=True)
    async with serving(app) as url:  # the events with `follow` have no end
        await conforms(url, file, "--include-path-regex", "^/operator/", "--exclude-path", "/operator/events")
