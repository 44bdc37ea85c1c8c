"""/exports: asked for with the product's own client, written in the background, downloaded as lines."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stackshift import StackShift
from stackshift.client import StackShiftAPIError

from mta import ids
from mta.control.exports import KEPT_MS, MESSAGES_A_READ, OPEN_AT_ONCE, Exports
from mta.model import Principal
from mta.store import exports
from tests.api.conftest import House


def client_of(house: House, secret: str | None = None) -> StackShift:
    return StackShift(api_key=secret or house.secret, mail_base_url=house.url + "/v1")


async def send(house: House, *to: str, secret: str = "") -> str:
    body = {"from": "Ada <ada@example.com>", "to": list(to), "subject": "Hi", "text": "x", "tags": {"kind": "receipt"}}
    async with house.client(secret) as client:
        return str((await client.post("/v1/mail/send", json=body)).json()["data"]["id"])


async def download(house: House, id: str) -> list[dict[str, Any]]:
    path = client_of(house).mail.exports.download_path(id)
    async with house.client() as client:
        answer = await client.get(f"/v1{path}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_every_recipients_delivery_is_a_line(house: House) -> None:
    first = await send(house, "bob@example.org", "cy@example.org")
    await send(house, "test@example.org", secret=await house.key(test=True))
    second = await send(house, "dan@example.org")
    client = client_of(house).mail.exports
    made = await asyncio.to_thread(client.create)
    assert (made["status"], made["kind"], made["format"], made["downloadUrl"]) == (
        "pending",
        "recipient_delivery",
        "jsonl",
        None,
    )
    with pytest.raises(AssertionError):
        await download(house, made["id"])
    await house.control.exports.work()
    done = await asyncio.to_thread(lambda: client.get(made["id"]))
    assert (done["status"], done["lines"], done["error"]) == ("completed", 3, None)
    assert done["downloadUrl"] == client.download_path(made["id"])
    lines = await download(house, made["id"])
    assert sorted((line["messageId"], line["recipient"]) for line in lines) == [
        (first, "bob@example.org"),
        (first, "cy@example.org"),
        (second, "dan@example.org"),
    ]
    assert {line["status"] for line in lines} == {"queued"} and lines[0]["tags"] == {"kind": "receipt"}
    assert lines[0]["from"] == "Ada <ada@example.com>" and lines[0]["createdAt"].endswith("Z")
    assert [one["id"] for one in (await asyncio.to_thread(client.list))["data"]] == [made["id"]]


async def test_a_span_leaves_out_what_is_outside(house: House) -> None:
    await send(house, "bob@example.org")
    client = client_of(house).mail.exports
    now = datetime.now(UTC)
    past = await asyncio.to_thread(lambda: client.create(from_=now - timedelta(days=9), to=now - timedelta(days=2)))
    all_ = await asyncio.to_thread(lambda: client.create(from_=now - timedelta(days=9)))
    await house.control.exports.work()
    assert await download(house, past["id"]) == []
    assert len(await download(house, all_["id"])) == 1


async def test_more_than_one_read(house: House) -> None:
    await asyncio.gather(*(send(house, f"r{n}@example.org") for n in range(MESSAGES_A_READ + 5)))
    made = await house.control.exports.create(Principal(house.organization_id))
    await house.control.exports.work()
    lines = await download(house, made.id)
    assert len({line["deliveryId"] for line in lines}) == len(lines) == MESSAGES_A_READ + 5


async def test_what_a_restart_interrupted_begins_anew(house: House) -> None:
    await send(house, "bob@example.org")
    principal = Principal(house.organization_id)
    made = await house.control.exports.create(principal)
    path = house.settings.data_dir / "exports" / f"{made.id}.jsonl"
    path.parent.mkdir()
    path.write_text("half a line of the process bef")

    def interrupted(tx: Any) -> None:
        tx.run("UPDATE exports SET status = 'processing'")

    await house.database.write(interrupted)
    await Exports(house.database, house.settings).work()
    assert (await house.control.exports.get(principal, made.id)).status == "completed"
    assert len(await download(house, made.id)) == 1


async def test_a_file_that_cannot_be_written_is_a_failed_export(house: House) -> None:
    (house.settings.data_dir / "exports").write_text("not a directory")
    made = await house.control.exports.create(Principal(house.organization_id))
    await house.control.exports.work()
    found = await house.control.exports.get(Principal(house.organization_id), made.id)
    assert found.status == "failed" and "could not be written" in str(found.error)


async def test_it_goes_after_some_days(house: House) -> None:
    principal = Principal(house.organization_id)
    made = await house.control.exports.create(principal)
    await house.control.exports.work()
    await house.control.exports.purge(ids.now_ms() + KEPT_MS - 60_000)
    assert len(list((house.settings.data_dir / "exports").iterdir())) == 1
    await house.control.exports.purge(ids.now_ms() + KEPT_MS)
    assert list((house.settings.data_dir / "exports").iterdir()) == []
    assert await house.database.read(exports.by_id, made.id) is None


async def test_too_many_at_once_and_bad_spans_are_refused(house: House) -> None:
    principal = Principal(house.organization_id)
    for _ in range(OPEN_AT_ONCE):
        await house.control.exports.create(principal)

    def ask(**span: datetime) -> StackShiftAPIError:
        with pytest.raises(StackShiftAPIError) as caught:
            client_of(house).mail.exports.create(**span)
        return caught.value

    error = await asyncio.to_thread(ask)
    assert (error.status_code, error.code) == (429, "too_many_exports")
    now = datetime.now(UTC)
    error = await asyncio.to_thread(lambda: ask(from_=now, to=now - timedelta(days=1)))
    assert (error.status_code, error.details) == (400, {"field": "from"})
