"""What /proc says of the processes of a server: who they are, what they hold, where they talk to.

What lives here: reading and parsing; what may not be looked at is simply missing. What must not: judgement, requests.
"""

from __future__ import annotations

import os

from dasctl.remote import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Row = dict[str, Any]
    Record = Mapping[str, Any]

MOST_PROCESSES = 500
MOST_COMMAND = 4096  # bytes of a command line
MOST_OPEN = 300  # open files that are named, of all processes together
MOST_TABLE = 64 << 20  # bytes of a table of sockets

TCP_STATES = {
    "01": "established", "02": "syn-sent", "03": "syn-recv", "04": "fin-wait-1", "05": "fin-wait-2", "06": "time-wait",
    "07": "close", "08": "close-wait", "09": "last-ack", "0A": "listening", "0B": "closing",
}  # fmt: skip


def read(path: str, most: int = 1 << 20) -> bytes:
    """A file of /proc; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def number(data: bytes) -> int:
    """A number at the beginning of `data`; 0 where there is none."""
    first = data.split()[:1]
    return int(first[0]) if first and first[0].lstrip(b"-").isdigit() else 0


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class Processes:
    """All processes of the machine, looked at once; `of` picks those of one server."""

    def __init__(self) -> None:
        self._fields: dict[int, list[bytes]] = {}
        self._names: dict[int, bytes] = {}
        for name in os.listdir("/proc"):
            data = read("/proc/%s/stat" % name) if name.isdigit() else b""
            end = data.rfind(b")")
            fields = data[end + 1 :].split()
            if len(fields) >= 22 and fields[0] not in (b"Z", b"X"):
                self._fields[int(name)] = fields
                self._names[int(name)] = data[data.find(b"(") + 1 : end]
        self._tick = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._boot = _boot_time()

    def of(self, record: Record | None, folder: str) -> list[Row]:
        """The server's processes, parents first: its session and all that descends from it. `stray`: one that was started
        for this instance (by its environment), and is not of the server that the record tells of.
        """
        own = self._session(record) if record is not None else set()
        own |= self._descendants(own)
        strays = self._started_in(folder) - own
        rows = [self._row(pid, stray=False) for pid in self._in_order(own)]
        rows += [self._row(pid, stray=True) for pid in self._in_order(strays)]
        return rows[:MOST_PROCESSES]

    def _session(self, record: Record) -> set[int]:
        if record.get("boot") != process.boot_id():
            return set()
        pid, ticks = record["pid"], record["ticks"]
        if pid in self._fields and int(self._fields[pid][19]) != ticks:
            return set()  # somebody else has that number now
        return {
            other
            for other, fields in self._fields.items()
            if int(fields[3]) == pid and int(fields[19]) >= ticks
        }

    def _descendants(self, roots: set[int]) -> set[int]:
        children: dict[int, list[int]] = {}
        for pid, fields in self._fields.items():
            children.setdefault(int(fields[1]), []).append(pid)
        found, ahead = set(), list(roots)
        while ahead:
            for child in children.get(ahead.pop(), ()):
                if child not in found and child not in roots:
                    found.add(child)
                    ahead.append(child)
        return found

    def _started_in(self, folder: str) -> set[int]:
        mark = b"DASCTL_INSTANCE_DIR=" + os.fsencode(folder)
        return {
            pid
            for pid in self._fields
            if pid != os.getpid() and mark in read("/proc/%d/environ" % pid).split(b"\0")
        }

    def _in_order(self, pids: set[int]) -> list[int]:
        """Parents before their children, by start."""
        order: list[int] = []
        starts = sorted(pids, key=lambda pid: (int(self._fields[pid][19]), pid))
        ahead = [pid for pid in reversed(starts) if int(self._fields[pid][1]) not in pids]
        while ahead:
            pid = ahead.pop()
            order.append(pid)
            ahead += [child for child in reversed(starts) if int(self._fields[child][1]) == pid]
        return order

    def _row(self, pid: int, *, stray: bool) -> Row:
        fields = self._fields[pid]
        command = read("/proc/%d/cmdline" % pid, MOST_COMMAND).rstrip(b"\0").replace(b"\0", b" ")
        wait = read("/proc/%d/wchan" % pid, 100)
        return {
            "pid": pid, "ppid": int(fields[1]), "state": fields[0].decode("ascii"), "threads": int(fields[17]),
            "rss": int(fields[21]) * self._page, "cpu": (int(fields[11]) + int(fields[12])) / self._tick,
            "since": self._boot + int(fields[19]) / self._tick,
            "command": text(command or b"[" + self._names[pid] + b"]"), "stray": stray,
            "wait": text(wait) if wait not in (b"", b"0") else "",
        }  # fmt: skip


def _boot_time() -> float:
    for line in read("/proc/stat").splitlines():
        if line.startswith(b"btime "):
            return float(number(line[6:]))
    return 0.0


def open_files(pids: Iterable[int]) -> tuple[list[Row], dict[int, int], list[int]]:
    """Per process how many files are open, and which ones; the sockets (inode to pid); and whose cannot be looked at."""
    rows: list[Row] = []
    sockets: dict[int, int] = {}
    hidden: list[int] = []
    left = MOST_OPEN
    for pid in pids:
        folder = "/proc/%d/fd" % pid
        try:
            names = sorted(os.listdir(folder), key=int)
        except OSError:
            hidden.append(pid)
            continue
        named = []
        for name in names:
            try:
                target = os.readlink(os.path.join(folder, name))
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets[int(target[8:-1])] = pid
            elif left > 0:
                named.append([int(name), target])
                left -= 1
        rows.append({"pid": pid, "count": len(names), "limit": _file_limit(pid), "open": named})
    return rows, sockets, hidden


def _file_limit(pid: int) -> int | None:
    for row in limits(pid):
        if row["name"] == "Max open files" and row["soft"].isdigit():
            return int(row["soft"])
    return None


def limits(pid: int) -> list[Row]:
    """The limits of a process: name, soft, hard, unit."""
    lines = text(read("/proc/%d/limits" % pid)).splitlines()
    if not lines or "Soft Limit" not in lines[0]:
        return []
    soft, hard, unit = (lines[0].find(word) for word in ("Soft", "Hard", "Units"))
    return [
        {
            "name": line[:soft].strip(), "soft": line[soft:hard].strip(), "hard": line[hard:unit].strip(),
            "unit": line[unit:].strip(),
        }
        for line in lines[1:]
    ]  # fmt: skip


def environment_names(pid: int) -> list[str]:
    """The names of a process's variables; never their values, which hold secrets."""
    found = read("/proc/%d/environ" % pid).split(b"\0")
    return sorted({text(item.partition(b"=")[0]) for item in found if item})


def tcp(pid: int, inodes: Mapping[int, int]) -> list[Row]:
    """The TCP sockets among `inodes` (to their pids), as the network of `pid` has them."""
    rows = []
    for table in ("tcp", "tcp6"):
        for line in read("/proc/%d/net/%s" % (pid, table), MOST_TABLE).splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or not fields[9].isdigit() or int(fields[9]) not in inodes:
                continue
            sent, _, received = fields[4].decode("ascii").partition(":")
            rows.append(
                {
                    "pid": inodes[int(fields[9])], "local": _address(fields[1]), "peer": _address(fields[2]),
                    "state": TCP_STATES.get(fields[3].decode("ascii"), fields[3].decode("ascii")),
                    "unsent": int(sent, 16), "unread": int(received, 16),
                }
            )  # fmt: skip
    return rows


def _address(field: bytes) -> list[Any]:
    """[address, port] of `0100007F:1F90`."""
    import socket
    import sys

    packed, _, port = field.partition(b":")
    raw = bytes.fromhex(packed.decode("ascii"))
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    data = b"".join(words)
    if data.startswith(b"\0" * 10 + b"\xff\xff"):
        data = data[12:]
    return [socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data), int(port, 16)]
