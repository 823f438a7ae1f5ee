"""What `start`, `stop`, `reload` and `remove` have in common: each instance opened, locked, finished, judged; then, side by
side, whatever the request is about.

What must not live here: what the requests do.
"""

from __future__ import annotations

import os
import queue
import threading
import time

from dasctl.remote import commit, guard, messages, state, words
from dasctl.remote.beats import Beating
from dasctl.remote.state import Failure
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]
    # Goes on with an instance, in a thread of its own; is given what sends a phase.
    Rest = Callable[[Callable[[str], None]], Reply]
    Result = TypeVar("Result")

LOOK_S = 0.05  # how often we look whether the other end is still there


class Asked:
    """One instance of a request, open and judged: it may be worked on. `lock` is held."""

    def __init__(self, request: Reply, node: str, place: state.Place, kept: state.Kept) -> None:
        self.request, self.node, self.place, self.kept = request, node, place, kept


def each(
    link: Link,
    header: Reply,
    before: Callable[[str], None],
    first: Callable[[Asked], Reply | Rest],
) -> tuple[list[Reply | Rest], list[str]]:
    """Open and judge every instance of the request and give it to `first`: its verdict, or how to go on."""
    common = messages.common(header)
    requests = messages.instances(header, messages.guarded)
    node = state.node_path(common["dir"])
    with Beating(link):
        ways = [_one(common, request, node, before, first) for request in requests]
    return ways, [request["name"] for request in requests]


def _one(
    common: Reply,
    request: Reply,
    node: str,
    before: Callable[[str], None],
    first: Callable[[Asked], Reply | Rest],
) -> Reply | Rest:
    def step() -> Reply | Rest:
        place = state.open_place(node, request["name"], create=False, before=before)
        if place is None:
            return _absent(common, request, node)
        try:
            judged = _judged(common, request, place)
            if isinstance(judged, state.Kept):
                return first(Asked(request, node, place, judged))
            place.close()
            return judged
        except BaseException:
            place.close()
            raise

    return safely(request["name"], node, step)


def _absent(common: Reply, request: Reply, node: str) -> Reply:
    if common["op"] in (words.STOP, words.REMOVE):
        return {"name": request["name"], "verdict": words.UNCHANGED, "how": "", "seconds": 0.0}
    if request["expect"] is not None:
        return {"name": request["name"], "verdict": words.STANDS, "at": None, "parts": [], "missing": []}
    raise Failure(
        "there is no instance at %s" % os.path.join(node, request["name"]),
        "synchronise it first: sync-instance %s" % request["name"],
    )


def _judged(common: Reply, request: Reply, place: state.Place) -> state.Kept | Reply:
    place.lock(create=_is_instance(place))
    commit.finish(place)
    kept = state.load(place)
    judged = guard.judge(
        kept.at, newer=kept.newer, domain=common["domain"], epoch=common["epoch"], expect=request["expect"],
        lead=request["lead"], config_id=request["config_id"], local=common["local"],
    )  # fmt: skip
    if judged.verdict is None:
        if not common["local"]:
            state.remember_epoch(place, kept, common["epoch"])
        return kept
    reply: Reply = {"name": request["name"], "verdict": judged.verdict, "at": kept.at}
    if judged.verdict == words.STANDS:
        reply.update(parts=kept.listing, missing=[])
    else:
        reply.update(reason=judged.reason, message=judged.message)
    return reply


def _is_instance(place: state.Place) -> bool:
    from dasctl.remote import handles

    return handles.lstat(place.handles, state.DOT) is not None


def safely(name: str, node: str, step: Callable[[], Result]) -> Result | Reply:
    """The result of `step`, or a verdict `failed`: one instance's failure does not end the others'."""
    try:
        return step()
    except Failure as failure:
        return failed(name, failure.message, failure.hint)
    except OSError as error:
        known = state.explained(error, os.path.join(node, name))
        return failed(name, known.message, known.hint)
    except Gone:
        raise
    except Exception as error:
        import traceback

        traceback.print_exc()
        return failed(name, "%s: %s" % (type(error).__name__, error))


def failed(name: str, message: str, hint: str = "", **further: Any) -> Reply:
    """A verdict `failed`."""
    return {"name": name, "verdict": words.FAILED, "message": message, "hint": hint, **further}


def together(link: Link, node: str, names: list[str], ways: list[Reply | Rest]) -> list[Reply]:
    """Carry out what is left of every instance, side by side; beats go out meanwhile. Raises Gone when the other end is
    gone: what was begun goes on by itself."""
    replies: list[Reply | None] = [None if callable(way) else way for way in ways]
    heard: queue.SimpleQueue[tuple[int, Reply | str]] = queue.SimpleQueue()
    for number, way in enumerate(ways):
        if callable(way):
            threading.Thread(
                target=_work, args=(heard, number, names[number], node, way), daemon=True
            ).start()
    beat = time.monotonic() + words.BEAT_S
    while any(reply is None for reply in replies):
        try:
            number, said = heard.get(timeout=LOOK_S)
        except queue.Empty:
            if link.gone():
                raise Gone from None
        else:
            if isinstance(said, str):
                link.send({"event": "phase", "name": names[number], "phase": said})
            else:
                replies[number] = said
        if time.monotonic() >= beat:
            link.send({"event": "beat"})
            beat = time.monotonic() + words.BEAT_S
    return [reply for reply in replies if reply is not None]


def _work(
    heard: queue.SimpleQueue[tuple[int, Reply | str]], number: int, name: str, node: str, way: Rest
) -> None:
    reply = safely(name, node, lambda: way(lambda phase: heard.put((number, phase))))
    heard.put((number, reply))
