"""Readiness: is the server there for those who want something of it?

What lives here: one try of each kind of check. What must not: waiting and giving up (`start.py`).

Another process that answers on the server's port must not be taken for it. So it is noted, before the start, who listens
there; readiness then needs a listener that was not there before.
"""

from __future__ import annotations

import os

from dasctl.remote import handles as by_handle
from dasctl.remote import process, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TRY_S = 5.0  # how long one try may take: longer than a healthy server's answer, shorter than most time limits
ALIVE_S = 1.0  # how long a server has to live that has no check
MOST_LOG = 1 << 22  # bytes of the log that are searched: beyond the first 4 MiB only the newest
LISTEN = b"0A"  # TCP_LISTEN in /proc/net/tcp


class Check:
    """One server's check. `before` are the listeners on its port ahead of the start."""

    def __init__(self, kind: str, value: str, place: state.Place, environment: Mapping[str, str]) -> None:
        self.kind, self.value = kind, value
        self.place = place
        self.environment = dict(environment)
        self.offset = 0
        self.address = _address(kind, value)
        self.before = listeners(self.address[1]) if self.address is not None else frozenset()

    def noted(self) -> list[str]:
        """What the process record keeps of `before`, for whoever asks later."""
        return sorted(inode.decode("ascii") for inode in self.before)

    def recall(self, record: Mapping[str, Any]) -> None:
        """Judge the server that `record` describes: by what was noted ahead of its start, and its own part of the log."""
        self.before = frozenset(str(inode).encode() for inode in record.get("strangers") or ())
        self.offset = int(record.get("log", 0))

    def passes(self, lived_s: float, left_s: float) -> bool:
        """One try; never raises for a server that is merely not ready. Raises Failure for a check that cannot work."""
        limit = max(0.1, min(TRY_S, left_s))
        if self.kind == "alive":
            return lived_s >= ALIVE_S
        if self.kind == "command":
            return self._command(limit)
        if self.kind == "log":
            return self._log()
        answered = self._http(limit) if self.kind == "http" else self._tcp(limit)
        return answered and self._ours()

    def _ours(self) -> bool:
        if not self.before or self.address is None:
            return True
        return bool(listeners(self.address[1]) - self.before)

    def occupied(self) -> bool:
        """Whether somebody listened on the port before the start, and still does."""
        return bool(self.address is not None and self.before & listeners(self.address[1]))

    def _tcp(self, limit: float) -> bool:
        import socket

        assert self.address is not None
        try:
            socket.create_connection(self.address, timeout=limit).close()
        except OSError:
            return False
        return True

    def _http(self, limit: float) -> bool:
        import http.client
        from urllib.parse import urlsplit

        assert self.address is not None
        url = urlsplit(self.value)
        host, port = self.address
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            import ssl

            # The question is whether it answers, not who signed for it.
            connection = http.client.HTTPSConnection(
                host, port, timeout=limit, context=ssl._create_unverified_context()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=limit)
        target = (url.path or "/") + ("?" + url.query if url.query else "")
        try:
            connection.request("GET", target, headers={"User-Agent": "dasctl", "Connection": "close"})
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()

    def _command(self, limit: float) -> bool:
        return run(self.value, self.place, self.environment, limit) == 0

    def _log(self) -> bool:
        import re

        try:
            pattern = re.compile(self.value, re.MULTILINE)
        except (re.error, RecursionError) as error:
            raise state.Failure(
                "the ready check's pattern %r cannot be used: %s" % (self.value, error)
            ) from None
        return pattern.search(written_since(self.place, self.offset)) is not None


def run(command: str, place: state.Place, environment: Mapping[str, str], limit: float) -> int | None:
    """The exit status of a command in the instance's folder; None where it took longer than `limit` seconds."""
    import signal
    import subprocess

    folder, name = place.handles.parent(process.LOG)
    log = os.open(
        name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder
    )
    try:
        running = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=place.path, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, umask=process.UMASK,
        )  # fmt: skip
    finally:
        os.close(log)
    try:
        return running.wait(limit)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(running.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        running.wait()
        return None


def written_since(place: state.Place, offset: int) -> str:
    """What the server wrote since it was started; of very much, the newest."""
    try:
        handle = by_handle.open_file(place.handles, process.LOG)
    except OSError:
        return ""
    try:
        size = os.fstat(handle).st_size
        start = max(offset if size >= offset else 0, size - MOST_LOG)
        pieces = []
        left = size - start
        while left > 0:
            piece = os.pread(handle, min(left, 1 << 20), start)
            if not piece:
                break
            pieces.append(piece)
            start, left = start + len(piece), left - len(piece)
        return b"".join(pieces).decode("utf-8", "replace")
    finally:
        os.close(handle)


def _address(kind: str, value: str) -> tuple[str, int] | None:
    """Host and port of a check that has them. Raises Failure."""
    try:
        if kind == "http":
            from urllib.parse import urlsplit

            url = urlsplit(value)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise ValueError
            return url.hostname, url.port or (443 if url.scheme == "https" else 80)
        if kind == "tcp":
            host, _, port = value.rpartition(":")
            number = int(port)
            if not 0 < number < 65536:
                raise ValueError
            return host.strip("[]") or "127.0.0.1", number
    except ValueError:
        raise state.Failure("the ready check's address %r cannot be used" % value) from None
    return None


def listeners(port: int) -> frozenset[bytes]:
    """The sockets (inodes) of this machine that listen on a TCP port."""
    found = set()
    suffix = b":%04X" % port
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path, "rb") as file:
                for line in file:
                    fields = line.split()
                    if len(fields) > 9 and fields[3] == LISTEN and fields[1].endswith(suffix):
                        found.add(fields[9])
        except OSError:
            continue
    return frozenset(found)
