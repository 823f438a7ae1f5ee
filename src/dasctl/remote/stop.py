"""`stop` and `reload`: signals or commands to servers that run.

What lives here: the order of a stop: asked for, awaited, killed. What must not: what a process is (`process.py`).
"""

from __future__ import annotations

import os
import time

from dasctl.remote import asked, definition, process, ready, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]

GRACE_S = 10.0  # where the definition cannot be read
KILL_WAIT_S = 5.0  # how long the kernel may take to end what was killed
RELOAD_WAIT_S = 60.0
POLL_S = 0.02
MOST_POLL_S = 0.2


def answer(link: Link, header: Reply, before: Callable[[str], None]) -> Reply:
    """Answer a `stop` or a `reload`."""
    began = time.monotonic()
    step = _begin_stop if header["op"] == words.STOP else _begin_reload
    ways, names = asked.each(link, header, before, lambda instance: step(instance, began))
    node = state.node_path(header["dir"])
    return {"reply": header["op"], "instances": asked.together(link, node, names, ways)}


def _begin_stop(instance: asked.Asked, began: float) -> Reply | asked.Rest:
    place = instance.place
    record = process.load(place)
    if record is None or not (process.lives(record) or process.members(record)):
        if record is not None and not record.get("stopped") and not instance.request["outdated"]:
            process.save(place, {**record, "stopped": time.time()})  # asked to be down, and it is
        return _left(instance, record)
    if instance.request["outdated"] and not _is_outdated(instance, record):
        return _left(instance, record)
    known = _definition(place)
    # Noted before the first signal: a death that follows was wanted.
    process.save(place, {**record, "stopped": time.time()})
    place.unlock()

    def stop(phase: Callable[[str], None]) -> Reply:
        try:
            phase("stopping")
            reply = _stop(instance, record, known)
            phase("done" if reply["verdict"] != words.FAILED else "failed")
            return {**reply, "seconds": time.monotonic() - began}
        finally:
            place.close()

    return stop


def _is_outdated(instance: asked.Asked, record: process.Record) -> bool:
    return process.lives(record) and definition.outdated(instance.place, instance.kept, record)


def _left(instance: asked.Asked, record: process.Record | None) -> Reply:
    """The reply for a server that is left as it is."""
    instance.place.close()
    return {
        "name": instance.request["name"], "verdict": words.UNCHANGED, "how": "", "seconds": 0.0,
        "state": process.state_of(record),
    }  # fmt: skip


def _definition(place: state.Place) -> definition.Definition | None:
    """The definition, if it can be read: a server must be stopped without it, too."""
    try:
        return definition.load(place)
    except Failure:
        return None


def _stop(instance: asked.Asked, record: process.Record, known: definition.Definition | None) -> Reply:
    request = instance.request
    grace = request["grace"]
    if grace is None:
        grace = GRACE_S if known is None else known.stop_grace_s
    deadline = time.monotonic() + grace
    how, trouble = _ask_to_end(instance, record, known, grace)
    if _gone(record, deadline):
        return {"name": request["name"], "verdict": words.DONE, "how": how}
    if request["kill"]:
        import signal

        process.signal_all(record, signal.SIGKILL)
        if _gone(record, time.monotonic() + KILL_WAIT_S):
            return {"name": request["name"], "verdict": words.DONE, "how": "KILL"}
    _still_runs(instance.place, record)
    return asked.failed(
        request["name"],
        "%sstill running %gs after %s (pid %d)" % (trouble, grace, how, record["pid"]),
        "" if request["kill"] else "stop-instance --kill %s ends it by force" % request["name"],
        how=how,
    )


def _ask_to_end(
    instance: asked.Asked, record: process.Record, known: definition.Definition | None, grace: float
) -> tuple[str, str]:
    """Send the signal or run the command: its name, and what went wrong with it."""
    if known is None or known.stop_kind == "signal":
        name = "TERM" if known is None else known.stop_value.upper()
        process.signal_all(record, process.signal_number(name))
        return (name[3:] if name.startswith("SIG") else name), ""
    environment = {
        **os.environ, **known.own_variables(instance.node, instance.place.path, record),
        "DASCTL_PID": str(record["pid"]),
    }  # fmt: skip
    status = ready.run(known.stop_value, instance.place, environment, max(grace, 1.0))
    if status is None:
        return "command", "the stop command did not end; "
    return "command", "" if status == 0 else "the stop command ended with status %d; " % status


def _still_runs(place: state.Place, record: process.Record) -> None:
    """The stop did not come true: a later death is one of its own accord again."""
    try:
        place.lock()
        current = process.load(place)
        if current is not None and current["pid"] == record["pid"] and current["ticks"] == record["ticks"]:
            current.pop("stopped", None)
            process.save(place, current)
    finally:
        place.unlock()


def _gone(record: process.Record, deadline: float) -> bool:
    pause = POLL_S
    while True:
        process.ended(record["pid"])  # where it is our own child, it must not stay a zombie
        if not process.lives(record) and not process.members(record):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, MOST_POLL_S)


def _begin_reload(instance: asked.Asked, began: float) -> Reply | asked.Rest:
    place, name = instance.place, instance.request["name"]
    record = process.load(place)
    if record is None or not process.lives(record):
        place.close()
        return {"name": name, "verdict": words.UNCHANGED, "seconds": time.monotonic() - began}
    known = definition.load(place)
    if known.reload is None:
        raise Failure("%s has no reload in its config" % name, "restart-instance %s" % name)
    kind, value = known.reload
    place.unlock()

    def reload(phase: Callable[[str], None]) -> Reply:
        try:
            _reload(instance, record, known, kind, value)
            return {"name": name, "verdict": words.DONE, "seconds": time.monotonic() - began}
        finally:
            place.close()

    return reload


def _reload(
    instance: asked.Asked, record: process.Record, known: definition.Definition, kind: str, value: str
) -> None:
    if kind == "signal":
        number = process.signal_number(value)
        if not process.lives(record):
            raise Failure("%s is not running" % instance.request["name"])
        os.kill(record["pid"], number)
        return
    environment = {
        **os.environ, **known.own_variables(instance.node, instance.place.path, record),
        "DASCTL_PID": str(record["pid"]),
    }  # fmt: skip
    status = ready.run(value, instance.place, environment, RELOAD_WAIT_S)
    if status != 0:
        ending = (
            "did not end within %gs" % RELOAD_WAIT_S if status is None else "ended with status %d" % status
        )
        raise Failure("the reload command %s" % ending, "see logs/server.log on the node")
