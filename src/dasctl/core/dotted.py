"""Dotted names: `clusters.web.property.http.port` is the value at `clusters/web/properties/http.port` in domain.yaml.

What lives here: which value a name means, and the name of each value. What must not: what values look like as text
(`dotted_values.py`), what a change of one amounts to (`assigning.py`), the file.

A dot separates; but names may have dots in them. A name is first read as it is printed here: dots within the names of nodes,
clusters and the like behind a backslash, and all that follows `property`, `env` or `versions` is one key. Where that means
nothing, the longest name of an entry that fits decides. `property` and `properties` are the same word, and so are `node` and
`nodes` at the beginning.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from dasctl.core.decoding import path_in_file, renamed
from dasctl.core.domain import Domain
from dasctl.core.faults import Path, did_you_mean, nearest

# What makes entries of a section; none of them is made by a name alone.
MADE_BY = {
    "nodes": "create-node-ssh adds one", "configs": "create-cluster makes one, or config/domain.yaml in an editor",
    "clusters": "create-cluster adds one", "instances": "create-instance adds one",
    "applications": "deploy adds one", "releases": "install-node adds one",
}  # fmt: skip
_KINDS = {section: section.removesuffix("s") for section in (*MADE_BY, "areas")}
_SECTIONS = {kind: section for section, kind in _KINDS.items()}
_SEPARATOR = "\x01"  # between the segments of a name that patterns are matched with; no name has it


class DottedError(Exception):
    """A name that means nothing; `message` says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a name means. `hint` is the type of a value; None: values stand below it.

    `required`: it cannot be without a value. `whole`: a mapping that is there or not as a whole, and not empty (`reload`).
    """

    path: Path
    hint: Any = None
    required: bool = False
    whole: bool = False

    @property
    def name(self) -> str:
        return name_of(self.path)

    @property
    def is_entry(self) -> bool:
        """A section, or an entry of one: other commands make and delete those."""
        return len(self.path) < 2 or (len(self.path) == 2 and self.path[0] in MADE_BY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value that is there. `written`: it stands in domain.yaml; otherwise it is the default."""

    place: Place
    value: Any
    written: bool

    @property
    def path(self) -> Path:
        return self.place.path

    @property
    def name(self) -> str:
        return self.place.name


# The names of places.


def name_of(path: Path) -> str:
    """The dotted name of a path of domain.yaml."""
    words = [*_spoken(path)]
    if path[0] in MADE_BY and len(path) > 1:
        words[1] = words[1].replace(".", "\\.")
    return ".".join(words)


def _spoken(path: Path) -> Path:
    """The path in asadmin's words."""
    start = 2 if path[0] in MADE_BY else 1
    if path[start : start + 1] != ("properties",):
        return path
    return (*path[:start], "property", *path[start + 1 :])


# What a name means.

Char = tuple[str, bool]  # a character, and whether a backslash took its meaning


def _words(text: str) -> list[list[Char]]:
    """The words between dots. DottedError for an empty one."""
    words: list[list[Char]] = [[]]
    escaped = False
    for char in text:
        if escaped or char not in "\\.":
            words[-1].append((char, escaped))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            words.append([])
    if escaped:
        raise DottedError(f"{text!r} ends with a backslash", "write \\\\ for a backslash")
    if not all(words):
        raise DottedError(
            f"{text!r} is not a name: a word is missing at a dot", "`dasctl list '*'` shows all names"
        )
    return words


def is_pattern(text: str) -> bool:
    """Whether `text` has a wildcard: a `*` without a backslash before it."""
    return any(char == ("*", False) for word in _words(text) for char in word)


def place_of(text: str, domain: Domain) -> Place:
    """What the name `text` means in `domain`. The value need not be there; its entry must. DottedError."""
    words = ["".join(char for char, _ in word) for word in _words(text)]
    return _below(Domain, domain, (_SECTIONS.get(words[0], words[0]), *words[1:]), ())


def places_of(text: str, domain: Domain) -> tuple[Place, ...]:
    """What `text` means, where a `*` in the name of a node, a cluster or the like stands for all that fit. DottedError."""
    if not is_pattern(text):
        return (place_of(text, domain),)
    words = _words(text)
    section, *rest = ("".join(char for char, _ in word) for word in words)
    section = _SECTIONS.get(section, section)
    if section not in MADE_BY or any(
        char == ("*", False) for word in (words[0], *words[2:]) for char in word
    ):
        raise DottedError(
            f"{text!r}: a value is set at names of its own",
            "a `*` may stand for names of nodes, clusters and the like",
        )
    fits = re.compile(_word_regex(words[1]), re.DOTALL)
    names = [name for name in getattr(domain, section) if fits.fullmatch(name)]
    if not names:
        raise DottedError(f"{text!r} matches none of {section}", "`dasctl list '*'` shows all names")
    return tuple(_below(Domain, domain, (section, name, *rest[1:]), ()) for name in names)


def _below(shape: type[Struct], holder: Any, words: Sequence[str], path: Path) -> Place:
    known = _fields(shape)
    first = "properties" if words[0] == "property" else words[0]
    if first not in known:
        raise _unknown(first, known, path)
    field = known[first]
    path = (*path, first)
    value = getattr(holder, field.name) if holder is not None else None
    shapes = _structs_in(field.type)
    if get_origin(field.type) is dict:
        entry = _struct_in(get_args(field.type)[1])
        if len(words) == 1:
            return Place(path=path)
        if entry is None:
            return Place(path=(*path, ".".join(words[1:])), hint=get_args(field.type)[1])
        return _in_section(entry, value or {}, words[1:], path)
    if shapes:
        if len(words) == 1:
            return Place(path=path, whole=field.type not in shapes)
        return _below(shapes[0], value, words[1:], path)
    if len(words) > 1:
        raise DottedError(f"{name_of(path)} is a value, and has no {'.'.join(words[1:])!r} below it")
    return Place(path=path, hint=field.type, required=field.required)


