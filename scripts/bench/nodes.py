"""A real OpenSSH server on loopback, whose node directories lie in memory."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from measure import leave_alone

NODE_USER = "dasnode"
START_TIMEOUT_S = 10.0

SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
LogLevel ERROR
# Every node is this one server: a start of 32 connections at once is not to be throttled.
MaxStartups 500
"""

SSH_CONFIG = """\
Host *
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/home/.ssh/known_hosts
    StrictHostKeyChecking yes
    BatchMode yes
    ControlMaster no
    LogLevel ERROR
"""


class NodesError(Exception):
    """The server could not be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An sshd that runs. `folder` holds its key, the client's configuration, and a home for the client."""

    folder: Path
    port: int
    user: str
    pid: int

    @property
    def ssh_config(self) -> Path:
        return self.folder / f"ssh_config.{self.port}"

    def behind(self, port: int) -> Server:
        """The same server, reached through another port of this machine."""
        other = replace(self, port=port)
        other.introduce()
        return other

    def introduce(self) -> None:
        """Let clients know the server by its port."""
        known = self.folder / "home" / ".ssh" / "known_hosts"
        known.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        with known.open("a") as file:
            file.write(f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}")
        self.ssh_config.write_text(SSH_CONFIG.format(port=self.port, folder=self.folder, user=self.user))

    @property
    def environment(self) -> dict[str, str]:
        """For clients: a home whose known_hosts knows the server; no agent."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "DASCTL_"))}
        return kept | {"HOME": str(self.folder / "home")}

    def own(self, path: Path) -> None:
        """Make a folder that belongs to the user who logs in."""
        path.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(path, self.user)


@contextlib.contextmanager
def server_running(folder: Path) -> Iterator[Server]:
    """An sshd for one unprivileged user: `dasnode` where we are root (made if need be), else ourselves."""
    binary = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if binary is None:
        raise NodesError("there is no sshd here: sh scripts/install_test_needs.sh")
    user, port = _node_user(), _free_port()
    _write_files(folder, port)
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "-D", "-e", "-f", str(folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        _wait(process, port, folder / "sshd.log")
        leave_alone(process.pid)
        server = Server(folder=folder, port=port, user=user, pid=process.pid)
        server.introduce()
        yield server
    finally:
        process.terminate()
        process.wait()


def _node_user() -> str:
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(NODE_USER).pw_name
    # "*" is no password, but unlike "!" it does not lock the account for keys.
    subprocess.run(
        ["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", NODE_USER], check=True
    )
    return NODE_USER


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_files(folder: Path, port: int) -> None:
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(folder / name)],
            check=True,
        )
    shutil.copyfile(folder / "key.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    folder.chmod(0o755)  # mkdtemp's 0700 would keep the node's user out
    if os.getuid() == 0 and Path("/etc/debian_version").exists():
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    process.terminate()
    raise NodesError(f"sshd does not listen:\n{log.read_text(errors='replace')}")
