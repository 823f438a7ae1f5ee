"""This machine and its user: its name, its boot, the host keys of its sshd."""

from __future__ import annotations

import base64
import contextlib
import socket
from pathlib import Path

from dasctl.adapters.host_keys import fingerprint
from dasctl.core.coordinates import Machine

_HOST_KEYS = Path("/etc/ssh")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_machine() -> Machine:
    """What a node tells the DAS about itself. Asks no name server but the system's own, and only for its own name."""
    name = socket.gethostname()
    return Machine(
        name=name.split(".")[0],
        hostname=name if "." in name else socket.getfqdn(name),
        boot=boot_id(),
        host_keys=tuple(
            mark for path in sorted(_HOST_KEYS.glob("ssh_host_*_key.pub")) if (mark := _mark(_read(path)))
        ),
    )


def boot_id() -> str:
    """Of the kernel that this runs on; empty where it has none (macOS)."""
    return _read(_BOOT).strip()


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("ascii", "replace")
    return ""


def _mark(line: str) -> str:
    with contextlib.suppress(ValueError, IndexError):
        return fingerprint(base64.b64decode(line.split()[1]))
    return ""
