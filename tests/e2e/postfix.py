"""A stock Postfix of a test's own: takes mail for example.net on a free port and keeps it in a maildir."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwnam

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
virtual_mailbox_domains = example.net
virtual_mailbox_base = {home}
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
message_size_limit = 60000000
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
maillog_file =
"""


class Postfix:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()

    def wait_mail(self, count: int, timeout: float = 90) -> dict[str, bytes]:
        """What arrived, by the recipient's local part, with the line ends of the wire."""
        end = time.monotonic() + timeout
        while len(found := list(self.home.glob("box/new/*"))) < count:
            assert time.monotonic() < end, f"{len(found)} of {count} messages came within {timeout} s."
            time.sleep(0.05)
        mail = {}
        for path in found:
            content = path.read_bytes().replace(b"\n", b"\r\n")
            name = re.search(rb"(?mi)^Delivered-To: ([^@]+)@", content)
            assert name
            mail[name[1].decode()] = content
        return mail


@contextmanager
def postfix() -> Iterator[Postfix]:
    """Needs root. Its files lie in a directory that its own users may enter."""
    home = Path(tempfile.mkdtemp(prefix="posthouse-postfix-"))
    home.chmod(0o755)
    server = Postfix(home)
    user = getpwnam("nobody")
    for name in ("etc", "spool", "data", "box"):
        (home / name).mkdir()
    shutil.chown(home / "data", "postfix")
    shutil.chown(home / "box", user.pw_uid, user.pw_gid)
    shutil.copytree("/etc/postfix", home / "etc", dirs_exist_ok=True)
    (home / "etc/main.cf").write_text(MAIN_CF.format(home=home, uid=user.pw_uid, gid=user.pw_gid))
    master = Path("/usr/share/postfix/master.cf.dist").read_text()
    master = re.sub(r"(?m)^smtp      inet", f"{server.port}      inet", master)
    # No service in a chroot: there is no resolv.conf and the like in this one's spool
    master = re.sub(r"(?m)^((?:\S+) +(?:unix|inet|pass|unix-dgram) +[-yn]+ +[-yn]+ +)y", r"\1n", master)
    (home / "etc/master.cf").write_text(master)
    try:
        subprocess.run(["postfix", "-c", str(home / "etc"), "start"], check=True, capture_output=True, timeout=60)
        yield server
    finally:
        subprocess.run(["postfix", "-c", str(home / "etc"), "stop"], capture_output=True, timeout=60)
        shutil.rmtree(home)
