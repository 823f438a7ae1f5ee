"""The comparison: what was synchronised last, what is on disk, what is wanted; and what follows from the three.

What lives here: pure decisions over paths and entries. What must not: files, the link, the journal.

The *ancestor* maps paths to lines of the manifest that was synchronised last, copies of `local/` files included; *wanted*
maps them to the lines that lead on. A *deviation* is what differs from the ancestor, whoever did it. What is on disk and
in neither of the two is *foreign*: it stays, unless it is in the way of something wanted, or all that is foreign has to go
(`full`). Nothing that deviates is destroyed: it goes aside.

A path that `keep` is about belongs to the node once it was made: once it is in the ancestor, or something is there. Then it
is neither judged nor changed nor restored nor removed, and what is above it stays as well.
"""

from __future__ import annotations

from dasctl.remote import manifest, words
from dasctl.remote.disk import LEAVE
from dasctl.remote.manifest import Entry
from dasctl.remote.records import Record, fields, made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import NamedTuple

    from dasctl.remote.tree import Seen

    class Deviation(NamedTuple):
        """`aside`: what was there is kept under that name."""

        path: bytes
        kind: str
        action: str
        aside: bool = False

else:

    class Deviation(Record):
        __slots__ = ()
        _fields = ("path", "kind", "action", "aside")
        path, kind, action, aside = fields(4)

        def __new__(cls, path, kind, action, aside=False):
            return made(cls, (path, kind, action, aside))


REPLACED = "replaced"
REMOVED = "removed"
RESTORED = "restored"
KEPT = "kept"


class Plan:
    """What is to be done, each list in canonical order.

    move: to be moved aside; link: to be kept aside while something takes its place; remove: files and links that go;
    rmdir: folders that go if they are empty then; mkdir, place: what comes; touch: files and links whose mode or modtime
    is set; folders: the entry (modtime LEAVE: as it is) that every folder concerned has at the end; kept: deviations that
    stay.
    """

    __slots__ = (
        "changes", "deviations", "folders", "kept", "link", "mkdir", "move", "place", "remove", "rmdir", "touch",
    )  # fmt: skip

    def __init__(self) -> None:
        self.changes: list[tuple[bytes, str]] = []
        self.deviations: list[Deviation] = []
        self.move: list[bytes] = []
        self.link: list[bytes] = []
        self.remove: list[bytes] = []
        self.rmdir: list[bytes] = []
        self.mkdir: list[bytes] = []
        self.place: list[Entry] = []
        self.touch: list[Entry] = []
        self.folders: dict[bytes, Entry] = {}
        self.kept: dict[bytes, str] = {}

    def nothing(self) -> bool:
        """True where the disk is as it should be; folders' modtimes included."""
        return not (self.changes or self.folders or self.move or self.rmdir or self.touch)


def questions(
    ancestor: Mapping[bytes, bytes],
    wanted: Mapping[bytes, bytes],
    seen: Seen,
    trust_modtime: bool = True,
    keep: Callable[[bytes], bool] | None = None,
) -> list[bytes]:
    """The files whose contents have to be read before `plan` can judge; it is given them in `seen.other`.

    With `trust_modtime`, a file whose size and modtime are the ancestor's has the ancestor's digest, set here.
    """
    asked = []
    for path, entry in seen.other.items():
        if entry.kind != "f" or entry.digest:
            continue
        before, after = _entry(ancestor, path), _entry(wanted, path)
        if trust_modtime and before is not None and (before.kind, before.size, before.mtime) == (
            "f", entry.size, entry.mtime,
        ):  # fmt: skip
            seen.other[path] = entry._replace(digest=before.digest)
        elif any(other is not None and other.size == entry.size for other in (before, after)):
            asked.append(path)
    return asked if keep is None else [path for path in asked if not keep(path)]


def plan(
    ancestor: Mapping[bytes, bytes],
    wanted: Mapping[bytes, bytes],
    seen: Seen,
    *,
    policy: str = "overwrite",
    full: bool = False,
    matches: Callable[[bytes], bool] | None = None,
    excluded: Callable[[bytes], bool] | None = None,
    keep: Callable[[bytes], bool] | None = None,
    differing: Iterable[tuple[bytes, bytes]] | None = None,
) -> Plan:
    """What turns the disk into `wanted`. `policy` "fail" plans like "overwrite": the caller looks at the deviations.

    `matches`: the paths that the plan may be about; folders above them are made all the same. `excluded`: foreign files
    that stay even with `full`. `keep`: what belongs to the node once it was made. `differing`: (path, line) of all that
    `wanted` has otherwise than `ancestor`, where both have the same paths; None: not known.
    """
    planner = _Planner(ancestor, wanted, seen, policy == "keep", full, matches, excluded, keep)
    return planner.run(None if differing is None else [path for path, _line in differing])


