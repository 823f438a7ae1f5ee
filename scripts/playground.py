"""A place to try dasctl without touching anything else: a folder, a key, loopback nodes, an environment.

What lives here: making that place, and leaving nothing of it behind. Nodes are dasctl's own embedded SSH
servers: neither root nor an OpenSSH server is needed. The user's own keys, agent and SSH configuration
are out of sight.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

NODE_START_TIMEOUT_S = 30.0
PROCESS_END_TIMEOUT_S = 10.0
_LISTENING = re.compile(r"listening on (\S+):(\d+), host key (SHA256:\S+)")


class PlaygroundError(Exception):
    """The place could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackNode:
    """One embedded SSH server."""

    name: str
    port: int
    host_key: str
    folder: Path
    process: subprocess.Popen[bytes]


@dataclass(slots=True, kw_only=True)
class Playground:
    """The place. `root` is short, for it is read in command lines."""

    root: Path
    env: Mapping[str, str]
    nodes: list[LoopbackNode] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.root / "key"

    def start_node(self, name: str) -> LoopbackNode:
        """Start an embedded SSH server on a free port, and wait until it listens."""
        folder = self.root / "nodes" / name
        folder.mkdir(parents=True)
        log = self.root / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [dasctl(), "serve-ssh", "--dir", str(folder), "--port", "0",
                 "--authorized-keys", str(self.key) + ".pub"],
                env=self.env, cwd=self.root, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        address = _wait_for_address(process, log)
        node = LoopbackNode(
            name=name, port=int(address[2]), host_key=address[3], folder=folder, process=process
        )
        self.nodes.append(node)
        return node

    def stop_nodes(self) -> None:
        """Stop the embedded SSH servers as an operator would, with SIGTERM."""
        for node in self.nodes:
            node.process.terminate()
        for node in self.nodes:
            try:
                node.process.wait(PROCESS_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
        self.nodes.clear()

    def processes(self) -> dict[int, str]:
        """The processes that belong to this place (pid: command line), the caller's own left out."""
        mark = os.fsencode(self.root)
        own = {os.getpid(), os.getppid()}
        return {pid: text for pid, text in _processes_with(mark) if pid not in own}

    def wait_for_no_process(self, seconds: float = PROCESS_END_TIMEOUT_S) -> dict[int, str]:
        """Wait until no process of this place is left; returns those that are there all the same."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


@contextlib.contextmanager
def playground_open(prefix: str) -> Iterator[Playground]:
    """A new place; at the end its processes are ended and its folder is removed, whatever happened.

    SIGTERM and SIGHUP end the program as Ctrl-C does, so that they too leave nothing behind.
    """
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, _interrupt)
    root = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    place = Playground(root=root, env=_environment(root))
    try:
        (root / "home").mkdir(mode=0o700)
        _make_key(place.key)
        yield place
    finally:
        place.stop_nodes()
        _end(place)
        shutil.rmtree(root, ignore_errors=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def dasctl() -> str:
    """The dasctl of the virtual environment that runs us."""
    beside = Path(sys.executable).parent / "dasctl"
    found = str(beside) if beside.exists() else shutil.which("dasctl")
    if found is None:
        raise PlaygroundError("dasctl is not installed here: run `make venv`")
    return found


def free_port(wanted: int, taken: Sequence[int] = ()) -> int:
    """`wanted` if nobody listens there and it is not in `taken`; otherwise the next one that is free."""
    for port in range(wanted, wanted + 2000):
        if port not in taken and _is_free(port):
            return port
    raise PlaygroundError(f"no free TCP port from {wanted} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connection lingers in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _environment(root: Path) -> dict[str, str]:
    hidden = ("SSH_", "DASCTL_", "PYTHON", "PIP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    kept.pop("COLUMNS", None)
    beside = str(Path(sys.executable).parent)
    return kept | {
        "HOME": str(root / "home"),
        "PATH": beside + os.pathsep + kept.get("PATH", os.defpath),
        "TERM": kept.get("TERM", "xterm-256color"),
    }


def _make_key(path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="dasctl playground")
    path.touch(0o600, exist_ok=False)
    path.write_bytes(key.export_private_key())
    path.with_name(path.name + ".pub").write_bytes(key.export_public_key())


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> re.Match[str]:
    deadline = time.monotonic() + NODE_START_TIMEOUT_S
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        # Long lines may be wrapped where the output is not a terminal.
        if found := _LISTENING.search(" ".join(said.split())):
            return found
        if process.poll() is not None:
            raise PlaygroundError(f"serve-ssh ended with exit code {process.returncode}:\n{said}")
        time.sleep(0.02)
    process.kill()
    raise PlaygroundError(
        f"serve-ssh did not say that it listens within {NODE_START_TIMEOUT_S:.0f} s:\n{said}"
    )


def _processes_with(mark: bytes) -> Iterator[tuple[int, str]]:
    """Processes whose command line, environment or working directory names `mark`."""
    if not Path("/proc/self/cmdline").exists():
        yield from _processes_by_ps(mark)
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes()
            if not line:  # a kernel thread, or one that has ended and waits to be collected
                continue
            cwd = os.fsencode((entry / "cwd").readlink())
            if mark in line or mark in cwd or mark in (entry / "environ").read_bytes():
                yield int(entry.name), line.replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _processes_by_ps(mark: bytes) -> Iterator[tuple[int, str]]:
    listing = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, check=True).stdout
    for line in listing.splitlines():
        if mark in line:
            pid, _, command = line.strip().partition(b" ")
            yield int(pid), command.decode("utf-8", "replace")


def _end(place: Playground) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for pid in place.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)
        if not place.wait_for_no_process(3.0):
            return
