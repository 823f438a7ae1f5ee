"""`start`: bring servers up, and say how that went.

What lives here: one start, from the record of before to ready or failed. What must not: what a process is (`process.py`),
what ready means (`ready.py`).
"""

from __future__ import annotations

import os
import time

from dasctl.remote import asked, definition, process, ready, release, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]

POLL_FIRST_S = 0.05
POLL_MOST_S = 0.5
DEATH_S = 0.02  # how often we look whether the server died: that is one system call
LAST_LINES = 20
MOST_LINE = 2000  # characters of a line of the log


def start(link: Link, header: Reply, before: Callable[[str], None]) -> Reply:
    """Answer a `start`."""
    began = time.monotonic()
    # All servers are forked before the first thread is made: a fork among threads may hang in the child.
    ways, names = asked.each(link, header, before, lambda instance: _begin(instance, began))
    node = state.node_path(header["dir"])
    return {"reply": words.START, "instances": asked.together(link, node, names, ways)}


def _begin(instance: asked.Asked, began: float) -> Reply | asked.Rest:
    place, name = instance.place, instance.request["name"]
    record = process.load(place)
    if record is not None:
        current = process.state_of(record)
        if current == words.RUNNING or (current == words.STARTING and not instance.request["wait"]):
            place.close()
            return _unchanged(name, record)
        if current == words.STARTING:
            return _awaiting(instance, definition.load(place), record, began)
    known = definition.load(place)
    return _spawned(instance, known, began)


def _unchanged(name: str, record: process.Record) -> Reply:
    return {
        "name": name, "verdict": words.UNCHANGED, "pid": record["pid"], "since": record.get("since"), "seconds": 0.0,
        "release": record.get("release"),
    }  # fmt: skip


def _environment(
    instance: asked.Asked, known: definition.Definition, record: process.Record
) -> dict[str, str]:
    return {**os.environ, **known.own_variables(instance.node, instance.place.path, record)}


def _check(instance: asked.Asked, known: definition.Definition, record: process.Record) -> ready.Check:
    value = known.ready_value
    environment = _environment(instance, known, record)
    if known.ready_kind != "command":
        value = known.placed(
            value, instance.node, instance.place.path, environment.get("DASCTL_NODE_SOFTWARE")
        )
    return ready.Check(known.ready_kind, value, instance.place, environment)


def _spawned(instance: asked.Asked, known: definition.Definition, began: float) -> Reply | asked.Rest:
    place = instance.place
    record: process.Record = _noted_release(instance, known)
    check = _check(instance, known, record)
    files = definition.files_digest(place, instance.kept, known.restart_on)
    state.furnish(place)

    def remember(pid: int, offset: int) -> None:
        found = process.stat_of(pid)
        record.update(
            pid=pid, ticks=found.ticks if found is not None else 0, boot=process.boot_id(), since=time.time(),
            ready=False, log=offset, definition=known.digest(), files=files, strangers=check.noted(),
        )  # fmt: skip
        process.save(place, record)

    process.spawn(place, known.start, _environment(instance, known, record), remember)
    pid = record["pid"]
    check.offset = record["log"]
    if not instance.request["wait"]:
        name = instance.request["name"]
        place.close()
        return {
            "name": name, "verdict": words.DONE, "pid": pid, "since": record["since"],
            "seconds": time.monotonic() - began, "release": record.get("release"),
        }  # fmt: skip
    return _waiting(instance, known, record, check, began)


def _noted_release(instance: asked.Asked, known: definition.Definition) -> process.Record:
    """Which release of software the server is started with. Raises Failure where it needs one and there is none."""
    found: process.Record = release.noted(instance.node)
    if found["software"] is None and known.needs_release():
        link = os.path.join(instance.node, words.SOFTWARE, release.CURRENT)
        at = "leads to %s, which is no folder" % found["release"] if found["release"] else "is missing"
        raise Failure(
            "its config names ${node.software}, but %s %s" % (link, at),
            "dasctl install-node %s --archive FILE --version V, or upgrade-node to another release"
            % known.node,
        )
    return found


def _awaiting(
    instance: asked.Asked, known: definition.Definition, record: process.Record, began: float
) -> asked.Rest:
    """Somebody else started it, or we did and lost the link: wait for it to be ready, like after a start of our own."""
    check = _check(instance, known, record)
    check.recall(record)
    return _waiting(instance, known, record, check, began)