class _Planner:
    def __init__(
        self,
        ancestor: Mapping[bytes, bytes],
        wanted: Mapping[bytes, bytes],
        seen: Seen,
        keep: bool,
        full: bool,
        matches: Callable[[bytes], bool] | None,
        excluded: Callable[[bytes], bool] | None,
        nodes: Callable[[bytes], bool] | None,
    ) -> None:
        self.ancestor, self.wanted, self.seen = ancestor, wanted, seen
        self.keep, self.full, self.matches, self.excluded, self.nodes = keep, full, matches, excluded, nodes
        self.plan = Plan()
        self.closed = b""  # a kept file stands where a folder is wanted: nothing below can be made
        self.cleared = b""  # a folder is in the way of a file: all below has to go
        self.stays: list[bytes] = []  # what is on disk, wanted no more, and stays: so do the folders above it
        # The node's folders that it removed: made if something comes into them.
        self.absent: dict[bytes, Entry] = {}

    def run(self, differing: Iterable[bytes] | None) -> Plan:
        ordinary = self.nodes is None
        for path in sorted(self._interesting(differing), key=manifest.order):
            if ordinary and not self.closed and self._quickly(path):
                continue
            after = _entry(self.wanted, path)
            if self.closed and path.startswith(self.closed):
                self._not_made(path, after)
            elif self._is_the_nodes(path):
                self._leave(path, after)
            elif after is None:
                self._unwanted(path)
            elif after.kind == "d":
                self._folder(path, after)
            else:
                self._file(path, after)
        self._spare_folders()
        self._finish_folders()
        return self.plan

    def _quickly(self, path: bytes) -> bool:
        """Plan for a file that is as it was and stays a file with its mode, or for one that is quite new; False: it is no
        such file."""
        old, new = self.ancestor.get(path, b""), self.wanted.get(path, b"")
        if new[:1] != b"f":
            return False
        if not old and path not in self.seen.other:
            self._place(manifest.parse(new), "new")
            return True
        if path not in self.seen.same or old[:1] != b"f":
            return False
        was, now = old.split(b" ", 5), new.split(b" ", 5)
        if was[1] != now[1]:
            return False
        if was[4] != now[4]:
            self._place(manifest.parse(new), "content")
            return True
        if was[3] != now[3]:
            # As in `_file`: a file with other names gets a copy.
            (self.plan.place if path in self.seen.shared else self.plan.touch).append(manifest.parse(new))
            self.plan.changes.append((path, "modtime"))
        return True

    def _is_the_nodes(self, path: bytes) -> bool:
        """Whether the path is one of those that the node may change, and was made once."""
        if self.nodes is None or not self.nodes(path):
            return False
        return path in self.ancestor or path in self.seen.other

    def _leave(self, path: bytes, after: Entry | None) -> None:
        actual = self._actual(path)
        if actual is not None and after is None:
            self.stays.append(path)
        if after is not None and after.kind == "d":
            if actual is None:
                self.absent[path] = after
            elif actual.kind != "d":
                self.closed = path + b"/"

    def _not_made(self, path: bytes, after: Entry | None) -> None:
        """What could not be made was not made: once it can be, it will, though it is the node's from then on."""
        if after is not None and path not in self.ancestor and self.nodes is not None and self.nodes(path):
            self.plan.kept[path] = words.EXTRA

    def _interesting(self, differing: Iterable[bytes] | None) -> set[bytes]:
        ancestor, wanted, seen = self.ancestor, self.wanted, self.seen
        paths = set(seen.other)
        if len(seen.same) + len(seen.other) != len(ancestor) or paths:
            paths.update(path for path in ancestor if path not in seen.same)
        if differing is not None:
            paths.update(differing)
        elif wanted is not ancestor:
            paths.update(path for path, line in wanted.items() if ancestor.get(path) != line)
            paths.update(path for path in ancestor if path not in wanted)
        if seen.unseen:
            hidden = tuple(path + b"/" for path in seen.unseen)
            paths = {path for path in paths if not path.startswith(hidden)}
        return paths if self.matches is None else self._chosen(paths, self.matches)

    def _chosen(self, paths: set[bytes], matches: Callable[[bytes], bool]) -> set[bytes]:
        chosen = {path for path in paths if matches(path)}
        for path in list(chosen):
            for folder in folders_above(path):
                if folder in paths and self._actual(folder) is None:
                    chosen.add(folder)
        return chosen

    def _actual(self, path: bytes) -> Entry | None:
        if path in self.seen.same:
            return _entry(self.ancestor, path)
        return self.seen.other.get(path)

    def _both(self, path: bytes) -> tuple[Entry | None, Entry | None]:
        """What is there, and what was there."""
        before = _entry(self.ancestor, path)
        return (before if path in self.seen.same else self.seen.other.get(path)), before

    def _unwanted(self, path: bytes) -> None:
        actual, before = self._both(path)
        if actual is None:
            return
        spared = before is None and self.excluded is not None and self.excluded(path)
        if spared:
            self.stays.append(path)
        goes = (self.full and not spared) or bool(self.cleared and path.startswith(self.cleared))
        if actual.kind == "d":
            if goes or (before is not None and before.kind == "d"):
                self.plan.rmdir.append(path)
        elif before is not None and same_content(actual, before):
            self.plan.remove.append(path)
            self.plan.changes.append((path, "deleted"))
        elif before is not None or goes:
            kind = words.CHANGED if before is not None else words.EXTRA
            if self._deviates(path, kind, REMOVED, aside=True):
                self.plan.move.append(path)
                self.plan.changes.append((path, "deleted"))
            else:
                self.stays.append(path)

    def _folder(self, path: bytes, after: Entry) -> None:
        actual, before = self._both(path)
        if actual is None:
            if before is not None and not self._deviates(path, words.MISSING, RESTORED):
                self.closed = path + b"/"
                return
            self._make(path, after, "new")
        elif actual.kind == "d":
            mode = self._mode(path, actual, before, after)
            if (actual.mode, actual.mtime) != (mode, after.mtime):
                self.plan.folders[path] = after._replace(mode=mode)
        elif before is not None and same_content(actual, before):
            self.plan.remove.append(path)
            self._make(path, after, "kind")
        elif self._deviates(path, words.CHANGED if before is not None else words.EXTRA, REPLACED, aside=True):
            self.plan.move.append(path)
            self._make(path, after, "kind")
        else:
            self.closed = path + b"/"

    def _make(self, path: bytes, after: Entry, why: str) -> None:
        self._folders_above(path)
        self.plan.mkdir.append(path)
        self.plan.folders[path] = after
        self.plan.changes.append((path, why))

    def _file(self, path: bytes, after: Entry) -> None:
        actual, before = self._both(path)
        if actual is None:
            if before is None or self._deviates(path, words.MISSING, RESTORED):
                self._place(after, "new")
        elif actual.kind == "d":
            self._instead_of_folder(path, before, after)
        elif same_content(actual, after):
            mode = self._mode(path, actual, before, after)
            if (actual.mode, actual.mtime) != (mode, after.mtime):
                # What other names of the file have for mode and modtime is not ours to change: it gets a copy.
                shared = path in self.seen.shared and after.kind == "f"
                (self.plan.place if shared else self.plan.touch).append(after._replace(mode=mode))
                if actual.mode == mode:
                    self.plan.changes.append((path, "modtime"))
        else:
            why = "content" if actual.kind == after.kind else "kind"
            if before is not None and same_content(actual, before):
                self._place(after, why)
            elif self._deviates(
                path, words.CHANGED if before is not None else words.EXTRA, REPLACED, aside=True
            ):
                self.plan.link.append(path)
                self._place(after, why)

    def _place(self, after: Entry, why: str) -> None:
        self._folders_above(after.path)
        self.plan.place.append(after)
        self.plan.changes.append((after.path, why))

    def _folders_above(self, path: bytes) -> None:
        for folder in [folder for folder in self.absent if path.startswith(folder + b"/")]:
            self._make(folder, self.absent.pop(folder), "new")

    def _instead_of_folder(self, path: bytes, before: Entry | None, after: Entry) -> None:
        below = path + b"/"
        if self.nodes is not None and self._holds_the_nodes(below, self.nodes):
            self._keeps(path, words.EXTRA)
            return
        if self.keep and self._holds_others(below):
            self._deviates(path, words.EXTRA, REPLACED)
            return
        if before is None or before.kind != "d":
            kind = words.CHANGED if before is not None else words.EXTRA
            if not self._deviates(path, kind, REPLACED):
                return
        self.cleared = below
        self.plan.rmdir.append(path)
        self._place(after, "kind")

    def _holds_others(self, below: bytes) -> bool:
        for path, entry in self.seen.other.items():
            if path.startswith(below) and entry.kind != "d":
                before = _entry(self.ancestor, path)
                if before is None or not same_content(entry, before):
                    return True
        return bool(self.seen.unseen)

    def _holds_the_nodes(self, below: bytes, nodes: Callable[[bytes], bool]) -> bool:
        found = any(path.startswith(below) and nodes(path) for path in (*self.seen.other, *self.seen.same))
        return found or any(path.startswith(below) for path in self.seen.unseen)

    def _mode(self, path: bytes, actual: Entry, before: Entry | None, after: Entry) -> int:
        """The mode that the entry gets. One that somebody changed by hand is a deviation of its own."""
        if actual.mode == after.mode:
            return after.mode
        by_hand = before is not None and before.kind == actual.kind and before.mode != actual.mode
        if by_hand and not self._deviates(path, words.CHANGED, RESTORED):
            return actual.mode
        self.plan.changes.append((path, "mode"))
        return after.mode

    def _deviates(self, path: bytes, kind: str, action: str, aside: bool = False) -> bool:
        """Note a deviation; True where it gives way."""
        if self.keep:
            self._keeps(path, kind)
            return False
        self.plan.deviations.append(Deviation(path, kind, action, aside))
        return True

    def _keeps(self, path: bytes, kind: str) -> None:
        self.plan.kept[path] = kind
        self.plan.deviations.append(Deviation(path, kind, KEPT))

    def _spare_folders(self) -> None:
        """No folder is to go in which something stays."""
        if self.stays and self.plan.rmdir:
            above = {folder for path in self.stays for folder in folders_above(path)}
            self.plan.rmdir = [path for path in self.plan.rmdir if path not in above]

    def _finish_folders(self) -> None:
        """Every folder in which names come or go ends with its own mode and modtime."""
        done = self.plan
        moved: Iterable[bytes] = [
            *done.move, *done.link, *done.remove, *done.rmdir, *done.mkdir, *(entry.path for entry in done.place),
        ]  # fmt: skip
        for path in {path.rpartition(b"/")[0] for path in moved} | set(done.rmdir):
            if path and path not in done.folders:
                final = self._final(path)
                if final is not None:
                    done.folders[path] = final
        for entry in done.place:
            done.folders.pop(entry.path, None)

    def _final(self, path: bytes) -> Entry | None:
        actual, after = self._actual(path), _entry(self.wanted, path)
        if actual is None or actual.kind != "d":
            return None
        if after is None or after.kind != "d" or self._is_the_nodes(path):
            return actual._replace(mtime=LEAVE)
        return after._replace(mode=actual.mode) if path in self.plan.kept else after


