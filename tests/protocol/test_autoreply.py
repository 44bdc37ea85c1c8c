"""Answers of machines, and robots that answer nobody."""

from __future__ import annotations

import pytest

from mta.protocol.autoreply import is_auto_reply
from mta.protocol.mime_parts import Part


@pytest.mark.parametrize(
    "field",
    [
        ("auto-submitted", "auto-replied"),
        ("auto-submitted", "Auto-Replied; owner-email=x"),
        ("x-autoreply", "yes"),
        ("x-autorespond", "1"),
        ("precedence", "auto_reply"),
        ("subject", "Automatic reply: hello"),
        ("subject", "Re: Auto-Reply: hello"),
        ("subject", "Out of the office until Monday"),
        ("subject", "Réponse automatique : bonjour"),
        ("subject", "自動返信: こんにちは"),
        ("subject", "=?utf-8?q?R=C3=A9ponse_automatique?="),
    ],
)
def test_answers(field: tuple[str, str]) -> None:
    assert is_auto_reply(Part([field]))


@pytest.mark.parametrize(
    "field",
    [
        ("auto-submitted", "no"),
        ("auto-submitted", "auto-generated"),
        ("x-autoreply", "no"),
        ("precedence", "bulk"),
        ("subject", "How to write an automatic reply"),
        ("subject", "Autonomous cars"),
        ("subject", "Re: leave on Friday"),
    ],
)
def test_no_answers(field: tuple[str, str]) -> None:
    assert not is_auto_reply(Part([field]))
