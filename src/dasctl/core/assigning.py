"""What `set` amounts to: names and texts to changes of values, and those to edits of domain.yaml.

What lives here: which changes are refused before the domain as a whole is judged. What must not: the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dasctl.core.decoding import path_in_file
from dasctl.core.domain import Domain
from dasctl.core.dotted import DottedError, Place, Setting, places_of, setting_at
from dasctl.core.dotted_values import same, value_of
from dasctl.core.edits import Drop, Edit, Put, edited
from dasctl.core.faults import Fault, Path

# What is never changed, and why.
FIXED = {
    ("format",): "it says how the file is written",
    ("domain", "id"): "the nodes know this domain by it, and would refuse another one",
}  # fmt: skip
_DELETED_BY = {
    "nodes": "delete-node-ssh", "clusters": "delete-cluster", "instances": "delete-instance",
    "applications": "undeploy", "releases": "uninstall-node",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value as it is and as it shall be; `before` None: there is none, `after` None: it shall be removed."""

    place: Place
    before: Setting | None
    after: Any

    @property
    def changes(self) -> bool:
        if self.after is None:
            return self.before is not None and self.before.written
        return self.before is None or not same(self.before.value, self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """All changes, in the order given, and the texts that are no values of their keys' types."""

    changes: tuple[Change, ...]
    faults: tuple[Fault, ...]


def assigned(
    domain: Domain, data: Mapping[str, Any], given: Sequence[tuple[str, str]], unset: Sequence[str]
) -> Assigned:
    """(name, text) pairs, and names without a value from now on. DottedError for a name that cannot be set."""
    changes: dict[Path, Change] = {}
    faults: list[Fault] = []
    for name, place in _places(domain, unset):
        _may_be_unset(place)
        _once(changes, place, name)
        changes[place.path] = Change(place=place, before=_found(domain, data, place), after=None)
    for name, text in given:
        for place in places_of(name, domain):
            _may_be_set(place)
            value, wrong = value_of(text, place.hint, place.path)
            faults += wrong
            change = Change(place=place, before=setting_at(domain, data, place), after=value)
            if changes.get(place.path) != change:
                _once(changes, place, name)
            changes[place.path] = change
    return Assigned(changes=tuple(changes.values()), faults=tuple(faults))


def _places(domain: Domain, names: Iterable[str]) -> Iterable[tuple[str, Place]]:
    return ((name, place) for name in dict.fromkeys(names) for place in places_of(name, domain))


def _once(changes: Mapping[Path, Change], place: Place, name: str) -> None:
    for other in changes:
        shorter = min(len(other), len(place.path))
        if other == place.path or (
            changes[other].after is None and other[:shorter] == place.path[:shorter] == other
        ):
            raise DottedError(f"{name} is given twice, with different values")


def _found(domain: Domain, data: Mapping[str, Any], place: Place) -> Setting | None:
    """What stands at `place`, values below it included."""
    if place.hint is not None:
        return setting_at(domain, data, place)
    written: Any = data
    for key in place.path:
        written = written.get(key) if isinstance(written, Mapping) else None
    return Setting(place=place, value=written, written=True) if written is not None else None


def _may_be_set(place: Place) -> None:
    if place.hint is None:
        raise DottedError(
            f"{place.name} is no single value", f"`dasctl list '{place.name}'` shows what is below it"
        )
    _may_be_changed(place)


def _may_be_unset(place: Place) -> None:
    if place.is_entry:
        command = _DELETED_BY.get(place.path[0]) if len(place.path) == 2 else None
        raise DottedError(f"{place.name} is not removed by `set`", f"use {command}" if command else "")
    _may_be_changed(place)
    if place.required:
        raise DottedError(f"{place.name} cannot be without a value", "give it another one: NAME=VALUE")


def _may_be_changed(place: Place) -> None:
    if place.path in FIXED:
        raise DottedError(f"{place.name} is never changed: {FIXED[place.path]}")


def edits_of(changes: Iterable[Change], data: Mapping[str, Any]) -> list[Edit]:
    """The edits that make `changes`. What may not be empty (`reload`) goes with its last key."""
    drops = [change for change in changes if change.changes and change.after is None]
    puts = [change for change in changes if change.changes and change.after is not None]
    edits: list[Edit] = [Drop(path=path_in_file(data, change.place.path)) for change in drops]
    edits += [Put(path=path_in_file(data, change.place.path), value=change.after) for change in puts]
    return [*edits, *_emptied(edits, data)]


def _emptied(edits: Sequence[Edit], data: Mapping[str, Any]) -> list[Edit]:
    after: Any = edited(dict(data), edits)
    holders = dict.fromkeys(edit.path[:-1] for edit in edits if isinstance(edit, Drop))
    return [
        Drop(path=path)
        for path in holders
        if path[-1] in ("reload", "drain", "undrain") and _at(after, path) == {}
    ]


def _at(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data