def _in_section(shape: type[Struct], entries: Mapping[str, Any], words: Sequence[str], path: Path) -> Place:
    """The first reading that means something: a name of one word, then the longest."""
    failures: dict[int, DottedError] = {}
    for size in (1, *range(len(words), 1, -1)):
        name = ".".join(words[:size])
        if name not in entries:
            continue
        if size == len(words):
            return Place(path=(*path, name))
        try:
            return _below(shape, entries[name], words[size:], (*path, name))
        except DottedError as error:
            failures[size] = error
    if failures:
        raise failures[max(failures)]
    raise _no_entry(entries, words, path[0])


def _no_entry(entries: Mapping[str, Any], words: Sequence[str], section: str) -> DottedError:
    candidates = [".".join(words[:size]) for size in range(1, len(words) + 1)]
    guesses = [meant for word in candidates if (meant := nearest(word, entries)) is not None]
    kind = _KINDS.get(section, section)
    meant = f"; did you mean {guesses[0]!r}?" if guesses else ""
    return DottedError(f"no {kind} named {words[0]!r}{meant}", MADE_BY.get(section, ""))


def _unknown(word: str, known: Mapping[str, FieldInfo], path: Path) -> DottedError:
    words = ["property" if key == "properties" else key for key in known if key != "format"]
    where = name_of(path) if path else "the domain"
    return DottedError(
        f"{where} has no {word!r}{did_you_mean(word, words)}", f"there are: {', '.join(words)}"
    )


# What is there.


def settings(domain: Domain, data: Mapping[str, Any]) -> Iterator[Setting]:
    """Every value of `domain` in the order of its keys, also defaults that are not empty; `data` is what is written."""
    yield from (found for found in _walk(domain, renamed(dict(data)), ()) if found.path != ("format",))


def _walk(holder: Struct, data: Any, path: Path) -> Iterator[Setting]:
    for key, field in _fields(type(holder)).items():
        value, inside = getattr(holder, field.name), _inside(data, key)
        here = (*path, key)
        if isinstance(value, Struct):
            yield from _walk(value, inside, here)
        elif isinstance(value, dict):
            for name, item in value.items():
                if isinstance(item, Struct):
                    yield from _walk(item, _inside(inside, name), (*here, name))
                else:
                    place = Place(path=(*here, name), hint=get_args(field.type)[1])
                    yield Setting(place=place, value=item, written=True)
        elif inside is not None or value not in (None, []):
            place = Place(path=here, hint=field.type, required=field.required)
            yield Setting(place=place, value=value, written=inside is not None)


def _inside(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, Mapping) else None


def setting_at(domain: Domain, data: Mapping[str, Any], place: Place) -> Setting | None:
    """The value at `place`, or its default, be it empty; None where there is none."""
    value: Any = domain
    for key in place.path:
        if isinstance(value, dict):
            value = value.get(key)
        elif value is not None:
            shape: type[Struct] = type(value)
            value = getattr(value, _fields(shape)[key].name)
    written: Any = data
    for key in path_in_file(data, place.path):
        written = _inside(written, key)
    return Setting(place=place, value=value, written=written is not None) if value is not None else None


def names_in(data: Mapping[str, Any]) -> Iterator[str]:
    """The names that may be set in `data`, which need not be valid."""
    return (name_of(path) for path in _keys(Domain, data, ()) if path != ("format",))


def _keys(shape: type[Struct], data: Any, path: Path) -> Iterator[Path]:
    for key, field in _fields(shape).items():
        inside, here = _inside(data, key), (*path, key)
        is_map = get_origin(field.type) is dict
        inner = _struct_in(get_args(field.type)[1] if is_map else field.type)
        if is_map:
            for name in inside if isinstance(inside, Mapping) else ():
                below = (*here, str(name))
                yield from _keys(inner, inside[name], below) if inner else (below,)
        elif inner is not None:
            yield from _keys(inner, inside, here)
        else:
            yield here


# Patterns.


@dataclass(frozen=True, slots=True)
class Pattern:
    """Names by a pattern, in which `*` stands for anything, dots included; what stands below a name that fits, fits too."""

    text: str

    def matches(self, path: Path) -> bool:
        regex, words = _regex(self.text), _spoken(path)
        return any(regex.fullmatch(_SEPARATOR.join(words[:size])) for size in range(1, len(words) + 1))


@cache
def _regex(text: str) -> re.Pattern[str]:
    words = []
    for number, chars in enumerate(_words(text)):
        plain = "".join(char for char, _ in chars)
        if number == 0 and plain in _SECTIONS:
            words.append(_SECTIONS[plain])
        elif plain == "properties":
            words.append("propert(?:y|ies)")
        else:
            words.append(_word_regex(chars))
    return re.compile(f"[.{_SEPARATOR}]".join(words), re.DOTALL)


def _word_regex(chars: Sequence[Char]) -> str:
    return "".join(".*" if char == ("*", False) else re.escape(char[0]) for char in chars)


# The shapes of core/domain.py.


@cache
def _fields(shape: type[Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in fields(shape)}


def options(hint: Any) -> tuple[Any, ...]:
    """The types that a value may have, without None."""
    union = get_origin(hint) in (Union, types.UnionType)
    return tuple(each for each in (get_args(hint) if union else (hint,)) if each is not type(None))


def _structs_in(hint: Any) -> tuple[type[Struct], ...]:
    return tuple(each for each in options(hint) if isinstance(each, type) and issubclass(each, Struct))


def _struct_in(hint: Any) -> type[Struct] | None:
    return next(iter(_structs_in(hint)), None)
