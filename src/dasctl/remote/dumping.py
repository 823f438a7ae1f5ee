"""`dump`: all that a person needs to understand a server that misbehaves, as it is now, alive or dead.

What lives here: what is asked of whom. What must not: reading /proc (`proc.py`). What cannot be looked at is told among the
`troubles`, and the rest is told all the same. Of variables only the names are: values hold secrets.
"""

from __future__ import annotations

import os
import time

from dasctl.remote import handles as by_handle
from dasctl.remote import (
    log_files,
    machine,
    messages,
    paths,
    proc,
    process,
    run,
    state,
    visiting,
    words,
)
from dasctl.remote.beats import Beating
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]

MOST_SAID = 1 << 20  # bytes that the config's own command says, of all instances of a request
MOST_LINES = 10_000
MOST_LINE = 4096  # characters of a line of the log
MOST_TEXT = 8 << 20  # characters of the last lines of all instances
MOST_PEERS = 50
MOST_LOGS = 50
MOST_DEVIATIONS = 200


def dump(link: Link, header: Reply) -> Reply:
    """Answer a `dump`."""
    common = messages.common(header)
    requests = messages.instances(header, _instance)
    share = max(1, len(requests))
    with Beating(link):
        look = Look(share)
        found = visiting.each(common, requests, look.instance)
        node = machine.facts(state.node_path(common["dir"]))
    commands = [item.command for item in found if isinstance(item, Dump) and item.command is not None]
    run.carry_out(link, commands)
    node["time"] = time.time()  # the DAS compares it with the moment at which it hears this
    return {
        "reply": words.DUMP,
        "node": node,
        "instances": [item.told() if isinstance(item, Dump) else item for item in found],
    }


def _instance(item: Reply) -> Reply:
    command = messages.optional(item, "command", str)
    lines = messages.optional(item, "lines", int, 50)
    if not 0 <= lines <= MOST_LINES:
        raise messages.BadMessage("lines: %d" % lines)
    checked = {**messages.deviations_instance(item), "lines": lines, "command": None}
    if command is not None:
        checked["command"] = run.checked({**item, "most": MOST_SAID})
    return checked


class Dump:
    """What was found of one instance; and the config's own command, which says the rest."""

    def __init__(self, reply: Reply, command: run.Command | None) -> None:
        self._reply, self.command = reply, command

    def told(self) -> Reply:
        if self.command is not None:
            said = self.command.reply
            if said["verdict"] == words.FAILED:
                self._reply["troubles"].append("dump command: " + said["message"])
            else:
                kept = ("exit", "out", "err", "more", "seconds", "late", "left")
                self._reply["command"] = {key: said[key] for key in kept}
        return self._reply


