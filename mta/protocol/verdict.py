"""Ordered rules that say what a refusal means: is the address dead, and what was the reason?

Used for live SMTP replies (protocol/outcome) and for what bounces report (protocol/bounce). The rules are data,
config/bounce_rules.toml, read by config/rules and given here as an argument; the first rule that matches wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mta.protocol.reply import Reply

BounceType = Literal["hard", "soft", "unknown"]
MAX_TEXT = 4000  # characters that are compared with the rules

_SAME_AS = {"DOT": "DATA", "HELO": "EHLO", "STARTTLS": "EHLO"}  # the rules know four commands, and the BANNER
_CODE = re.compile(r"(?<![\d.#:=\[])([245]\d\d)(?=[ :-]|$)")
_ENHANCED = re.compile(r"(?<![\d.])([45]\.\d{1,2}\.\d{1,3})(?![.\d])")
_CODE_AND_ENHANCED = re.compile(r"(?<![\d.])[45]\d\d[- :]{1,3}['\"(#<]{0,2}([45]\.\d{1,2}\.\d{1,3})(?![.\d])")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`type` hard: the address itself is dead; soft: it may live; `reason` is the class of the rule called `rule`."""

    type: BounceType
    reason: str
    rule: str
    by_text: bool = False  # the words were recognized, not only a number


@dataclass(frozen=True, slots=True)
class Rule:
    """Every condition that is given must hold; `text` is searched in normalized text, without regard to case."""

    name: str
    reason: str
    codes: re.Pattern[str] | None = None
    enhanced: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    commands: frozenset[str] = frozenset()

    def matches(self, code: int | None, enhanced: str | None, text: str, command: str) -> bool:
        if self.commands and command not in self.commands:
            return False
        if self.codes and not self.codes.fullmatch(str(code or "")):
            return False
        if self.enhanced and not self.enhanced.fullmatch(enhanced or ""):
            return False
        if self.text and not self.text.search(text):
            return False
        return not (self.unless and self.unless.search(text))


@dataclass(frozen=True, slots=True)
class Rules:
    """`types` gives each class (reason) its type; a reply that no rule knows is `other`."""

    rules: tuple[Rule, ...]
    types: Mapping[str, BounceType] = field(default_factory=dict)

    def judge(self, code: int | None, enhanced: str | None, text: str, command: str = "") -> Verdict:
        """What a refusal means. `command` is what it answers: BANNER, EHLO, MAIL, RCPT, DATA, "" unknown."""
        text = normalize(text)
        for rule in self.rules:
            if rule.matches(code, enhanced, text, command):
                return Verdict(self.types.get(rule.reason, "unknown"), rule.reason, rule.name, rule.text is not None)
        return Verdict(self.types.get("other", "unknown"), "other", "")


def classify_reply(reply: Reply, rules: Rules) -> Verdict:
    """What a peer's negative reply says about the address."""
    command = _SAME_AS.get(reply.command, reply.command)
    return rules.judge(reply.code, reply.enhanced or find_enhanced(reply.text), str(reply), command)


def normalize(text: str) -> str:
    """One line in lower case, without the code that a peer repeats on each line of its reply."""
    text = " ".join(text[:MAX_TEXT].lower().split())
    found = _CODE.search(text)
    if found:
        again = re.compile(rf" {found[1]}[- ](?:[245]\.\d{{1,2}}\.\d{{1,3}} ?)?")
        text = text[: found.end()] + again.sub(" ", text[found.end() :])
    return text.replace("’", "'")


def find_code(text: str) -> int | None:
    """The first SMTP reply code in free text."""
    found = _CODE.search(text[:MAX_TEXT])
    return int(found[1]) if found else None


def find_enhanced(text: str) -> str | None:
    """The enhanced status code of free text (RFC 3463): the one that stands beside a reply code, else the first."""
    text = text[:MAX_TEXT]
    beside = [found[1] for found in _CODE_AND_ENHANCED.finditer(text)]
    precise = [code for code in beside if not code.endswith(".0.0")]
    if beside:
        return (precise or beside)[-1]
    found = _ENHANCED.search(text)
    return found[1] if found else None
