"""Real OpenSSH servers on loopback for tests: one per node, each with a folder of its own as home.

As root the nodes belong to the unprivileged user `dasnode`; otherwise to whoever runs the tests. A missing sshd fails
the test and says what to install; nothing is skipped.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SSHD = "/usr/sbin/sshd"
NODE_USER = "dasnode"
ACCOUNTS = "/run/dasctl-tests-accounts"  # a lock
_START_S = 20.0  # machines that run tests are shared
_BLOCK = 100  # ports


class SshdMissing(Exception):
    """There is no OpenSSH server to test with."""


def node_user(name: str = NODE_USER, shell: str = "/bin/sh") -> str:
    """The user whom nodes belong to; as root an unprivileged one with this login shell, made where it is missing."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    with accounts_locked():
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(["useradd", "-m", "-s", shell, name], check=True, capture_output=True)
            subprocess.run(["usermod", "-p", "*", name], check=True, capture_output=True)
    return name


@contextmanager
def accounts_locked() -> Iterator[None]:
    """Alone with the machine's accounts: useradd and its like fail where another one is at work."""
    with open(ACCOUNTS, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_key(path: Path, *, passphrase: str = "") -> Path:
    """A new ed25519 key pair at `path` and `path`.pub."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def append(path: Path, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def run(command: list[str]) -> None:
    """Run a tool of OpenSSH or of the system; what it says is shown only if it fails."""
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def free_port() -> int:
    """A port that nobody listens at, and that no other tests of this machine are given while this process lives: they may
    run beside it, and a server that is down for a while must find its port again. The kernel gives none of these to
    outgoing connections (ip_local_port_range).
    """
    for port in _own_ports():
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("there is no port left")


@cache
def _own_ports() -> Iterator[int]:
    """Ports of blocks that are locked for this process, each port once. One handle for a block, not for a port: a suite asks
    for more than a thousand, and what is open beyond 1,023 is no use to select(2)."""
    return _blocks()


def _blocks() -> Iterator[int]:
    folder = Path(tempfile.gettempdir(), f"dasctl-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    blocks = list(range(10_000, 32_000, _BLOCK))
    random.shuffle(blocks)
    for first in blocks:
        held = os.open(folder / str(first), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
        else:  # closed by the kernel, at our end
            yield from range(first, first + _BLOCK)


@dataclass(kw_only=True)
class Sshd:
    """One server. `options` are further lines of its configuration. Start, stop, hang, reset; `port` stays."""

    folder: Path
    host_key: Path
    authorized: str
    user: str
    options: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """HOME of whoever logs in."""
        return self.folder / "home"

    @property
    def log(self) -> str:
        path = self.folder / "sshd.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Sshd:
        if not Path(SSHD).exists():
            raise SshdMissing(
                f"{SSHD} is missing: apt-get install openssh-server (RHEL: dnf install openssh-server)"
            )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._prepare()
        for _ in range(5):  # the free port may be taken by another before sshd binds it
            self.port = self.port or free_port()
            if self._started():
                return self
            self.port = 0
        raise AssertionError(f"sshd did not start:\n{self.log}")

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)
        keys = self.folder / "authorized_keys"
        keys.write_text(self.authorized)
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.user)
            os.chown(self.home, entry.pw_uid, entry.pw_gid)
            keys.chmod(0o644)
            for folder in (self.folder, *self.folder.parents):
                if folder == Path("/") or folder.stat().st_mode & 0o1000:
                    break  # the folder of everybody's temporary files
                folder.chmod(folder.stat().st_mode | 0o055)

    def _started(self) -> bool:
        lines = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": str(self.host_key),
            "PidFile": str(self.folder / "sshd.pid"),
            "AuthorizedKeysFile": str(self.folder / "authorized_keys"),
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PrintMotd": "no",
            "PrintLastLog": "no",
            "MaxStartups": "200",
            "MaxSessions": "100",
            "UseDNS": "no",
            "LogLevel": "VERBOSE",
            "SetEnv": f"HOME={self.home}",
            "Subsystem": "sftp internal-sftp",
            **self.options,
        }
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        said = len(self.log)
        with open(self.folder / "sshd.log", "ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            # Its own word, and not a connection: the port may be another server's, and ours about to fail.
            if f"port {self.port}." in self.log[said:]:
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def stop(self) -> None:
        """End the server and its connections."""
        if self._process is None:
            return
        self.resume()
        self.reset_connections()
        self._process.kill()
        self._process.wait()
        self._process = None

    def hang(self) -> None:
        """The server and its connections stop to answer; the kernel still accepts connections."""
        for pid in (self.pid, *self._session_pids()):
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in (*self._session_pids(), self.pid):
            _signal(pid, signal.SIGCONT)

    def reset_connections(self) -> None:
        """Kill the processes that hold the connections; the server goes on."""
        for pid in self._session_pids():
            _signal(pid, signal.SIGKILL)

    def _session_pids(self) -> list[int]:
        """The children and grandchildren that are called sshd: privileged and unprivileged halves of connections."""
        found, parents = [], [self.pid]
        while parents:
            parent = parents.pop()
            for pid in _children(parent):
                if _name(pid).startswith("sshd"):
                    found.append(pid)
                    parents.append(pid)
        return found


@dataclass(frozen=True, kw_only=True)
class SshSetting:
    """What tests share: keys, and an isolated HOME with its own ssh config and known_hosts."""

    home: Path
    key: Path
    other_key: Path
    host_key: Path

    @property
    def public(self) -> str:
        return Path(f"{self.key}.pub").read_text()

    @property
    def config(self) -> Path:
        return self.home / ".ssh" / "config"

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh" / "known_hosts"

    @property
    def host_public(self) -> str:
        """Type and blob of the servers' host key."""
        return " ".join(Path(f"{self.host_key}.pub").read_text().split()[:2])

    def know(self, sshd: Sshd) -> None:
        """Put the server's key into the user's known_hosts."""
        self.know_port(sshd.port)

    def know_port(self, port: int) -> None:
        """The same for whatever shows the servers' host key at this port of loopback."""
        append(self.known_hosts, f"[127.0.0.1]:{port} {self.host_public}\n")


def have_sshd() -> None:
    """Raise SshdMissing where tests cannot have a server."""
    if not Path(SSHD).exists() or shutil.which("ssh-keygen") is None:
        raise SshdMissing("an OpenSSH server is needed: apt-get install openssh-server")


def _children(pid: int) -> list[int]:
    """Those of a process that may end at any moment: glob looks into folders that are gone by then."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(text) for text in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        pass
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
