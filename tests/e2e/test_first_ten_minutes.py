"""What a newcomer does: start it for development, paste the send that it prints, read the message back."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import COMMAND, ROOT, free_port


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    http, smtp, inbound = free_port(), free_port(), free_port()
    listeners = json.dumps(
        [
            {"role": "submission", "address": f"127.0.0.1:{smtp}"},
            {"role": "inbound", "address": f"127.0.0.1:{inbound}"},
        ]
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "POSTHOUSE_API__ADDRESS": f"127.0.0.1:{http}",
        "POSTHOUSE_LISTENERS": listeners,
    }
    process = subprocess.Popen(
        [*COMMAND, "serve", "--dev"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "queue show" in line:
            break
    yield "".join(lines), tmp_path, environment
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()


def test_the_printed_send_works_and_its_message_is_readable(printed: tuple[str, Path, dict[str, str]]) -> None:
    text, home, environment = printed
    found = re.search(r"  (curl .*?)\n\n", text, re.DOTALL)
    assert found
    words = shlex.split(found[1])
    headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
    request = urllib.request.Request(words[1], words[words.index("-d") + 1].encode(), headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202
        id = json.load(answer)["data"]["id"]
    url = re.search(r"curl -H .* (http\S+)/ID/content", text)
    assert url
    read = urllib.request.Request(f"{url[1]}/{id}/content", headers={"Authorization": headers["Authorization"]})
    with urllib.request.urlopen(read) as answer:
        assert json.load(answer)["data"]["text"].strip() == "It works."
    shown = subprocess.run([*COMMAND, "queue", "show", id], cwd=home, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0 and "you@example.net" in shown.stdout
