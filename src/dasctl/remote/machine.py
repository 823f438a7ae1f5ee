"""What can be said of a node as a machine: disks, memory, load, time.

What lives here: reading. What must not: anything about instances.
"""

from __future__ import annotations

import os
import sys
import time

from dasctl.remote import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]


def facts(path: str) -> Row:
    """All of it; `path` is the node's directory, or where it would be."""
    system = os.uname()
    return {
        "host": system.nodename, "kernel": "%s %s" % (system.release, system.machine), "cpus": os.cpu_count(),
        "python": list(sys.version_info[:3]), "time": time.time(),
        "up": float(proc.read("/proc/uptime").split()[0]) if proc.read("/proc/uptime") else None,
        "load": [float(word) for word in proc.text(proc.read("/proc/loadavg")).split()[:3]],
        "memory": _memory(), "pressure": _pressure(), "out_of_memory": _kills(), "disk": disk(path),
    }  # fmt: skip


def disk(path: str) -> Row | None:
    """The file system of the nearest folder of `path` that exists."""
    while True:
        try:
            found = os.statvfs(path)
            break
        except OSError:
            if path in ("/", ""):
                return None
            path = os.path.dirname(path)
    return {
        "path": path, "size": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize,
        "files": found.f_files, "files_free": found.f_favail, "read_only": bool(found.f_flag & os.ST_RDONLY),
    }  # fmt: skip


def _memory() -> Row:
    """In bytes."""
    wanted = {
        b"MemTotal": "total",
        b"MemAvailable": "available",
        b"SwapTotal": "swap",
        b"SwapFree": "swap_free",
    }
    found = {}
    for line in proc.read("/proc/meminfo").splitlines():
        name, _, value = line.partition(b":")
        if name in wanted:
            found[wanted[name]] = proc.number(value) * 1024
    return found


def _pressure() -> dict[str, float]:
    """How much of the last minute something waited for each of these, in percent; nothing where the kernel does not say."""
    found = {}
    for name in ("cpu", "memory", "io"):
        for word in proc.text(proc.read("/proc/pressure/" + name)).split()[:4]:
            key, _, value = word.partition("=")
            if key == "avg60":
                found[name] = float(value)
    return found


def _kills() -> int | None:
    """How many processes the kernel has ended since the boot because memory was out."""
    for line in proc.read("/proc/vmstat").splitlines():
        if line.startswith(b"oom_kill "):
            return proc.number(line[9:])
    return None
