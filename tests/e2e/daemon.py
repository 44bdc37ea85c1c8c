"""The real daemon in a process of its own: configured, started, fed, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "mta"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """`start` returns when every listener accepts; `http`, `smtp` and `inbound` are ports on 127.0.0.1."""

    def __init__(self, home: Path, extra: str = "", environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.http, self.smtp, self.inbound = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home / "daemon.log"
        self.config = home / "posthouse.toml"
        top = "".join(line + "\n" for line in extra.splitlines() if line.startswith("top:")).replace("top:", "")
        rest = "\n".join(line for line in extra.splitlines() if not line.startswith("top:"))
        self.config.write_text(
            f'hostname = "mail.example.org"\ndata_dir = "{home}/data"\n{top}'
            f'[[listeners]]\nrole = "submission"\naddress = "127.0.0.1:{self.smtp}"\ntls = "starttls"\n'
            f'[[listeners]]\nrole = "inbound"\naddress = "127.0.0.1:{self.inbound}"\ntls = "starttls"\n'
            f'[api]\naddress = "127.0.0.1:{self.http}"\n{rest}\n'
        )
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")},
            "POSTHOUSE_CONFIG": str(self.config),
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def start(self, *prefix: str) -> Daemon:
        """Starts it (under `prefix`, a tracer for example) and waits until its log says that it is ready."""
        log = self.log.open("ab")
        self.process = subprocess.Popen(
            [*prefix, *COMMAND, "serve"], stdout=log, stderr=subprocess.PIPE, env=self.environment, cwd=self.home
        )
        ready = threading.Event()
        threading.Thread(target=self._copy, args=(self.process, log, ready), daemon=True).start()
        if not ready.wait(60) or self.process.poll() is not None:
            raise AssertionError(f"The daemon did not start:\n{self.log.read_text()[-3000:]}")
        return self

    def _copy(self, process: subprocess.Popen[bytes], log: Any, ready: threading.Event) -> None:
        assert process.stderr
        for line in process.stderr:
            log.write(line)
            log.flush()
            if b"event=ready" in line:
                ready.set()
        ready.set()

    def wait_log(self, text: str, timeout: float = 20) -> None:
        """Until the log has that text."""
        end = time.monotonic() + timeout
        while text not in self.log.read_text():
            assert time.monotonic() < end, f"The log does not say {text!r}:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL: what a crash or a power cut of the process looks like."""
        assert self.process
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def cli(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """`posthouse ARGUMENTS` with this daemon's configuration."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            input=stdin,
            timeout=60,
            cwd=self.home,
        )
        if check and done.returncode:
            raise AssertionError(f"posthouse {' '.join(arguments)}: {done.returncode}: {done.stderr}")
        return done

    def key(self, *arguments: str) -> str:
        """A new key's secret."""
        return self.cli("key", "create", "test", *arguments).stdout.strip()

    def api(
        self, method: str, path: str, body: Any = None, key: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """One HTTP request; the status and the JSON of the answer (None where it is empty)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {key}"} if key else {}),
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                raw, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            raw, status = error.read(), error.code
        return status, json.loads(raw) if raw else None
