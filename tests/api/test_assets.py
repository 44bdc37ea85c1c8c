"""Assets: uploaded once, attached by id, copied when a message is accepted."""

import hashlib
from typing import Any

import httpx
import pytest

from api.stackshift.assets import UPLOAD_BYTES
from tests.api.conftest import House

ASSETS = "/api/v1/assets"
BYTES = bytes(range(256)) * 3000  # three chunk rows


async def upload(client: httpx.AsyncClient, content: bytes = BYTES, name: str = "a b.bin", **fields: str) -> Any:
    answer = await client.post(f"{ASSETS}/upload", files={"file": (name, content, "image/png")}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def test_a_file_comes_back_as_it_went_in(house: House) -> None:
    async with house.client() as client:
        made = await upload(client, bucket="mail", key="k", folder="f", cache_control="no", metadata='{"a": [1]}')
        assert (made["filename"], made["contentType"], made["size"]) == ("a b.bin", "image/png", len(BYTES))
        assert made["sha256"] == hashlib.sha256(BYTES).hexdigest() and made["metadata"] == {"a": [1]}
        assert (made["bucket"], made["key"], made["folder"]) == ("mail", "k", "f")
        assert (await client.get(f"{ASSETS}/{made['id']}")).json()["data"] == made
        content = await client.get(f"{ASSETS}/{made['id']}/content")
        assert content.content == BYTES and content.headers["content-disposition"].startswith("attachment;")
        assert "a%20b.bin" in content.headers["content-disposition"]
        second = await upload(client, b"")
        page = (await client.get(ASSETS, params={"limit": 1})).json()["data"]
        assert [each["id"] for each in page["data"]] == [second["id"]]
        page = (await client.get(ASSETS, params={"limit": 1, "cursor": page["nextCursor"]})).json()["data"]
        assert [each["id"] for each in page["data"]] == [made["id"]] and page["nextCursor"] is None
        assert (await client.delete(f"{ASSETS}/{made['id']}")).status_code == 204
        assert (await client.get(f"{ASSETS}/{made['id']}")).status_code == 404


@pytest.mark.parametrize("name", ["assetId", "uploadId"])
async def test_an_attached_asset_outlives_its_deletion(house: House, name: str) -> None:
    async with house.client() as client:
        id = (await upload(client))["id"]
        mail = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
        sent = await client.post(
            "/v1/mail/send", json={**mail, "attachments": [{name: id, "filename": "own.bin"}, {name: id}]}
        )
        assert sent.status_code == 202, sent.text
        await client.delete(f"{ASSETS}/{id}")
        shown = (await client.get(f"/v1/mail/messages/{sent.json()['data']['id']}/content")).json()["data"]
        assert [(each["filename"], each["contentType"], each["size"]) for each in shown["attachments"]] == [
            ("own.bin", "image/png", len(BYTES)),
            ("a b.bin", "image/png", len(BYTES)),
        ]
        gone = await client.post("/v1/mail/send", json={**mail, "attachments": [{name: id}]})
        assert gone.status_code == 404 and gone.json()["error"]["code"] == "asset_not_found"
        for wrong in ({}, {"assetId": id, "content": "eA==", "filename": "x"}, {"content": "eA=="}):
            refused = await client.post("/v1/mail/send", json={**mail, "attachments": [wrong]})
            assert refused.status_code == 400 and refused.json()["error"]["details"]["field"] == "attachments[0]"


async def test_another_organizations_asset_cannot_be_attached(house: House) -> None:
    other = await house.control.organizations.create("other")
    async with house.client(await house.key(organization_id=other.id)) as foreign:
        id = (await upload(foreign))["id"]
    async with house.client() as client:
        mail = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
        refused = await client.post("/v1/mail/send", json={**mail, "attachments": [{"assetId": id}]})
        assert refused.status_code == 404 and house.offered == []


async def test_what_is_no_upload_is_refused(house: House) -> None:
    async with house.client() as client:
        answers = [
            (await client.post(f"{ASSETS}/upload", json={}), 415),
            (await client.post(f"{ASSETS}/upload", data={"file": "x"}, files={"other": b"x"}), 400),
            (await client.post(f"{ASSETS}/upload", files={"file": b"x"}, data={"metadata": "[1]"}), 400),
            (await client.post(f"{ASSETS}/upload", files={"file": ("x", b"x")}, data={"key": "a\r\nb"}), 400),
            (await client.post(f"{ASSETS}/upload", files=[("file", b"x"), ("file", b"y")]), 400),
            (await client.post(f"{ASSETS}/upload", files={"file": bytes(UPLOAD_BYTES)}), 413),
        ]
        media = {"content-type": "multipart/form-data"}
        answers.append((await client.post(f"{ASSETS}/upload", content=b"junk", headers=media), 400))
        media = {"content-type": "multipart/form-data; boundary=x"}
        answers.append((await client.post(f"{ASSETS}/upload", content=b"junk", headers=media), 400))
        for answer, status in answers:
            assert answer.status_code == status and answer.json()["error"]["message"], answer.text
        assert (await client.get(ASSETS)).json()["data"]["data"] == []
