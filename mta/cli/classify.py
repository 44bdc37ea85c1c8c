"""`posthouse classify FILE...`: what each raw message is, one JSON object a line; needs neither daemon nor config."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from config.rules import load_rules
from mta.protocol.bounce import Reading, read_message


def classify_files(paths: Iterable[Path], out: TextIO) -> None:
    """Writes one line a file, in order; raises OSError for a file that cannot be read."""
    rules = load_rules()
    for path in paths:
        out.write(json.dumps(present(read_message(path.read_bytes(), rules)), ensure_ascii=False) + "\n")


def present(reading: Reading) -> dict[str, Any]:
    """A reading as the JSON object that this command and the API print."""
    shown: dict[str, Any] = {
        "kind": reading.kind,
        "recipients": [
            {
                "address": r.address,
                "status": r.status,
                "type": r.type,
                "class": r.reason,
                "action": r.action,
                "diagnostic": r.diagnostic,
                "rule": r.rule,
            }
            for r in reading.recipients
        ],
        "message_id": reading.message_id or None,
        "envelope_id": reading.envelope_id or None,
    }
    if reading.complaint:
        shown["feedback_type"] = reading.complaint.feedback_type
    return shown


if __name__ == "__main__":
    classify_files([Path(name) for name in sys.argv[1:]], sys.stdout)
