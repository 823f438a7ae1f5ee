"""One instance of a `sync` on its way: what was asked, what was found, what became of it.

What lives here: the value that the steps of a synchronisation hand on. What must not: the steps (`sync.py` and its helpers).
"""

from __future__ import annotations

from dasctl.remote import compare, guard, manifest, overlay, paths, state, tree, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from typing import Any

    from dasctl.remote.fresh import Fresh
    from dasctl.remote.shifting import Shift

    Reply = dict[str, Any]
    Condition = Callable[[bytes], bool]


class Work:
    """One instance of a request, from its opening to its verdict."""

    def __init__(self, request: Reply) -> None:
        self.request = request
        self.name: str = request["name"]
        self.areas: tuple[str, ...] = (words.RELEASES,) if request.get("software") else words.AREAS
        self.place: state.Place | None = None
        self.digests: tree.Digests | None = None
        self.kept = state.Kept()
        self.reply: Reply | None = None
        self.needs: list[bytes] = []
        self.lacks_space = False
        self.sizes: dict[bytes, int] = {}
        # Contents that are on the node already: in which file, for people.
        self.origins: dict[bytes, str] = {}
        # Known once the parts are resolved and compared:
        self.parts: list[tuple[str, str, bytes]] = []
        # By part: (path, line) of the lines that differ from those of before, where the paths are the same.
        self.differing: dict[str, list[tuple[bytes, bytes]] | None] = {}
        self.partial = request["only"] is not None or request["except"] is not None
        self.ancestor: dict[bytes, bytes] = {}
        self.seen = tree.Seen()
        # The disk is what `kept.parts` say, all of it; then `ancestor` and `seen` hold no more than the plan needs.
        self.as_known = False
        self.overlay = overlay.Overlay()
        self.plan = compare.Plan()
        self.shifts: list[Shift] = []  # folders that are renamed
        self.doing = self.plan  # the plan without what they bring along
        # What `plan` was made of, where it was made of nothing else:
        self.compared: tuple[dict[bytes, bytes], dict[bytes, bytes], tree.Seen] | None = None
        self.fresh: Fresh | None = None  # what is made for the plan
        self.keep: Condition | None = None  # what belongs to the node once it was made
        self.deletion: dict[str, int] | None = None  # so much goes that it is worth a question

    def matches(self) -> Condition | None:
        """Which paths the request is about; None: all."""
        return chosen(self.request["only"], self.request["except"])

    def excluded(self) -> Condition | None:
        """Which foreign files stay even with `full`; None: none."""
        return any_of(self.request["excluded"]) if self.request["full"] else None

    def nodes_own(self) -> Condition | None:
        """Which paths belong to the node once they were made; None: none. What `local/` says, or said, is judged as ever:
        it wins. The overlay has to be known."""
        found = any_of(self.request["keep"])
        if found is None:
            return None
        matches = found
        overlaid = {*self.overlay.lines, *self.overlay.hidden, *self.kept.overridden()}
        return lambda path: matches(path) and path not in overlaid

    def reader(self) -> Callable[[bytes, os.stat_result], bytes]:
        """How a walk that reads all files reads one: what the node may change is not read."""
        assert self.digests is not None
        read, keep = self.digests.of, self.keep
        if keep is None:
            return read
        return lambda path, status: b"" if keep(path) else read(path, status)

    def carry_exceptions(self, matches: Condition) -> None:
        """What the manifest remembers of paths that the request is not about stays as it is."""
        for text, item in self.kept.exceptions.items():
            path = paths.from_printable(text)
            if item["kind"] != words.OVERRIDDEN and not matches(path):
                self.plan.kept[path] = item["kind"]

    def wanted(self) -> dict[bytes, bytes]:
        """Path to line of the parts, in the manifest's order; `ancestor` has to be known."""
        after = {name: data for name, _digest, data in self.parts}
        if self.kept.exceptions:
            return state.lines_of(after.values())
        differing = self.changed()
        if differing is None:
            return state.lines_after(self.ancestor, self.kept.parts, after)
        found = dict(self.ancestor)
        found.update(differing)
        return found

    def changed(self) -> list[tuple[bytes, bytes]] | None:
        """(path, line) of all wanted lines that differ from those of before; None where that is not known, or paths have
        come or gone."""
        if [name for name, _digest, _data in self.parts] != list(self.kept.parts):
            return None
        found = []
        for (name, digest, _data), (_name, before) in zip(self.parts, self.kept.listing):
            differing = self.differing.get(name) if digest != before else []
            if differing is None:
                return None
            found += differing
        return found

    def plain(self) -> bool:
        """Whether what is on disk is to be what the parts say, those of before and those to come. The overlay has to be
        known."""
        return not (self.partial or self.kept.exceptions or self.overlay.lines)

    def is_as_known(self) -> bool:
        """Whether what was synchronised last is what is on disk, found out quickly; then files with further names are noted
        in `seen`. `plain` has to hold. False says nothing."""
        if self.place is None:
            return False
        # In the order of the parts; what has none must not be there.
        there = [name.partition("/")[0] for name in self.kept.parts]
        areas = [area.encode() for area in dict.fromkeys((*there, *self.areas))]
        shared = self.seen.shared
        return tree.is_as_known(self.place.handles, areas, self.kept.parts.values(), shared)

    def narrowed(self, differing: list[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """Path to line of what differs and of the folders that hold it, before and after. More a plan does not need where
        the disk is as known and no path comes or goes."""
        before: dict[bytes, bytes] = {}
        paths_wanted = {path for path, _line in differing}
        paths_wanted |= {path.rpartition(b"/")[0] for path in paths_wanted}
        for name, data in self.kept.parts.items():
            root = paths.from_printable(name)
            for path in paths_wanted:
                if path == root or path.startswith(root + b"/"):
                    start, end = manifest.position(data, path)
                    if start < end:
                        before[path] = data[start : end - 1]
        return before, {**before, **dict(differing)}

    def take_up(self, plan: compare.Plan, wanted: dict[bytes, bytes]) -> None:
        """This is to be done."""
        self.plan = self.doing = plan
        self.shifts = []
        if self.as_known and plan.rmdir and plan.mkdir:
            from dasctl.remote import shifting

            self.shifts, self.doing = shifting.find(self, wanted)
            self.origins.update(shifting.origins(self))

    def looks_as_before(self, wanted: dict[bytes, bytes]) -> bool:
        """Whether a further look has found what the last one found, so that its plan is the same."""
        if self.compared is None:
            return False
        ancestor, before, seen = self.compared
        return seen.equals(self.seen) and before == wanted and ancestor == self.ancestor

    def check_areas(self) -> None:
        """Raise Failure where the folder holds something else than the request is about: an instance of this name, or the
        node's releases."""
        if any(name.partition("/")[0] not in self.areas for name in self.kept.parts):
            held = "an instance" if words.RELEASES in self.areas else "releases of software"
            assert self.place is not None
            raise Failure(
                "%s holds %s" % (self.place.path, held),
                "give the instance another name: %s is that of releases" % self.name,
            )

    def same_parts(self) -> bool:
        """Whether the parts that are wanted are those that are there."""
        return [[name, digest] for name, digest, _data in self.parts] == self.kept.listing

    def fail(self, failure: Failure, **further: Any) -> None:
        """The end of this instance's part of the request."""
        self.needs = []
        self.lacks_space = failure.lacks_space
        self.reply = {
            "name": self.name, "verdict": words.FAILED, "message": failure.message, "hint": failure.hint, **further,
        }  # fmt: skip

    def verdict(self) -> str | None:
        """What was said last; None: nothing yet."""
        return None if self.reply is None else str(self.reply["verdict"])

    def turn_away(self, judged: guard.Judgement, missing: Iterable[str] = ()) -> None:
        """The guard's answer instead of a synchronisation."""
        self.reply = {"name": self.name, "verdict": judged.verdict, "at": self.kept.at}
        if judged.verdict == words.STANDS:
            self.reply.update(parts=self.kept.listing, missing=list(missing))
        else:
            self.reply.update(reason=judged.reason, message=judged.message)

    def close(self) -> None:
        if self.place is not None:
            self.place.close()
            self.place = None


def chosen(only: list[str] | None, barred: list[str] | None) -> Condition | None:
    """The paths that one of `only` (None: all) finds and none of `barred`; None: all paths."""
    if only is None and barred is None:
        return None
    import re

    wanted = None if only is None else [re.compile(pattern) for pattern in only]
    spared = [re.compile(pattern) for pattern in barred or ()]

    def matches(path: bytes) -> bool:
        text = path.decode("latin-1")
        if any(pattern.search(text) for pattern in spared):
            return False
        return wanted is None or any(pattern.search(text) for pattern in wanted)

    return matches


def any_of(patterns: list[str] | None) -> Condition | None:
    """The paths that one of the patterns finds; None: no path."""
    return chosen(patterns, None) if patterns else None
