"""Reads the ordered bounce rules (bounce_rules.toml) into what protocol/verdict compares replies with."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from mta.errors import ConfigError
from mta.protocol.verdict import Rule, Rules

DEFAULT_PATH = Path(__file__).with_name("bounce_rules.toml")
_KEYS = {"name", "class", "codes", "enhanced", "commands", "text", "unless"}
_TYPES = {"hard", "soft", "unknown"}
_WORD = re.compile(r"\{([a-z_]+)\}")


@lru_cache(maxsize=4)
def load_rules(path: Path = DEFAULT_PATH) -> Rules:
    """The rules in the file's order; raises ConfigError, which names the rule that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The bounce rules in {path} cannot be read: {error}.") from error
    types = document.get("types", {})
    wrong = [name for name, kind in types.items() if kind not in _TYPES]
    if wrong:
        raise ConfigError(f"{path}: the type of {wrong[0]!r} in [types] is hard, soft or unknown.")
    words = document.get("words", {})
    names: set[str] = set()
    rules = []
    for table in document.get("rules", []):
        rule = _rule(table, words, path)
        if rule.reason not in types:
            raise ConfigError(f"{path}: rule {rule.name!r} has the class {rule.reason!r}, which [types] lacks.")
        if rule.name in names:
            raise ConfigError(f"{path}: two rules are called {rule.name!r}.")
        names.add(rule.name)
        rules.append(rule)
    return Rules(tuple(rules), types)


def _rule(table: dict[str, Any], words: dict[str, list[str]], path: Path) -> Rule:
    name = table.get("name")
    if not isinstance(name, str) or not isinstance(table.get("class"), str):
        raise ConfigError(f"{path}: every rule needs a name and a class; one has {table!r}.")
    unknown = sorted(table.keys() - _KEYS)
    if unknown:
        raise ConfigError(f"{path}: rule {name!r} has the unknown key {unknown[0]!r}.")
    try:
        return Rule(
            name,
            table["class"],
            _pattern([table["codes"]] if "codes" in table else [], {}),
            _pattern([table["enhanced"]] if "enhanced" in table else [], {}),
            _pattern(table.get("text", []), words),
            _pattern(table.get("unless", []), words),
            frozenset(table.get("commands", [])),
        )
    except KeyError as error:
        raise ConfigError(f"{path}: rule {name!r} uses {{{error.args[0]}}}, which [words] lacks.") from error
    except (re.error, TypeError) as error:
        raise ConfigError(f"{path}: rule {name!r} has a bad pattern: {error}.") from error


def _pattern(patterns: list[str], words: dict[str, list[str]]) -> re.Pattern[str] | None:
    """Any of the patterns; `{name}` in one stands for any of the words of that name."""
    spelled = [_WORD.sub(lambda found: f"(?:{'|'.join(words[found[1]])})", pattern) for pattern in patterns]
    return re.compile("|".join(f"(?:{pattern})" for pattern in spelled)) if spelled else None
