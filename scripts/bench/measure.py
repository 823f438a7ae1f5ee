"""What a command costs: time, processor time on both sides, bytes on the wire.

Time is the whole command's, with the start of its interpreter and all connections. Processor time is that of our own
children, and of sshd with everything that it ran and collected. Bytes are those of the loopback device, both
directions, with TCP and IP headers; where possible the bench runs in a network namespace of its own, so that nobody
else's bytes are among them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MARK = "DASCTL_BENCH_NAMESPACE"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_END_TIMEOUT_S = 10.0
_KNOWN: set[int] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: seconds, seconds of processor time (both sides), bytes on the wire; where known, round trips, the largest
    memory of the process in bytes, and how much of the processor time was that of sshd and of what it ran."""

    seconds: float
    cpu_s: float
    wire: int
    round_trips: int | None = None
    memory: int | None = None
    nodes_cpu_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a command says of itself."""

    round_trips: int | None = None
    memory: int | None = None


def measured(action: Callable[[], Told], *, sshd: int, passes: int = 1) -> Measured:
    """Run `action` and look at what it cost. Each byte passes the loopback device `passes` times."""
    _wait_for_sessions(sshd)
    wire, here, there = _wire_bytes(), _children_cpu_s(), _sshd_cpu_s(sshd)
    started = time.perf_counter()
    told = action()
    seconds = time.perf_counter() - started
    here = _children_cpu_s() - here
    left = _children_cpu_s()
    _wait_for_sessions(sshd)  # sshd knows the cost of a session when it has collected it
    there = _sshd_cpu_s(sshd) - there + _children_cpu_s() - left  # what outlived its session is ours by then
    return Measured(
        seconds=seconds, cpu_s=here + there, wire=(_wire_bytes() - wire) // passes,
        round_trips=told.round_trips, memory=told.memory, nodes_cpu_s=there,
    )  # fmt: skip


def _children_cpu_s() -> float:
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours.ru_utime + ours.ru_stime


def _sshd_cpu_s(sshd: int) -> float:
    fields = Path(f"/proc/{sshd}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S


def _wire_bytes() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


def _wait_for_sessions(sshd: int) -> None:
    """Until sshd has collected its sessions, and we what outlived one: a helper may end after the session that it served."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    sessions = Path(f"/proc/{sshd}/task/{sshd}/children")
    while time.monotonic() < deadline and (sessions.read_text().strip() or _orphans()):
        time.sleep(0.01)


def _orphans() -> bool:
    """Collect those that have ended; whether some still run. Nothing else of ours is under way meanwhile."""
    ours = {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()} - _KNOWN
    for pid in ours:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(ours)


def adopt_orphans() -> None:
    """Let processes whose parents have ended become ours, so that their time counts (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def leave_alone(pid: int) -> None:
    """This child of ours is no orphan."""
    _KNOWN.add(pid)


def enter_own_network() -> bool:
    """Start this program anew in a network namespace of its own, if we may; says whether we are in one."""
    if os.environ.get(_MARK):
        _loopback_up()
        return True
    unshare = shutil.which("unshare")
    if unshare and os.getuid() == 0:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run([unshare, "-n", "true"], check=True, stderr=subprocess.DEVNULL)
            os.environ[_MARK] = "1"
            sys.stdout.flush()
            os.execv(unshare, [unshare, "-n", sys.executable, *sys.argv])
    return False


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
