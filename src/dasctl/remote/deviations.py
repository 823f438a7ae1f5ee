"""`deviations`: what differs on an instance from what was synchronised there last. Read only, and without the lock.

What must not live here: the judgement; `compare.py` plans a synchronisation that changes nothing but what deviates.
"""

from __future__ import annotations

import json
from functools import partial

from dasctl.remote import asked, commit, compare, messages, overlay, paths, state, tree, words
from dasctl.remote import handles as by_handle
from dasctl.remote.work import any_of, chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Reply = dict[str, Any]
    Condition = Callable[[bytes], bool]

AREAS = [area.encode() for area in words.AREAS]
MOST_BYTES = 32 << 20  # of the deviations of all instances, as they are told: half of the largest header
ROW_BYTES = 100  # of one besides its path


def answer(header: Reply) -> Reply:
    """Answer a `deviations`."""
    common = messages.common(header)
    requests = messages.instances(header, messages.deviations_instance)
    node = state.node_path(common["dir"])
    most = MOST_BYTES // max(len(requests), 1)
    return {
        "reply": words.DEVIATIONS,
        "instances": [
            asked.safely(item["name"], node, partial(_answer, item, node, most)) for item in requests
        ],
    }


def _answer(request: Reply, node: str, most: int) -> Reply:
    name = request["name"]
    reply = {
        "name": name,
        "verdict": words.DONE,
        "exists": False,
        "at": None,
        "deviations": [],
        "problems": [],
    }
    place = state.open_place(node, name, create=False)
    if place is None:
        return reply
    try:
        kept = state.load(place)
        if kept.newer:
            return {
                "name": name, "verdict": words.REFUSED, "reason": words.NEWER_FORMAT, "message": kept.newer, "at": None,
            }  # fmt: skip
        reply.update(exists=True, at=kept.at, interrupted=commit.interrupted(place))
        reply.update(Look(place, kept, request).told(most))
        return reply
    finally:
        place.close()


class Look:
    """One look at an instance. `deviations` are those of `compare`, foreign files included."""

    def __init__(self, place: state.Place, kept: state.Kept, request: Reply) -> None:
        self.place = place
        self.ancestor = kept.ancestor()
        self.matches = chosen(request["only"], request["except"])
        overridden = kept.overridden()
        keep, excluded = any_of(request["keep"]), any_of(request["excluded"])
        self.keep = None if keep is None else lambda path: keep(path) and path not in overridden
        self.excluded = excluded
        self.problems: list[tuple[bytes, str]] = []
        self.seen = self._seen(request["verify"])
        self.deviations = compare.plan(
            self.ancestor,
            self.ancestor,
            self.seen,
            full=True,
            matches=self.matches,
            excluded=self.excluded,
            keep=self.keep,
        ).deviations

    def _seen(self, verify: bool) -> tree.Seen:
        digests = tree.Digests(self.place.handles)
        keep = self.keep
        read = (
            digests.of
            if keep is None
            else lambda path, status: b"" if keep(path) else digests.of(path, status)
        )
        seen = tree.walk(self.place.handles, AREAS, self.ancestor, read if verify else None)
        for path in compare.questions(self.ancestor, self.ancestor, seen, not verify, self.keep):
            status = by_handle.lstat(self.place.handles, path)
            if status is None:
                continue
            try:
                seen.other[path] = seen.other[path]._replace(digest=digests.of(path, status))
            except OSError as error:
                self.problems.append((path, error.strerror or str(error)))
        self.problems += seen.problems
        return seen

    def told(self, most: int) -> Reply:
        """The keys of the reply: `most` bytes of deviations, and how many `more` there are."""
        found = [(item.path, item.kind) for item in self.deviations]
        found += [(path, words.EXTRA) for path in self._empty_folders()]
        found += [(path, words.OVERRIDDEN) for path in self._overridden()]
        rows = []
        for path, kind in found:
            most -= ROW_BYTES + len(json.dumps(paths.printable(path)))
            if most < 0:
                break
            rows.append(self._row(path, kind))
        reply: Reply = {
            "deviations": rows,
            "problems": [
                {"path": paths.printable(path), "message": message}
                for path, message in sorted(set(self.problems))[:1000]
            ],
        }
        if len(rows) < len(found):
            reply["more"] = len(found) - len(rows)
        return reply

    def _row(self, path: bytes, kind: str) -> Reply:
        entry = self.seen.other.get(path)
        is_file = entry is not None and entry.kind == "f"
        return {
            "path": paths.printable(path), "kind": kind,
            "size": entry.size if entry is not None and is_file else None,
            "modtime": entry.mtime if entry is not None else None,
        }  # fmt: skip

    def _empty_folders(self) -> list[bytes]:
        """Foreign folders in which nothing lies: the others are told by what is in them."""
        told = {
            folder for path in (*self.seen.other, *self.seen.same) for folder in compare.folders_above(path)
        }
        return [
            path
            for path, entry in self.seen.other.items()
            if entry.kind == "d" and path not in self.ancestor and path not in told and self._is_told(path)
        ]

    def _is_told(self, path: bytes) -> bool:
        if path in AREAS or (self.matches is not None and not self.matches(path)):
            return False
        return not any(spares is not None and spares(path) for spares in (self.keep, self.excluded))

    def _overridden(self) -> list[bytes]:
        """What `local/` holds now, folders left out."""
        seen = tree.walk(self.place.handles, overlay.AREAS, {})
        self.problems += seen.problems
        found = []
        for path, entry in sorted(seen.other.items()):
            target = path[len(overlay.LOCAL) :]
            if entry.kind in "fl" and (self.matches is None or self.matches(target)):
                found.append(target)
        return found