class Look:
    """Looks at instances; the machine's processes are looked at once for all of them."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._processes = proc.Processes()

    def instance(self, node: str, place: state.Place, kept: state.Kept, request: Reply) -> Dump:
        problems: list[str] = []
        reply: Reply = {"name": request["name"], "verdict": words.DONE, "at": kept.at, "dir": place.path}

        def section(name: str, look: Callable[[], Reply]) -> None:
            try:
                reply.update(look())
            except Failure as failure:
                problems.append("%s: %s" % (name, failure.message))
            except (OSError, ValueError, KeyError, TypeError) as error:
                problems.append("%s: %s" % (name, error))

        record: Reply = {}
        section("process record", lambda: record.update(process.load(place) or {}) or _state_of(record))
        section("processes", lambda: self._server(record, place.path, problems))
        section("disk", lambda: {"disk": machine.disk(place.path)})
        section("logs", lambda: self._logs(place, request["lines"], problems))
        section("deviations", lambda: _deviations(place, kept, request))
        reply["troubles"] = problems
        return Dump(reply, self._command(node, place, request, problems))

    def _command(
        self, node: str, place: state.Place, request: Reply, problems: list[str]
    ) -> run.Command | None:
        if request["command"] is None:
            return None
        try:
            variables = run.environment(node, place)
        except (Failure, OSError) as error:
            problems.append("dump command: %s" % error)
            return None
        return run.Command(request["command"], place.path, variables, MOST_SAID // (2 * self._share))

    def _server(self, record: Reply, folder: str, problems: list[str]) -> Reply:
        rows = self._processes.of(record or None, folder)
        pids = [row["pid"] for row in rows]
        files, inodes, hidden = proc.open_files(pids)
        for pid in hidden:
            problems.append("open files: those of pid %d are another user's" % pid)
        found: Reply = {"processes": rows, "files": files, "limits": [], "environment": []}
        if pids:
            found["limits"] = proc.limits(pids[0])
            found["environment"] = proc.environment_names(pids[0])
            found.update(_sockets(proc.tcp(pids[0], inodes), len(inodes)))
        else:
            found.update(_sockets([], 0))
        return found

    def _logs(self, place: state.Place, lines: int, problems: list[str]) -> Reply:
        handles = by_handle.Handles(place.root)
        try:
            found, troubles = log_files.files(handles, lambda path: True)
            problems += ["%s: %s" % (item["path"], item["message"]) for item in troubles]
            newest = sorted(found, key=lambda one: -one.status.st_mtime_ns)[:MOST_LOGS]
            return {
                "logs": [
                    [paths.printable(one.path), one.status.st_size, one.status.st_mtime] for one in newest
                ],
                "log": _last_lines(handles, lines, MOST_TEXT // self._share),
            }
        finally:
            handles.forget()


def _state_of(record: Reply) -> Reply:
    """The process record without what only the helper needs."""
    told = {
        key: record[key] for key in ("pid", "since", "ready", "stopped", "exit", "software") if key in record
    }
    return {"state": process.state_of(record or None), "record": told or None}


def _sockets(rows: list[Reply], number: int) -> Reply:
    """TCP as a person reads it: who listens, how many talk to whom, in which states they are."""
    listening = [row for row in rows if row["state"] == "listening"]
    peers: dict[tuple[str, str], int] = {}
    for row in rows:
        if row["state"] != "listening":
            key = ("%s" % row["peer"][0], row["state"])
            peers[key] = peers.get(key, 0) + 1
    ranked = sorted(peers.items(), key=lambda item: (-item[1], item[0]))
    return {
        "listening": [[*row["local"], row["pid"], row["unread"]] for row in listening],
        "peers": [[peer, kind, count] for (peer, kind), count in ranked[:MOST_PEERS]],
        "sockets": number,
        "unread": sum(row["unread"] for row in rows if row["state"] != "listening"),
        "unsent": sum(row["unsent"] for row in rows if row["state"] != "listening"),
    }


def _last_lines(handles: by_handle.Handles, lines: int, most: int) -> list[str]:
    """The last lines of server.log."""
    try:
        handle = by_handle.open_file(handles, process.LOG)
    except OSError as error:
        if by_handle.absent(error):
            return []
        raise
    try:
        size = os.fstat(handle).st_size
        at = max(log_files.start_of_last(handle, size, lines), size - most)
        cutter, found = log_files.Lines(), []
        while at < size:
            piece = os.pread(handle, min(log_files.BLOCK, size - at), at)
            if not piece:
                break
            at += len(piece)
            found += cutter.taken(piece)
        found += cutter.rest()
        return [log_files.text(line[:MOST_LINE]) for line, _cut in found[-lines:]] if lines else []
    finally:
        os.close(handle)


def _deviations(place: state.Place, kept: state.Kept, request: Reply) -> Reply:
    from dasctl.remote import commit, deviations

    told = deviations.Look(place, kept, request).told(1 << 20)
    rows = [{"path": row["path"], "kind": row["kind"]} for row in told["deviations"]]
    return {
        "deviations": rows[:MOST_DEVIATIONS],
        "more": told.get("more", 0) + max(0, len(rows) - MOST_DEVIATIONS),
        "interrupted": commit.interrupted(place),
    }
