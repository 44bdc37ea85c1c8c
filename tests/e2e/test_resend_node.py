"""Resend's client for Node, unmodified, against the real daemon: it sends, reads, and takes our webhooks for Resend's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Start
from tests.e2e.test_webhooks import ALLOW
from tests.fakes.mx import ScriptedMx, loop_in_thread
from tests.fakes.receiver import Called, Receiver
from tests.peers import NPM, need_npm

SEND = """
import { Resend } from "resend";
const resend = new Resend(process.env.RESEND_API_KEY);
const said = {};
const ask = async (name, call) => (said[name] = await call).data;
const mail = { from: "Shop <orders@example.org>", to: "bob@example.net", subject: "Hello", html: "<p>Hi</p>" };
const hook = await ask("webhook", resend.webhooks.create({ endpoint: process.argv[2], events: ["email.delivered"] }));
const full = { ...mail, replyTo: "help@example.org", attachments: [{ filename: "a.txt", content: Buffer.from("17") }] };
const sent = await ask("sent", resend.emails.send(full, { idempotencyKey: "one" }));
await ask("again", resend.emails.send(full, { idempotencyKey: "one" }));
await ask("shown", resend.emails.get(sent.id));
await ask("refused", resend.emails.send({ ...mail, to: "nobody" }));
await ask("batch", resend.batch.send([mail, { ...mail, to: "nobody" }], { batchValidation: "permissive" }));
const later = await ask("later", resend.emails.send({ ...mail, scheduledAt: "in 1 hour" }));
await ask("cancelled", resend.emails.cancel(later.id));
await ask("domains", resend.domains.list());
const variables = [{ key: "NAME", type: "string", fallbackValue: "you" }];
const words = { name: "T", from: mail.from, subject: "Dear {{{NAME}}}", html: "<p>Hi</p>", variables };
const template = await ask("template", resend.templates.create(words));
await ask("published", resend.templates.publish(template.id));
await ask("filled", resend.emails.send({ to: mail.to, template: { id: template.id, variables: {} } }));
console.log(JSON.stringify(said));
"""
VERIFY = """
import { readFileSync } from "node:fs";
import { Resend } from "resend";
const { payload, headers, webhookSecret } = JSON.parse(readFileSync(0));
console.log(JSON.stringify(new Resend("re_x").webhooks.verify({ payload, headers, webhookSecret })));
"""


def run(home: Path, code: str, *arguments: str, given: Any = None, **environment: str) -> Any:
    script = home / "script.mjs"
    script.write_text(code)
    kept = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(
        ["node", str(script), *arguments], input=json.dumps(given), env=kept, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def verified(home: Path, call: Called, secret: str) -> Any:
    names = {"id": "svix-id", "timestamp": "svix-timestamp", "signature": "svix-signature"}
    headers = {name: call.headers[header] for name, header in names.items()}
    return run(home, VERIFY, given={"payload": call.body.decode(), "headers": headers, "webhookSecret": secret})


def test_it_sends_reads_and_verifies(make_daemon: Start, sink: ScriptedMx, tmp_path: Path) -> None:
    need_npm("resend")
    (tmp_path / "node_modules").symlink_to(NPM)
    daemon = make_daemon(sink.port, ALLOW)
    daemon.cli("domain", "add", "example.org", "--trust")
    daemon.start()
    key, url, receiver = daemon.key(), f"http://127.0.0.1:{daemon.http}/resend", Receiver()
    with loop_in_thread() as loop:
        loop(receiver.__aenter__())
        said = run(tmp_path, SEND, receiver.url, RESEND_API_KEY=key, RESEND_BASE_URL=url)
        sink.wait_messages(3)
        loop(receiver.wait(3))
        loop(receiver.__aexit__(None))
    failed = {name: answer["error"] for name, answer in said.items() if answer["error"]}
    assert list(failed) == ["refused"] and failed["refused"]["name"] == "validation_error", failed
    data = {name: answer["data"] for name, answer in said.items()}
    assert data["sent"] == data["again"] and data["shown"]["reply_to"] == ["help@example.org"]
    assert len(data["batch"]["data"]) == 1 and [one["index"] for one in data["batch"]["errors"]] == [1]
    assert data["cancelled"]["id"] == data["later"]["id"] and data["domains"]["data"][0]["name"] == "example.org"
    subjects = {one.content.partition(b"\r\nSubject: ")[2].partition(b"\r\n")[0] for one in sink.messages}
    assert subjects == {b"Hello", b"Dear you"} and len(sink.messages) == 3
    event = verified(tmp_path, receiver.calls[0], data["webhook"]["signing_secret"])
    ids = {data["sent"]["id"], data["filled"]["id"], data["batch"]["data"][0]["id"]}
    assert event["type"] == "email.delivered" and event["data"]["email_id"] in ids
