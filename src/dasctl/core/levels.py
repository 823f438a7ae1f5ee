"""Where a value comes from: properties are looked up in the instance, its cluster, its config, the domain.

What lives here: which value a name stands for, and at which level it was found. What must not: lines, the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dasctl.core.domain import Domain
from dasctl.core.dotted import MADE_BY, Pattern, Place, Setting, is_pattern, place_of, setting_at, settings
from dasctl.core.faults import Path
from dasctl.core.properties import BUILT_IN, as_text, scope

BUILT_IN_LEVEL = "built-in"
DEFAULT_LEVEL = "default"
_PROPERTIES = "properties"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The value of the name of `path`. `place` is where it is written; None: it is a default, or built in."""

    path: Path
    value: Any
    level: str  # "instance", "cluster", "config", "domain", …, "default", "built-in"
    of: str = ""  # the name of that instance, cluster …
    place: Path | None = None


def found_for(domain: Domain, data: Mapping[str, Any], text: str, *, resolved: bool) -> list[Found]:
    """What the name or pattern `text` stands for. DottedError for a name that means nothing.

    A name alone is looked up through the levels. With `resolved` instances have all that they inherit, `${…}` filled in.
    """
    if is_pattern(text):
        pattern = Pattern(text)
        return [found for found in _all(domain, data, resolved=resolved) if pattern.matches(found.path)]
    place = place_of(text, domain)
    if place.hint is None:
        depth = len(place.path)
        return [each for each in _all(domain, data, resolved=resolved) if each.path[:depth] == place.path]
    found = looked_up(domain, data, place)
    if found is None:
        return []
    return [_resolved(domain, found)] if resolved else [found]


def looked_up(domain: Domain, data: Mapping[str, Any], place: Place) -> Found | None:
    """The value at `place`; of a property at the nearest level that has it."""
    for path in _levels(domain, place.path):
        setting = setting_at(domain, data, Place(path=path, hint=place.hint))
        if setting is not None:
            return _of(place.path, setting)
    name = place.path[-1]
    if _is_property(place.path) and place.path[0] == "instances" and name in BUILT_IN:
        value = as_text(scope(domain, place.path[1]).built_in[name])
        return Found(path=place.path, value=value, level=BUILT_IN_LEVEL)
    return None


def _all(domain: Domain, data: Mapping[str, Any], *, resolved: bool) -> Iterator[Found]:
    for setting in settings(domain, data):
        if not (resolved and setting.path[0] == "instances" and _is_property(setting.path)):
            yield _of(setting.path, setting)
    for instance in domain.instances if resolved else ():
        yield from _effective(domain, data, instance)


def _effective(domain: Domain, data: Mapping[str, Any], instance: str) -> Iterable[Found]:
    known = scope(domain, instance)
    for name in (*known.given, *known.built_in):
        found = looked_up(domain, data, Place(path=("instances", instance, _PROPERTIES, name)))
        if found is not None:
            yield _resolved(domain, found)


def _resolved(domain: Domain, found: Found) -> Found:
    """With `${…}` filled in, where it is a property of an instance."""
    if found.path[0] != "instances" or not _is_property(found.path) or "${" not in str(found.value):
        return found
    value = as_text(scope(domain, found.path[1]).value(found.path[-1]))
    return Found(path=found.path, value=value, level=found.level, of=found.of, place=found.place)


def _levels(domain: Domain, path: Path) -> Iterator[Path]:
    """Where the value at `path` is looked for, in this order."""
    yield path
    if not _is_property(path):
        return
    section, owner, property = path[0], path[1] if path[0] in MADE_BY else "", path[-1]
    if section == "instances":
        cluster = domain.instances[owner].cluster
        if cluster is not None:
            yield ("clusters", cluster, _PROPERTIES, property)
        yield ("configs", domain.config_of(owner), _PROPERTIES, property)
    elif section == "clusters":
        yield ("configs", domain.clusters[owner].config, _PROPERTIES, property)
    if section != "domain":
        yield ("domain", _PROPERTIES, property)


def _is_property(path: Path) -> bool:
    return len(path) > 2 and path[-2] == _PROPERTIES


def _of(path: Path, setting: Setting) -> Found:
    if not setting.written:
        return Found(path=path, value=setting.value, level=DEFAULT_LEVEL)
    section = setting.path[0]
    level = section if section == "domain" else section.removesuffix("s")
    of = setting.path[1] if section in (*MADE_BY, "areas") else ""
    return Found(path=path, value=setting.value, level=level, of=of, place=setting.path)
