"""What is told of one instance's synchronisation (docs/protocol.md, `sync`)."""

from __future__ import annotations

from dasctl.remote import compare, paths, words
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from dasctl.remote.work import Work

    Reply = dict[str, Any]

MOST_CHANGES = 1000  # of a reply that is neither a dry run nor asked for all
MOST_ASKED = 100_000  # of one that is: with paths of 200 bytes still a third of the largest header


def report(work: Work, problems: list[tuple[bytes, str]], aside: str, most: int = MOST_CHANGES) -> Reply:
    """The reply `done` or `unchanged`, or `failed` where there are problems; at most `most` changes are named."""
    plan = work.plan
    deviations = [
        {
            "path": paths.printable(item.path), "kind": item.kind, "action": item.action,
            "aside": aside + "/" + paths.printable(item.path) if item.aside and aside else None,
        }
        for item in plan.deviations
    ]  # fmt: skip
    deviations += [
        {"path": paths.printable(path), "kind": words.OVERRIDDEN, "action": compare.KEPT, "aside": None}
        for path in work.overlay.files()
    ]
    reply: Reply = {
        "name": work.name,
        "verdict": words.DONE if plan.changes or plan.rmdir else words.UNCHANGED,
        "at": work.kept.at,
        **counts(work),
        "deviations": deviations,
        **changes(work, most),
        "problems": [
            {"path": paths.printable(path), "message": message}
            for path, message in [*work.seen.problems, *work.overlay.problems, *problems][:MOST_CHANGES]
        ],
    }
    if problems:
        reply["verdict"] = words.FAILED
        told = ["%s: %s" % (paths.printable(path), message) for path, message in problems[:3]]
        more = ["and %d more" % (len(problems) - 3)] if len(problems) > 3 else []
        reply["message"] = "could not be changed: " + "; ".join(told + more)
        reply["hint"] = _remedy(message for _path, message in problems)
    return reply


def _remedy(messages: Iterable[str]) -> str:
    import errno

    if not {os.strerror(errno.EBUSY), os.strerror(errno.EXDEV)}.isdisjoint(messages):
        return "something is mounted there: unmount it, or exclude the folder in domain.yaml; then synchronise again"
    return "look at their owner and mode on the node, then synchronise again"


def counts(work: Work) -> dict[str, int]:
    """What is done, or to be done, in numbers."""
    plan = work.plan
    return {
        "changed": len(plan.place),
        "touched": len(plan.touch),
        "deleted": sum(1 for _path, why in plan.changes if why == "deleted"),
        "copied": len(work.origins),
    }


def changes(work: Work, most: int) -> Reply:
    """What changes: `changes`, at most `most` of them, and `more`, how many others there are."""
    found: Reply = {"changes": _changes(work, most)}
    if len(work.plan.changes) > most:
        found["more"] = len(work.plan.changes) - most
    return found


def _changes(work: Work, most: int) -> list[Reply]:
    digests = {entry.path: entry.digest for entry in work.plan.place} if work.origins else {}
    told = []
    for path, why in work.plan.changes[:most]:
        change = {"path": paths.printable(path), "why": why}
        source = work.origins.get(digests.get(path, b""))
        if source is not None:
            change["from"] = source
        told.append(change)
    return told


def some(found: Iterable[bytes]) -> str:
    names = [paths.printable(path) for path in found]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