def hidden(
    ancestor: Mapping[bytes, bytes],
    wanted: Mapping[bytes, bytes],
    seen: Seen,
    matches: Callable[[bytes], bool] | None = None,
    keep: Callable[[bytes], bool] | None = None,
) -> list[bytes]:
    """The paths that would have to change inside folders that could not be looked into: no plan is about them."""
    below = tuple(path + b"/" for path in seen.unseen)
    if not below or wanted is ancestor:
        return []
    inside = sorted({path for path in (*ancestor, *wanted) if path.startswith(below)}, key=manifest.order)
    changed = [path for path in inside if ancestor.get(path) != wanted.get(path)]
    if keep is not None:
        changed = [path for path in changed if path not in ancestor or not keep(path)]
    return changed if matches is None else [path for path in changed if matches(path)]


def folders_above(path: bytes) -> Iterable[bytes]:
    """The folders that `path` lies in, the nearest first."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def same_content(one: Entry, other: Entry) -> bool:
    """Whether two entries are of one kind and have one content; a file whose digest is not known equals none."""
    if one.kind != other.kind:
        return False
    return one.kind == "d" or bool(one.digest and one.digest == other.digest)


def _entry(lines: Mapping[bytes, bytes], path: bytes) -> Entry | None:
    line = lines.get(path)
    return None if line is None else manifest.parse(line)
