"""Which files of an earlier state are taken back for some instances, and which stay because others have them too.

What lives here: whose a path is, in two states. What must not: domain.yaml (`taking_back.py`), reading or writing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dasctl.core import areas
from dasctl.core.changes import Change, area_of, counted
from dasctl.core.deployments import Deployments
from dasctl.core.domain import Domain
from dasctl.core.overlays import ConfigFolder
from dasctl.core.targets import fold
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The paths that are taken back, and a line for each thing that is not."""

    paths: frozenset[bytes]
    left: tuple[str, ...]


class _Whose:
    """Which instances get which path of the repository, in one state of it."""

    def __init__(self, domain: Domain, entries: Mapping[bytes, Entry]) -> None:
        self._all = frozenset(domain.instances)
        inside = [entry for path, entry in entries.items() if _is_config(path)]
        self._folder = ConfigFolder(inside, domain)
        self._by_layer: dict[bytes, set[str]] = {}
        self._by_area: dict[bytes, set[str]] = {}
        deployments = Deployments(domain)
        for name in domain.instances:
            for layer in self._folder.layers_of(name):
                self._by_layer.setdefault(layer, set()).add(name)
            for area in deployments.of(name).values():
                self._by_area.setdefault(area.encode("utf-8", "surrogateescape"), set()).add(name)

    def of(self, path: bytes) -> frozenset[str]:
        area = area_of(path)
        if area == areas.APPLICATIONS:
            return self._all
        if area.startswith(areas.APPLICATIONS + b"/"):
            return frozenset(self._by_area.get(area, ()))
        layer = self._folder.overlay_of(path) if area == areas.CONFIG else None
        return self._all if layer is None else frozenset(self._by_layer.get(layer, ()))


def _is_config(path: bytes) -> bool:
    return path != areas.DEFINITION and (path == areas.CONFIG or path.startswith(areas.CONFIG + b"/"))


def taken_of(
    found: Sequence[Change],
    names: frozenset[str],
    now: tuple[Domain, Mapping[bytes, Entry]],
    after: tuple[Domain, Mapping[bytes, Entry]],
    *,
    shared: bool = False,
    foreign: Collection[bytes] = (),
) -> Taken:
    """Which of the changes back to the old state concern these instances alone.

    `now` and `after` are the domains before and behind the edits, each with the entries that decide whose a file is;
    `foreign`: areas of which nothing can come back, for they hold something else by now.
    """
    before, behind = _Whose(*now), _Whose(*after)
    paths: set[bytes] = set()
    left: dict[bytes, list[Change]] = {}
    fresh = {change.path for change in found if change.new is not None and change.old is None}
    for change in found:
        if change.path == areas.DEFINITION:
            continue
        if _is_within(change.path, areas.INTERNAL):
            # An archive that may be needed again harms nobody; beside another one of its version it is rubbish.
            if (
                change.new
                and change.path in fresh
                and (change.new.kind == "d" or change.path.rpartition(b"/")[0] in fresh)
            ):
                paths.add(change.path)
            continue
        users = before.of(change.path) | behind.of(change.path)
        if users & names and (shared or users <= names) and area_of(change.path) not in foreign:
            paths.add(change.path)
        elif behind.of(change.path) & names and change.path not in (areas.APPLICATIONS, areas.CONFIG):
            left.setdefault(area_of(change.path), []).append(change)
    told = []
    for area, inside in left.items():
        others = _others(inside, names, before, behind)
        why = f"which {others} has too" if others else "which holds another version now"
        told.append(f"{counted(inside)} in {printable(area)}, {why}")
    return Taken(paths=frozenset(paths), left=tuple(told))


def _others(found: Sequence[Change], names: frozenset[str], *states: _Whose) -> str:
    users = {name for change in found for state in states for name in state.of(change.path)}
    return fold(sorted(users - names))


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")
