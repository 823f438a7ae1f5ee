"""What is told of one instance's synchronisation (docs/protocol.md, `sync`)."""

from __future__ import annotations

from dasctl.remote import compare, paths, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from dasctl.remote.work import Work

    Reply = dict[str, Any]

MOST_CHANGES = 1000  # of a reply that is not a dry run


def report(work: Work, problems: list[tuple[bytes, str]], aside: str, dry_run: bool) -> Reply:
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
    changes = plan.changes if dry_run else plan.changes[:MOST_CHANGES]
    reply: Reply = {
        "name": work.name,
        "verdict": words.DONE if plan.changes or plan.rmdir else words.UNCHANGED,
        "at": work.kept.at,
        "changed": len(plan.place),
        "touched": len(plan.touch),
        "deleted": sum(1 for _path, why in plan.changes if why == "deleted"),
        "deviations": deviations,
        "changes": [{"path": paths.printable(path), "why": why} for path, why in changes],
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
        reply["hint"] = "look at their owner and mode on the node, then synchronise again"
    return reply


def some(found: Iterable[bytes]) -> str:
    names = [paths.printable(path) for path in found]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
