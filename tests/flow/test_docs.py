"""What the documentation names is there: commands, settings, files; and every command is documented."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer

from config import load
from config.settings import Section, Settings
from mta.cli import app

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("cli", "delivery", "durability", "operations", "security")),
    *sorted((ROOT / "docs" / "clients").glob("*.md")),
]
CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)


def commands() -> set[str]:
    """Every verb, as it is typed after `posthouse`."""
    found = {str(command.name) for command in app.registered_commands}
    for group in app.registered_groups:
        assert isinstance(group.typer_instance, typer.Typer)
        found |= {f"{group.name} {command.name}" for command in group.typer_instance.registered_commands}
    return found


def named(text: str) -> Iterator[str]:
    """What is written after `posthouse ` in code."""
    for code in CODE.findall(text):
        yield from re.findall(r"(?<![\w/.-])posthouse\s+([a-z][a-z-]*(?: [a-z][a-z-]*)?)(?=[\s`]|$)", code)


def is_setting(path: str) -> bool:
    kind: object = Settings
    for name in path.split("."):
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            return False
        kind = {field.name: field.type for field in msgspec.structs.fields(kind)}.get(name)
    return kind is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_settings_and_files_that_a_page_names_exist(page: Path) -> None:
    text, known = page.read_text(), commands()
    groups = {command.split()[0] for command in known if " " in command}
    for verb in named(text):
        first, _, second = verb.partition(" ")
        if first in ("posthouse-backup", "posthouse"):  # units and images of that name
            continue
        assert (f"{first} {second}" in known) if first in groups else first in known, f"posthouse {verb}"
    sections = [field.name for field in msgspec.structs.fields(Settings)]
    for path in re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_.]+)`", text):
        assert is_setting(path) or (ROOT / path).exists(), path
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        wrong: list[tuple[str, str]] = []
        load.build(Settings, tomllib.loads(block), "", wrong)
        assert not wrong
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / target).exists() or target.startswith("docs/benchmarks"), target
    for file in re.findall(r"`((?:tests|systemd|config|bench)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / file).exists(), file


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert {command for command in commands() if f"`posthouse {command}`" not in text} == set()


def test_the_installation_copies_every_unit() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert all(f"systemd/{unit.name}" in text for unit in (ROOT / "systemd").iterdir())
