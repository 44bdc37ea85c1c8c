"""A stock Postfix on loopback in a directory of its own: a peer that refuses, accepts, and bounces later by mail."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.e2e.daemon import free_port

MAIN_CF = """compatibility_level = 3.6
queue_directory = {home}/spool
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = {home}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.net
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
maillog_file = {home}/spool/maillog
maillog_file_prefixes = {home}
virtual_mailbox_domains = example.net
virtual_mailbox_maps = inline:{{ bob@example.net=bob late@example.net=late }}
virtual_transport = discard:
transport_maps = inline:{{ late@example.net=late: mail.example.org=smtp:[127.0.0.1]:{back} }}
default_transport = discard:
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"""
NO_SUCH_USER = 67  # sysexits.h; pipe(8) makes it 5.1.1


class Postfix:
    """Takes mail for example.net: bob has a mailbox, late is accepted and bounces afterwards, others are refused.

    What it has to send back to mail.example.org goes to port `back`. Needs root.
    """

    def __init__(self, back: int) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="posthouse-postfix-"))
        self.home.chmod(0o755)
        self.port = free_port()
        self._etc = self.home / "etc"
        for sub in ("etc", "spool", "data"):
            (self.home / sub).mkdir()
        shutil.chown(self.home / "data", "postfix")
        shutil.copytree("/etc/postfix", self._etc, dirs_exist_ok=True)
        script = self.home / "gone"
        script.write_text(f"#!/bin/sh\ncat >/dev/null\necho no such mailbox any more\nexit {NO_SUCH_USER}\n")
        script.chmod(0o755)
        (self._etc / "main.cf").write_text(MAIN_CF.format(home=self.home, back=back))
        master = Path("/usr/share/postfix/master.cf.dist").read_text()
        master = re.sub(r"(?m)^smtp      inet", f"{self.port}      inet", master)
        master = re.sub(r"(?m)^((?:\S+) +(?:unix|inet|pass|unix-dgram) +[-yn]+ +[-yn]+ +)y", r"\1n", master)
        master += f"late unix - n n - - pipe\n  user=nobody argv={script}\n"
        (self._etc / "master.cf").write_text(master)

    def start(self) -> Postfix:
        subprocess.run(["postfix", "-c", str(self._etc), "start"], check=True, capture_output=True)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"Postfix does not listen:\n{self.log()}")

    def log(self) -> str:
        path = self.home / "spool/maillog"
        return path.read_text()[-4000:] if path.exists() else ""

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self._etc), "stop"], capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)
