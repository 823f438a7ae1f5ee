"""A dump as a person reads it: sections with headings, the likeliest troubles first.

What lives here: the words. Everything in a dump came from a node, so every value is taken for what it may be. What must not:
escaping for terminals (`cli` does that), files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dasctl.core.sizes import size_text

Dump = Mapping[str, Any]
CLOCK_TOLERANCE_S = 5.0
NEARLY = 0.9  # of a limit that is used: worth a warning


def lines(instance: str, dump: Dump) -> Iterator[str]:
    """All lines of one instance's dump. Values of a wrong kind are shown as they are, not judged."""
    node = _table(dump, "machine")
    yield f"=== {instance} on node {dump.get('node', '')}: {dump.get('state', 'unknown')}"
    yield from (f"!!! {words}" for words in warnings(dump))
    for title, found in (
        ("where", _where(dump)),
        ("node", _node(node)),
        ("disk", _disk(_table(dump, "disk"))),
        ("processes", _processes(_rows(dump, "processes"))),
        ("sockets", _sockets(dump)),
        ("open files", _files(_rows(dump, "files"))),
        ("limits", _limits(_rows(dump, "limits"))),
        ("environment (names only)", _wrapped(dump.get("environment") or ())),
        ("deviations", _deviations(dump)),
        ("logs", _logs(dump.get("logs") or ())),
        ("last lines of logs/server.log", [str(line) for line in dump.get("log") or ()]),
        ("the config's own dump command", _command(dump.get("command"))),
        ("could not be looked at", [str(problem) for problem in dump.get("troubles") or ()]),
    ):
        body = list(found)
        if body:
            yield ""
            yield f"--- {title}"
            yield from body


def warnings(dump: Dump) -> Iterator[str]:
    """What is probably wrong, a sentence each."""
    node, disk = _table(dump, "machine"), _table(dump, "disk")
    clock = dump.get("clock_difference_s")
    if isinstance(clock, int | float) and abs(clock) > CLOCK_TOLERANCE_S:
        yield f"the node's clock is off by {clock:+.1f} s"
    if disk.get("read_only"):
        yield "its file system is read-only"
    for have, left, what in (("size", "free", "disk is full"), ("files", "files_free", "inodes are used up")):
        known = _is_number(disk.get(have)) and disk[have] and _is_number(disk.get(left))
        if known and disk[left] < disk[have] * (1 - NEARLY):
            yield f"the {what} to {100 - 100 * disk[left] / disk[have]:.0f}%"
    memory = _table(node, "memory")
    known = _is_number(memory.get("total")) and _is_number(memory.get("available"))
    if known and memory["available"] < memory["total"] * (1 - NEARLY):
        yield f"memory is short: {_size(memory['available'])} of {_size(memory['total'])} available"
    for row in _rows(dump, "files"):
        count, limit = row.get("count"), row.get("limit")
        if _is_number(count) and _is_number(limit) and limit and count > limit * NEARLY:
            yield f"pid {row.get('pid')} has {count} of at most {limit} files open"
    for row in _rows(dump, "files"):
        gone = sum(str(item[-1]).endswith(" (deleted)") for item in row.get("open") or ())
        if gone:
            yield f"pid {row.get('pid')} has {gone} deleted files open: their room is free when it lets them go"
    strays = [row.get("pid") for row in _rows(dump, "processes") if row.get("stray")]
    if strays:
        pids = ", ".join(str(pid) for pid in strays)
        yield f"started for this instance, and not of its server: pid {pids}"
    if dump.get("interrupted"):
        yield "an interrupted commit waits to be finished: synchronise"


def _where(dump: Dump) -> Iterator[str]:
    yield f"folder       {dump.get('dir', '')}"
    at = dump.get("at")
    if isinstance(at, Mapping):
        who = f"{at.get('who', '')} on {at.get('host', '')}" if at.get("who") else "unknown"
        yield f"revision     {at.get('revision')} of {_moment(at.get('when'))} by {who}: {at.get('command', '')}"
        number = at.get("config_id")
        config_id = f"{number:08x}" if isinstance(number, int) else number
        yield f"epoch        {at.get('epoch')}, config id {config_id}, digest {str(at.get('digest'))[:12]}"
    else:
        yield "revision     none: never synchronised"
    record = _table(dump, "record")
    for key in ("pid", "since", "ready", "stopped", "exit"):
        if record.get(key) not in (None, ""):
            value = _moment(record[key]) if key in ("since", "stopped") else record[key]
            yield f"{key:<12} {'yes' if value is True else value}"
    last = _table(dump, "last_run")
    if last:
        yield f"last run     {', '.join(_last_run(last))}"


def _last_run(last: Dump) -> Iterator[str]:
    yield f"pid {last.get('pid')} since {_moment(last.get('since'))}"
    yield "was ready" if last.get("ready") is True else "never ready"
    if last.get("stopped") not in (None, "", False):
        yield "stopped" if last["stopped"] is True else f"stopped {_moment(last['stopped'])}"
    ended = " and ".join(f"{key} {value}" for key, value in _table(last, "exit").items())
    if ended:
        yield f"exit {ended}"


