"""Which log files are collected, and how much of each.

What lives here: what a node's listing says, checked; the shares of all files in a limit. What must not: reading them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dasctl.core.sizes import size_text
from dasctl.errors import ProtocolError
from dasctl.remote import log_files, paths

LEAST = 4 << 10  # bytes: the end of a log that is shorter tells nobody anything


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A log on a node. `path` is below the instance's folder (bytes), `mtime` in ns."""

    instance: str
    node: str
    path: bytes
    size: int
    mtime: int
    mode: int

    @property
    def name(self) -> str:
        return paths.printable(self.path)

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed: the end of it alone is of no use."""
        return self.path.endswith(log_files.COMPRESSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What is taken of a file: its last `most` bytes; None: nothing, `why` says why."""

    file: LogFile
    most: int | None
    why: str = ""


def read(rows: Any, instance: str, node: str) -> list[LogFile]:
    """The files of a listing. Raises ProtocolError where it is none, or names what is no log."""
    if not isinstance(rows, list):
        raise _unfit(node, rows)
    found = [_file(row, instance, node) for row in rows]
    if len({file.path for file in found}) < len(found):
        raise _unfit(node, "the same file twice")
    return found


def _file(row: Any, instance: str, node: str) -> LogFile:
    match row:
        case [str(name), int(size), int(mtime), int(mode)] if size >= 0 and not isinstance(size, bool):
            try:
                path = paths.check(paths.from_printable(name))
            except (paths.PathError, UnicodeError):
                raise _unfit(node, name) from None
            if path.startswith(log_files.ROOT + b"/") and abs(mtime) < 1 << 62:
                return LogFile(
                    instance=instance, node=node, path=path, size=size, mtime=mtime, mode=mode & 0o777
                )
    raise _unfit(node, row)


def _unfit(node: str, value: Any) -> ProtocolError:
    return ProtocolError(f"node {node}: an answer that does not fit the protocol: {value!r:.80}")


def shares(files: Iterable[LogFile], max_size: int, max_file: int) -> list[Share]:
    """How much of each file is taken, the newest files first: those tell of what is wrong now."""
    left, found = max_size, []
    for file in sorted(files, key=lambda file: (-file.mtime, file.instance, file.path)):
        room = min(max_file, left)
        if file.size <= room:
            share = Share(file=file, most=file.size)
        elif file.is_packed:
            share = Share(file=file, most=None, why=f"compressed, {size_text(file.size)}, cannot be cut")
        elif room < LEAST:
            share = Share(file=file, most=None, why=_no_room(left, max_size, max_file))
        else:
            share = Share(file=file, most=room)
        left -= share.most or 0
        found.append(share)
    return found


def found_again(shares: Iterable[Share], files: Iterable[LogFile], instances: Iterable[str]) -> list[Share]:
    """The shares, those of `instances` with their logs as they are when they are taken: `files`, of a later listing."""
    now = {(file.instance, file.path): file for file in files}
    whose = set(instances)
    return [
        _again(share, now.get((share.file.instance, share.file.path)))
        if share.file.instance in whose
        else share
        for share in shares
    ]


def _again(share: Share, now: LogFile | None) -> Share:
    if share.most is None:
        return share
    if now is None:
        return Share(file=share.file, most=None, why="it went away meanwhile")
    if now.is_packed and now.size > share.most:
        return Share(file=share.file, most=None, why="compressed, it grew meanwhile, and cannot be cut")
    return Share(file=replace(share.file, mtime=now.mtime, mode=now.mode), most=share.most)


def _no_room(left: int, max_size: int, max_file: int) -> str:
    least = f"no log is cut to less than {size_text(LEAST)}"
    if left >= LEAST:
        return f"longer than --max-file-size {size_text(max_file)}, and {least}"
    if left:
        return f"no room: {size_text(left)} of --max-size {size_text(max_size)} left, and {least}"
    return f"no room: --max-size {size_text(max_size)} is used up"


def told_of(shares: Sequence[Share]) -> list[str]:
    """What was not taken, or not as a whole, a sentence each, by instance and path."""
    told = []
    for share in sorted(shares, key=lambda share: (share.file.instance, share.file.path)):
        whose = f"{share.file.instance}: {share.file.name}"
        if share.most is None:
            told.append(f"{whose} left out: {share.why}")
        elif share.most < share.file.size:
            told.append(f"{whose} cut to its last {size_text(share.most)} of {size_text(share.file.size)}")
    return told
