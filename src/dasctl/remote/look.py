"""`look`: where instances stand and how their servers are. Read only.

What must not live here: judging by domain or revision; the DAS does that.
"""

from __future__ import annotations

import os
from functools import partial

from dasctl.remote import asked, commit, messages, release, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Reply = dict[str, Any]

PROBE_S = 2.0  # how long the one try of a ready check may take


def look(header: Reply) -> Reply:
    """Answer a `look`."""
    common = messages.common(header)
    requests = messages.instances(header, messages.look_instance)
    node = state.node_path(common["dir"])
    return {
        "reply": words.LOOK,
        "instances": [
            asked.safely(item["name"], node, partial(_look, item["name"], node, common["probe"]))
            for item in requests
        ],
    }


def _look(name: str, node: str, probe: bool) -> Reply:
    place = state.open_place(node, name, create=False)
    if place is None:
        return {**_nothing(name), "free": _free(node), "current": release.link_of(node)}
    try:
        kept = state.load(place)
        if kept.newer:
            return {
                "name": name, "verdict": words.REFUSED, "reason": words.NEWER_FORMAT, "message": kept.newer, "at": None,
            }  # fmt: skip
        return {
            **_nothing(name), "exists": True, "at": kept.at, "parts": kept.listing, "current": release.link_of(node),
            "interrupted": commit.interrupted(place), "free": _free(place.path), **_server(place, kept, node, probe),
        }  # fmt: skip
    finally:
        place.close()


def _nothing(name: str) -> Reply:
    return {
        "name": name, "verdict": words.DONE, "exists": False, "at": None, "parts": [], "state": words.NOT_RUNNING,
        "pid": None, "since": None, "ready": False, "requires_restart": False, "exit": None, "interrupted": False,
    }  # fmt: skip


def _free(path: str) -> int:
    """Bytes free where the nearest folder of `path` that exists lies."""
    while True:
        try:
            found = os.statvfs(path)
            return found.f_bavail * found.f_frsize
        except OSError:
            if path in ("/", ""):
                return 0
            path = os.path.dirname(path)


def _server(place: state.Place, kept: state.Kept, node: str, probe: bool) -> Reply:
    from dasctl.remote import definition, process

    record = process.load(place)
    if record is None:
        return {}
    current = process.state_of(record)
    if current == words.STARTING and probe and _is_ready(place, record, node):
        current = words.RUNNING
    if current == words.SERVER_FAILED:
        return {"state": current, "since": record.get("since"), "exit": record.get("exit")}
    if current == words.NOT_RUNNING:
        return {"state": current}
    return {
        "state": current, "pid": record["pid"], "since": record.get("since"), "ready": current == words.RUNNING,
        "requires_restart": definition.outdated(place, kept, record), "release": record.get("release"),
    }  # fmt: skip


def _is_ready(place: state.Place, record: Reply, node: str) -> bool:
    import time

    from dasctl.remote import definition, process, ready

    try:
        known = definition.load(place)
        value = known.ready_value
        if known.ready_kind != "command":
            value = known.placed(value, node, place.path, release.of(record, node))
        environment = {**os.environ, **known.own_variables(node, place.path, record)}
        check = ready.Check(known.ready_kind, value, place, environment)
        check.recall(record)
        return check.passes(time.time() - float(record.get("since", 0)), PROBE_S) and process.lives(record)
    except (Failure, OSError, ValueError, TypeError):
        return False