def _node(node: Dump) -> Iterator[str]:
    if not node:
        return
    python = ".".join(str(number) for number in node.get("python") or ())
    yield f"host         {node.get('host')}, {node.get('kernel')}, python {python}"
    clock = node.get("clock_difference_s")
    off = f", off by {clock:+.3f} s from the DAS" if _is_number(clock) else ""
    yield f"time         {_moment(node.get('time'))}{off}; up {_duration(node.get('up'))}"
    load = " ".join(str(one) for one in node.get("load") or ())
    yield f"load         {load} on {node.get('cpus')} CPUs"
    memory = _table(node, "memory")
    yield (
        f"memory       {_size(memory.get('available'))} of {_size(memory.get('total'))} available; swap "
        f"{_size(memory.get('swap_free'))} of {_size(memory.get('swap'))} free"
    )
    if node.get("pressure"):
        found = ", ".join(f"{key} {value}%" for key, value in _table(node, "pressure").items())
        yield f"pressure     {found} of the last minute waited for"
    if node.get("out_of_memory"):
        yield f"             {node['out_of_memory']} processes were ended since the boot because memory was out"


def _disk(disk: Dump) -> Iterator[str]:
    if disk:
        mode = ", read-only" if disk.get("read_only") else ""
        yield f"{disk.get('path')}: {_size(disk.get('free'))} of {_size(disk.get('size'))} free{mode}"
        yield f"inodes: {disk.get('files_free')} of {disk.get('files')} free"


def _processes(rows: Sequence[Dump]) -> Iterator[str]:
    if not rows:
        yield "none"
        return
    depths: dict[Any, int] = {}
    yield f"{'pid':>8} {'ppid':>8} S {'threads':>7} {'rss':>9} {'cpu':>10}  {'since':<20} command"
    for row in rows:
        depth = depths[row.get("pid")] = depths.get(row.get("ppid"), -1) + 1
        mark = "(stray) " if row.get("stray") else ""
        wait = f"  [{row['wait']}]" if row.get("wait") and row.get("state") == "D" else ""
        yield (
            f"{row.get('pid')!s:>8} {row.get('ppid')!s:>8} {row.get('state')} {row.get('threads')!s:>7} "
            f"{_size(row.get('rss')):>9} {_duration(row.get('cpu')):>10}  {_moment(row.get('since')):<20} "
            f"{'  ' * depth}{mark}{row.get('command')}{wait}"
        )


def _sockets(dump: Dump) -> Iterator[str]:
    if not dump.get("processes"):
        return
    for row in dump.get("listening") or ():
        match row:
            case [address, port, pid, queue]:
                waiting = f", {queue} waiting to be accepted" if queue else ""
                yield f"listening    {address}:{port} (pid {pid}){waiting}"
    for row in dump.get("peers") or ():
        match row:
            case [peer, state, count]:
                yield f"{state!s:<12} {count!s:>5} with {peer}"
    yield (
        f"in all: {dump.get('sockets')}; {_size(dump.get('unread'))} came and were not read, "
        f"{_size(dump.get('unsent'))} were not yet sent"
    )


def _files(rows: Sequence[Dump]) -> Iterator[str]:
    for row in rows:
        yield f"pid {row.get('pid')}: {row.get('count')} of at most {row.get('limit')}"
        for item in row.get("open") or ():
            match item:
                case [number, target]:
                    yield f"  {number!s:>5} {target}"


def _limits(rows: Sequence[Dump]) -> Iterator[str]:
    for row in rows:
        yield f"{row.get('name')!s:<26} {row.get('soft')!s:<12} {row.get('hard')!s:<12} {row.get('unit')}".rstrip()


def _deviations(dump: Dump) -> Iterator[str]:
    if dump.get("at") and not dump.get("deviations"):
        yield "none"
    for row in _rows(dump, "deviations"):
        yield f"{row.get('kind')!s:<11} {row.get('path')}"
    if dump.get("more"):
        yield f"and {dump['more']} more"


def _logs(rows: Sequence[Any]) -> Iterator[str]:
    for row in rows:
        match row:
            case [path, size, mtime]:
                yield f"{_size(size):>9}  {_moment(mtime)}  {path}"


def _command(said: Any) -> Iterator[str]:
    if not isinstance(said, Mapping):
        return
    ended = " and ".join(f"{key} {value}" for key, value in _table(said, "exit").items())
    late = ", ended at its time limit" if said.get("late") else ""
    yield (
        f"({ended}{late}, {said.get('seconds', 0):.2f} s)"
        if _is_number(said.get("seconds"))
        else f"({ended})"
    )
    for key in ("out", "err"):
        if said.get(key):
            yield from str(said[key]).removesuffix("\n").split("\n")


def _wrapped(words: Sequence[Any]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + len(str(word)) > 110:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    if line:
        yield line


def _table(values: Mapping[str, Any], key: str) -> Dump:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _rows(values: Mapping[str, Any], key: str) -> list[Dump]:
    found = values.get(key)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: Any) -> str:
    return size_text(int(value)) if _is_number(value) else "?"


def _duration(value: Any) -> str:
    if not _is_number(value):
        return "?"
    if value < 60:
        return f"{value:.2f} s"
    whole = int(value)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m" if whole < 172_800 else f"{whole // 86_400} days"


def _moment(value: Any) -> str:
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"
