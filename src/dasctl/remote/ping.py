"""`ping`: can dasctl work on this node? Nothing is left behind.

What must not live here: judging the answers; the DAS does that, with a remedy per line.
"""

from __future__ import annotations

import os
import time

from dasctl.remote import messages, state, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Reply = dict[str, Any]


def ping(header: Reply) -> Reply:
    """Answer a `ping`."""
    path = state.node_path(messages.need(header, "dir", str))
    there = _nearest(path)
    found = os.statvfs(there)
    message = _trouble(there)
    return {
        "reply": words.PING, "writable": not message, "message": message, "free": found.f_bavail * found.f_frsize,
        "files": found.f_favail, "time": time.time(), "dir": path,
    }  # fmt: skip


def _nearest(path: str) -> str:
    """The nearest thing that exists, at `path` or above."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _trouble(path: str) -> str:
    """Why nothing can be written in the folder at `path`; "" where it can. Only a try tells: ACLs, quotas, mounts."""
    if not os.path.isdir(path):
        return "%s is not a folder" % path
    name = os.path.join(path, ".dasctl-ping-%d-%d" % (os.getpid(), time.monotonic_ns()))
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return state.explained(error, path).message
    try:
        os.write(handle, b"x")
    except OSError as error:
        return state.explained(error, path).message
    finally:
        os.close(handle)
        os.unlink(name)
    return ""
