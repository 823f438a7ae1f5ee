"""Instances opened for a request that neither changes what dasctl keeps there nor takes the lock.

What lives here: opening, and the rows of the guard's table that hold for such a request: another domain's folder is nobody
else's business, and a DAS that was fenced runs nothing there any more. What must not: what the requests do.
"""

from __future__ import annotations

import os
from functools import partial

from dasctl.remote import asked, guard, state
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Reply = dict[str, Any]
    Result = TypeVar("Result")
    # Is given the node's directory, the open instance, what is known of it, and its part of the request.
    Visit = Callable[[str, state.Place, state.Kept, Reply], Result]


def each(common: Reply, requests: list[Reply], visit: Visit[Result]) -> list[Result | Reply]:
    """What `visit` makes of every instance, or the verdict that says why there is nothing to be made."""
    node = state.node_path(common["dir"])
    return [
        asked.safely(request["name"], node, partial(_one, common, request, node, visit))
        for request in requests
    ]


def _one(common: Reply, request: Reply, node: str, visit: Visit[Result]) -> Result | Reply:
    place = state.open_place(node, request["name"], create=False)
    if place is None:
        raise Failure(
            "there is no instance at %s" % os.path.join(node, request["name"]),
            "synchronise it first: sync-instance %s" % request["name"],
        )
    try:
        kept = state.load(place)
        judged = _judged(common, kept)
        if judged.verdict is not None:
            return {
                "name": request["name"], "verdict": judged.verdict, "at": kept.at,
                "reason": judged.reason, "message": judged.message,
            }  # fmt: skip
        return visit(node, place, kept, request)
    finally:
        place.close()


def _judged(common: Reply, kept: state.Kept) -> guard.Judgement:
    """Wherever the instance stands, it is where it was expected: nothing is led anywhere."""
    expect = None if kept.at is None else [kept.at["revision"], kept.at["digest"]]
    return guard.judge(
        kept.at, newer=kept.newer, domain=common["domain"], epoch=common["epoch"], expect=expect, lead=None,
        config_id=None, local=common["local"],
    )  # fmt: skip