def _waiting(
    instance: asked.Asked,
    known: definition.Definition,
    record: process.Record,
    check: ready.Check,
    began: float,
) -> asked.Rest:
    instance.place.unlock()  # a stop must get through while we wait

    def wait(phase: Callable[[str], None]) -> Reply:
        try:
            phase("starting")
            reply = _wait(instance, known, record, check)
            phase("ready" if reply["verdict"] != words.FAILED else "failed")
            return {**reply, "seconds": time.monotonic() - began}
        finally:
            instance.place.close()

    return wait


def _wait(
    instance: asked.Asked, known: definition.Definition, record: process.Record, check: ready.Check
) -> Reply:
    name = instance.request["name"]
    started = time.monotonic()
    deadline = started + known.ready_timeout_s
    pause = POLL_FIRST_S
    while True:
        ended = _ended(record)
        if ended is not None:
            return _died(instance, known, record, ended)
        now = time.monotonic()
        if check.passes(now - started, deadline - now):
            ended = _ended(record)
            if ended is not None:
                return _died(instance, known, record, ended)
            _remember(instance.place, record, {"ready": True})
            return {
                "name": name, "verdict": words.DONE, "pid": record["pid"], "since": record.get("since"),
                "release": record.get("release"),
            }  # fmt: skip
        if time.monotonic() >= deadline:
            return _late(instance, known, record, check)
        ended = _sleep(record, min(pause, max(0.0, deadline - time.monotonic())))
        if ended is not None:
            return _died(instance, known, record, ended)
        pause = min(pause * 1.5, POLL_MOST_S)


def _ended(record: process.Record) -> dict[str, int] | None:
    """How the server ended; {} where it did and nobody knows how; None while it runs."""
    ended = process.ended(record["pid"])
    if ended == {} and process.lives(record):
        return None  # it is not our child
    return ended


def _sleep(record: process.Record, seconds: float) -> dict[str, int] | None:
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(DEATH_S, left))
        ended = _ended(record)
        if ended is not None:
            return ended


def _died(
    instance: asked.Asked, known: definition.Definition, record: process.Record, ended: dict[str, int]
) -> Reply:
    if _remember(instance.place, record, {"exit": ended or None}) is None:
        return asked.failed(instance.request["name"], "stopped by another command while it started")
    if "signal" in ended:
        how = "was killed by signal %d" % ended["signal"]
    elif "status" in ended:
        how = "ended with exit status %d" % ended["status"]
    else:
        how = "ended"
    if ended.get("status") == 0:
        how += "; a start command has to stay in the foreground"
    return asked.failed(
        instance.request["name"],
        "the server %s while it was starting" % how,
        "",  # the command to run by hand says it all
        exit=ended or None,
        log=_last_lines(instance.place, record),
        by_hand=known.by_hand(instance.node, instance.place.path),
    )


def _late(
    instance: asked.Asked, known: definition.Definition, record: process.Record, check: ready.Check
) -> Reply:
    message = "not ready within %gs; it still runs as pid %d" % (known.ready_timeout_s, record["pid"])
    if check.occupied() and check.address is not None:
        message += "; another process listens on port %d" % check.address[1]
    return asked.failed(
        instance.request["name"],
        message,
        "see its last lines; stop-instance %s ends it" % instance.request["name"],
        exit=None,
        log=_last_lines(instance.place, record),
        by_hand=known.by_hand(instance.node, instance.place.path),
        pid=record["pid"],
    )


def _remember(place: state.Place, record: process.Record, news: dict[str, Any]) -> process.Record | None:
    """Add `news` to the record on disk, if it is still about this process and nobody stopped it meanwhile."""
    place.lock()
    try:
        current = process.load(place)
        if current is None or (current["pid"], current["ticks"]) != (record["pid"], record["ticks"]):
            return None
        if current.get("stopped"):
            return None
        current.update(news)
        process.save(place, current)
        return current
    except Failure:
        return record  # a busy lock: the next look finds out
    finally:
        place.unlock()


def _last_lines(place: state.Place, record: process.Record) -> list[str]:
    lines = ready.written_since(place, int(record.get("log", 0))).splitlines()
    return [line[:MOST_LINE] for line in lines[-LAST_LINES:]]
