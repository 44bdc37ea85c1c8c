"""`posthouse classify`: one line a file, in order, with neither daemon nor config."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mta.cli.classify import classify_files

BOUNCE = (
    "From: mailer-daemon@mx.example\nReturn-Path: <>\nSubject: Undelivered mail\n\n"
    "<lost@example.net>: host mx said: 550 5.1.1 user unknown (in reply to RCPT TO command)\n"
)


def test_one_line_a_file_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(BOUNCE)
    (tmp_path / "b").write_text("From: ann@example.net\nSubject: hi\n\nhello\n")
    out = io.StringIO()
    classify_files([tmp_path / "b", tmp_path / "a"], out)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["kind"], first["recipients"]) == ("message", [])
    assert second["kind"] == "bounce"
    (recipient,) = second["recipients"]
    assert {key: recipient[key] for key in ("address", "status", "type", "class", "action")} == {
        "address": "lost@example.net",
        "status": "5.1.1",
        "type": "hard",
        "class": "unknown_user",
        "action": "failed",
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        classify_files([tmp_path / "none"], io.StringIO())


def test_it_runs_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(BOUNCE)
    command = [sys.executable, "-m", "mta.cli.classify", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["kind"] == "bounce"
