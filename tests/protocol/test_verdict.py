"""The ordered rules: replies as servers word them, the file's own checks, and time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.rules import DEFAULT_PATH, load_rules
from mta.errors import ConfigError
from mta.protocol.reply import Reply, from_lines
from mta.protocol.verdict import Rule, classify_reply, find_code, find_enhanced, normalize

RULES = load_rules()
REPLIES = [
    [field.strip() for field in (line.split("|", 1)[0], *line.split("|", 1)[1].rsplit("|", 1))]
    for line in Path(__file__).with_name("replies.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize(("command", "text", "reason"), REPLIES, ids=[row[1][:60] for row in REPLIES])
def test_replies_as_servers_word_them(command: str, text: str, reason: str) -> None:
    verdict = classify_reply(from_lines(int(text[:3]), [text[4:]], command), RULES)
    assert (verdict.reason, verdict.type) == (reason, RULES.types[reason])


def test_a_reply_of_several_lines_is_one_sentence() -> None:
    text = "550-5.1.1 The email account that you tried to\n550-5.1.1 reach does not\n550 5.1.1 exist."
    assert normalize(text) == "550-5.1.1 the email account that you tried to reach does not exist."


def test_the_same_words_after_data_do_not_condemn_the_address() -> None:
    assert classify_reply(Reply(550, "User unknown", None, "RCPT"), RULES).type == "hard"
    assert classify_reply(Reply(550, "User unknown", None, "DATA"), RULES).type == "soft"
    assert classify_reply(Reply(550, "User unknown", None, "DOT"), RULES).type == "soft"


def test_what_no_rule_knows() -> None:
    verdict = classify_reply(Reply(599, "xyzzy"), RULES)
    assert (verdict.reason, verdict.rule, verdict.by_text) == ("other", "", False)


@pytest.mark.parametrize(
    ("text", "code", "enhanced"),
    [
        ("550 5.1.1 no", 550, "5.1.1"),
        ("550-'5.7.1 no", 550, "5.7.1"),
        ("5.1.0 - error 550-'5.7.1 <a@b>... Access denied'", 550, "5.7.1"),
        ("554 5.0.0 deliver failed: 550 5.2.2 full", 554, "5.2.2"),
        ("sorry (#5.4.4)", None, "5.4.4"),
        ("host 192.0.2.550 at 10.5.1.1 said nothing", None, None),
        ("501: 5.1.8 no", 501, "5.1.8"),
        ("about release 2.0.12: user unknown", None, None),
    ],
)
def test_numbers_in_free_text(text: str, code: int | None, enhanced: str | None) -> None:
    assert (find_code(text), find_enhanced(text)) == (code, enhanced)


def seeds(rule: Rule) -> list[str]:
    """Words that a pattern looks for, so that each of its repetitions is set in motion."""
    patterns = " ".join(p.pattern for p in (rule.text, rule.unless) if p)
    words = list(dict.fromkeys(re.findall(r"[^\W\d_]{2,}", patterns)))
    return [f"{word} " for word in words] + ["a", " ", "550 ", "x@y.zz ", "user is ", f"{' '.join(words)} "]


@pytest.mark.parametrize("rule", RULES.rules, ids=[rule.name for rule in RULES.rules])
def test_no_pattern_is_slow_on_long_text(rule: Rule) -> None:
    for seed in seeds(rule):
        text = (seed * 4000)[:4000]
        started = time.process_time()
        rule.matches(550, "5.1.1", text, "RCPT")
        assert time.process_time() - started < 0.5, seed


@given(st.integers(0, 999), st.text(max_size=300), st.sampled_from(["", "MAIL", "RCPT", "DATA"]))
def test_no_reply_raises(code: int, text: str, command: str) -> None:
    verdict = classify_reply(Reply(code, text, None, command), RULES)
    assert verdict.type in ("hard", "soft", "unknown")


def test_every_class_has_a_rule_and_every_rule_a_class() -> None:
    assert {rule.reason for rule in RULES.rules} | {"other"} == set(RULES.types)


def test_words_stand_for_their_alternatives(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "types = {a = 'hard', other = 'soft'}\nwords = {who = ['nutzer', 'utente']}\n"
        "[[rules]]\nname = 'x'\nclass = 'a'\ntext = ['{who}.{0,9}none']"
    )
    rules = load_rules(path)
    assert [rules.judge(550, None, text).reason for text in ("Utente: none", "user none")] == ["a", "other"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("types = {a = 'hard'}\n[[rules]]\nname = 'x'\nclass = 'b'", "class 'b'"),
        ("types = {a = 'dead'}", "hard, soft or unknown"),
        ("types = {a = 'hard'}\n[[rules]]\nname = 'x'\nclass = 'a'\ntext = ['(']", "bad pattern"),
        ("types = {a = 'hard'}\n[[rules]]\nname = 'x'\nclass = 'a'\nwhen = 1", "unknown key 'when'"),
        ("types = {a = 'hard'}\n[[rules]]\nclass = 'a'", "needs a name"),
        ("types = {a = 'hard'}\n" + "[[rules]]\nname = 'x'\nclass = 'a'\n" * 2, "two rules"),
        ("types = ", "cannot be read"),
        ("types = {a = 'hard'}\n[[rules]]\nname = 'x'\nclass = 'a'\ntext = ['{nobody} here']", "uses {nobody}"),
    ],
)
def test_a_wrong_file_is_told_apart(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load_rules(path)


def test_the_file_is_where_the_wheel_has_it() -> None:
    assert DEFAULT_PATH.name == "bounce_rules.toml" and DEFAULT_PATH.exists()
