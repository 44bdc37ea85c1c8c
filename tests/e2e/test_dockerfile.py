"""The Dockerfile's own steps in plain folders: what it copies and runs is read from it, not repeated here.

Absolute paths of the image are moved below a directory of the test. Left out is what only an image has: the users, and
the download of the pinned packages, which this environment has already.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.daemon import ROOT, free_port

Step = tuple[str, str]  # instruction, argument


def steps() -> Iterator[Step]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        instruction, _, argument = line.partition(" ")
        yield instruction, argument.strip()


@dataclass
class Image:
    """What the last stage comes to: `root` is its file system."""

    root: Path
    directory: Path = Path("/")
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    user: str = "root"

    def below(self, path: str) -> Path:
        """A path of the image, in the test's directory."""
        return self.root / (self.directory / path).relative_to("/")

    def moved(self, text: str) -> str:
        """A text with the image's directories named where they are."""
        return re.sub(r"/(opt/posthouse|data|src)\b", lambda found: f"{self.root}/{found[1]}", text)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Both stages share one root: the second copies only what the first made in place."""
    made = Image(tmp_path_factory.mktemp("image"))
    for instruction, argument in steps():
        _do(made, instruction, argument)
    return made


def _do(image: Image, instruction: str, argument: str) -> None:
    if instruction == "FROM":
        image.environment, image.directory = {}, Path("/")
    elif instruction == "ENV":
        for name, value in (pair.split("=", 1) for pair in shlex.split(argument)):
            image.environment[name] = image.moved(value).replace("$PATH", os.environ["PATH"])
    elif instruction == "WORKDIR":
        image.directory = Path(argument)
        image.below(".").mkdir(parents=True, exist_ok=True)
    elif instruction == "USER":
        image.user = argument
    elif instruction == "COPY":
        _copy(image, argument)
    elif instruction == "RUN":
        _run(image, argument)
    elif instruction == "HEALTHCHECK":
        image.health = json.loads(argument[argument.index("CMD") + 3 :])
    elif instruction in ("ENTRYPOINT", "CMD"):
        image.command += json.loads(argument)  # JSON: the exec form, so that SIGTERM reaches the daemon
    else:
        assert instruction in ("VOLUME", "EXPOSE", "STOPSIGNAL"), instruction


def _copy(image: Image, argument: str) -> None:
    *sources, target = argument.split()
    if sources[0].startswith("--from"):
        assert sources[1] == target and image.below(target).is_dir()
        return
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, image.below(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            at = image.below(target)
            at = at / Path(source).name if target.endswith("/") else at
            at.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, at)


def _run(image: Image, argument: str) -> None:
    words = shlex.split(image.moved(argument))
    if words[0] == "useradd":
        return
    if "--require-hashes" in words:
        assert Path(image.below(words[-1])).is_file()
        site = next(Path(image.root, "opt/posthouse/lib").glob("python*/site-packages"))
        for bundled in site.glob("setuptools*"):  # of venv; the pinned one takes its place
            shutil.rmtree(bundled)
        (site / "pinned.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        return
    if words[0] == "install":  # without the owner, who is a user of the image
        words = [
            word
            for index, word in enumerate(words)
            if word not in ("-o", "-g") and words[index - 1] not in ("-o", "-g")
        ]
    if words[0] == "python":
        words[0] = sys.executable
    environment = {**os.environ, **image.environment, "TMPDIR": str(image.root)}
    done = subprocess.run(words, cwd=image.below("."), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def test_the_installed_package_is_whole(image: Image) -> None:
    """Every file of the packages that is no Python is data that the wheel must have."""
    (site,) = Path(image.root, "opt/posthouse/lib").glob("python*/site-packages")
    wanted = {
        path.relative_to(ROOT)
        for package in ("mta", "api", "config")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    missing = {str(path) for path in wanted if not (site / path).is_file()}
    assert not missing and {str(path) for path in wanted} >= {"config/posthouse.toml", "config/bounce_rules.toml"}


def test_the_image_runs_without_root_and_says_what_it_is(image: Image) -> None:
    given = dict(steps())
    assert image.user == "posthouse" and given["VOLUME"] == "/data"
    assert given["EXPOSE"].split() == ["25", "587", "8025"] and given["STOPSIGNAL"] == "SIGTERM"
    assert image.environment["POSTHOUSE_DATA_DIR"] == f"{image.root}/data"
    stages = [argument for instruction, argument in steps() if instruction == "FROM"]
    assert len(stages) == 2 and all("slim" in stage for stage in stages)
    assert not any("curl" in argument or "apt-get" in argument for _, argument in steps())


def test_the_image_starts_is_healthy_and_drains(image: Image) -> None:
    http, smtp = free_port(), free_port()
    listeners = [{"role": "submission", "address": f"127.0.0.1:{smtp}"}]
    environment = {
        **image.environment,
        "POSTHOUSE_API__ADDRESS": f"127.0.0.1:{http}",
        "POSTHOUSE_LISTENERS": json.dumps(listeners),
        "POSTHOUSE_HOSTNAME": "mail.example.org",
    }
    daemon = subprocess.Popen(image.command, cwd=image.below("."), env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert daemon.stderr is not None
        assert subprocess.run(image.health, env=environment, capture_output=True).returncode == 1
        assert any("event=ready" in line for line in daemon.stderr)
        health = subprocess.run(image.health, env=environment, capture_output=True, text=True)
        assert health.returncode == 0, health.stderr
        keyed = subprocess.run(["posthouse", "key", "create", "app"], env=environment, capture_output=True, text=True)
        assert keyed.returncode == 0 and keyed.stdout.strip()
        assert (image.below("/data") / "posthouse.sqlite").stat().st_mode & 0o700 == 0o600
        start = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0 and time.monotonic() - start < 15
    finally:
        daemon.kill()


def test_development_mode_runs_from_the_installed_package_in_any_directory(image: Image, tmp_path: Path) -> None:
    elsewhere = {"PATH": image.environment["PATH"], "HOME": str(tmp_path)}
    for command in (["posthouse", "check-config", "--dev"], ["posthouse", "init", "--dev"]):
        done = subprocess.run(command, cwd=tmp_path, env=elsewhere, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "# " in (tmp_path / "dev" / "posthouse.toml").read_text()
    bounce = tmp_path / "bounce.eml"
    bounce.write_text("From: a@example.org\n\nHello\n")
    done = subprocess.run(
        ["posthouse", "classify", bounce], cwd=tmp_path, env=elsewhere, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["kind"] == "message"
