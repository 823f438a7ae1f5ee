"""What differs between two states of the repository, and how a person is told in a line.

What lives here: paths with what they were and what they are, and sentences. What must not: contents, files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dasctl.core import areas
from dasctl.remote.manifest import Entry, order, parse, trimmed
from dasctl.remote.paths import printable

NEW, DELETED, CHANGED, KIND, MODE, MODTIME = "new", "deleted", "changed", "kind", "mode", "modtime"
_TOUCHED = (MODE, MODTIME)
_TOLD = (("changed", (CHANGED, KIND)), ("new", (NEW,)), ("deleted", (DELETED,)))
NAMED_AREAS = 6  # in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a path was and is; None: there was, or is, nothing."""

    path: bytes
    old: Entry | None
    new: Entry | None

    @property
    def what(self) -> str:
        """`new`, `deleted`, `kind`, `changed` (a file's content, a link's target), `mode`, or `modtime` alone."""
        old, new = self.old, self.new
        if old is None or new is None:
            return NEW if old is None else DELETED
        if old.kind != new.kind:
            return KIND
        if old.kind != "d" and old.digest != new.digest:
            return CHANGED
        return MODE if old.mode != new.mode else MODTIME

    @property
    def kind(self) -> str:
        """The kind that it has, or had last."""
        entry = self.new or self.old
        assert entry is not None  # one of both is there
        return entry.kind


def between(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[Change]:
    """What differs between the parts (digest to canonical bytes) of two revisions, in the order of a walk.

    Where one of them does not keep domain.yaml, as those of earlier releases, nothing is said of it.
    """
    before = {root_of(data): data for digest, data in old.items() if digest not in new}
    after = {root_of(data): data for digest, data in new.items() if digest not in old}
    found: dict[bytes, Change] = {}
    for root in before.keys() | after.keys():
        if root != areas.DEFINITION or not old or (root in before) == (root in after):
            _compare(before.get(root, b""), after.get(root, b""), found)
    return [found[path] for path in sorted(found, key=order)]


def root_of(data: bytes) -> bytes:
    """The path of a part's first line, which tells parts apart: that of its folder."""
    return data[: data.find(b"\0")].split(b" ", 5)[-1]


def _compare(one: bytes, other: bytes, found: dict[bytes, Change]) -> None:
    start, one_end, other_end = trimmed(one, other)
    lines, others = set(one[start:one_end].split(b"\0")), set(other[start:other_end].split(b"\0"))
    old = {entry.path: entry for entry in _entries(lines - others)}
    new = {entry.path: entry for entry in _entries(others - lines)}
    for path in old.keys() | new.keys():
        found[path] = Change(path=path, old=old.get(path), new=new.get(path))


def _entries(lines: Iterable[bytes]) -> Iterable[Entry]:
    return (parse(line) for line in lines if line)


def area_of(path: bytes) -> bytes:
    """What a line of a summary is about: `docroot`, `applications/hello`, `config/domain.yaml`."""
    if path == areas.DEFINITION:
        return path
    names = path.split(b"/")
    return b"/".join(names[:2]) if names[0] == areas.APPLICATIONS else names[0]


def summary(changes: Sequence[Change]) -> str:
    """`3 files changed in docroot, applications/hello new`; empty where nothing differs."""
    by_area: dict[bytes, list[Change]] = {}
    # A folder's modtime says that something came or went, and that tells itself.
    for change in [change for change in changes if not _is_folder_touched(change)] or changes:
        by_area.setdefault(area_of(change.path), []).append(change)
    told = [_area_told(area, found) for area, found in by_area.items()]
    if len(told) > NAMED_AREAS:
        told[NAMED_AREAS - 1 :] = [f"{len(told) - NAMED_AREAS + 1} more areas"]
    return ", ".join(told)


def _is_folder_touched(change: Change) -> bool:
    return change.kind == "d" and change.what == MODTIME


def _area_told(area: bytes, changes: Sequence[Change]) -> str:
    name = printable(area)
    if area == areas.DEFINITION:
        return f"{name} edited" if changes[0].what not in _TOUCHED else f"{name} touched"
    top = next((change for change in changes if change.path == area), None)
    if top is not None and top.what in (NEW, DELETED):
        return f"{name} {top.what}"
    return f"{counted(changes)} in {name}"


def counted(changes: Sequence[Change]) -> str:
    """`3 files changed, 1 new and 2 deleted`; what was only touched is told where that is all."""
    files = [change for change in changes if change.kind != "d"]
    counts = Counter(change.what for change in files)
    parts = [(word, sum(counts[what] for what in whats)) for word, whats in _TOLD]
    noun = "file"
    if not any(number for _, number in parts):
        touched = [change for change in files if change.what in _TOUCHED]
        folders = [change for change in changes if change.kind == "d"]
        if touched:
            parts = [("touched", len(touched))]
        else:
            noun, counts = "folder", Counter(change.what for change in folders)
            parts = [(word, sum(counts[what] for what in whats)) for word, whats in _TOLD]
            if not any(number for _, number in parts):
                parts = [("touched", len(folders))]
    told = [f"{number:,} {word}" for word, number in parts if number]
    first, _, word = told[0].partition(" ")
    told[0] = f"{first} {noun if first == '1' else noun + 's'} {word}"
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
