"""Plain data to typed values, entry by entry, so that all faults of type are found at once.

What lives here: unknown and missing keys, types, choices. What must not: what entries mean to each other (`validate.py`).
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from dasctl.core.domain import FORMAT, Domain
from dasctl.core.faults import Fault, Path, did_you_mean, nearest

# Stands for a required text that is missing, so that the rest of an entry can still be judged.
_PLACEHOLDER = "-"

_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping", list: "a list",
    type(None): "nothing",
}  # fmt: skip


# Keys by the names that they had before: section, key, today's name.
_OLD_NAMES = (("domain", "history", "revisions"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A domain and its faults of type. With faults, what could not be decoded is left out or stands in as `-`."""

    domain: Domain
    faults: tuple[Fault, ...]


def decoded(data: dict[str, Any]) -> Decoded:
    """`data` as a Domain, with every fault of type in it."""
    pruned = renamed(_pruned(data, Domain))
    try:
        return Decoded(domain=msgspec.convert(pruned, Domain), faults=())
    except msgspec.ValidationError:
        faults: list[Fault] = []
        domain = _struct(pruned, Domain, (), faults)
        return Decoded(domain=domain, faults=tuple(faults))


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    """With today's names of keys. Where both names are given, the old one stays and is told as unknown."""
    for section, old, new in _OLD_NAMES:
        entry = data.get(section)
        if isinstance(entry, dict) and old in entry and new not in entry:
            renamed = {new if key == old else key: value for key, value in entry.items()}
            data = {**data, section: renamed}
    return data


def format_of(data: dict[str, Any]) -> int | None:
    """The format of `data` if it says one, for whoever must refuse a newer one before all else."""
    value = data.get("format")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _pruned(data: dict[str, Any], shape: Any) -> dict[str, Any]:
    """Without the keys of structs that hold nothing: `properties:` with nothing behind it is no properties."""
    result: dict[str, Any] = {}
    holds = _structs_of(shape)
    for key, value in data.items():
        if value is None:
            continue
        inner, entries = holds.get(key, (None, None))
        if inner is not None and isinstance(value, dict):
            result[key] = _pruned(value, inner)
        elif entries is not None and isinstance(value, dict):
            result[key] = {
                name: _pruned(entry, entries) if isinstance(entry, dict) else entry
                for name, entry in value.items()
            }
        else:
            result[key] = value
    return result


@cache
def _structs_of(shape: type[Struct]) -> dict[str, tuple[type[Struct] | None, type[Struct] | None]]:
    """For each key of a struct: the struct that it holds, and that of its entries. Asked for once per entry of a domain."""
    return {field.encode_name: (_struct_in(field.type), _entry_type(field.type)) for field in fields(shape)}


def _struct_in(hint: Any) -> type[Struct] | None:
    """The struct that a field holds (`Ready`, `Reload | None`), if it holds one."""
    for candidate in _options(hint):
        if isinstance(candidate, type) and issubclass(candidate, Struct):
            return candidate
    return None


def _entry_type(hint: Any) -> type[Struct] | None:
    """The struct of each entry of a field like `dict[str, Node]`."""
    if get_origin(hint) is dict:
        return _struct_in(get_args(hint)[1])
    return None


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _struct(data: Any, shape: Any, path: Path, faults: list[Fault]) -> Any:
    """`data` as a struct, with placeholders where `faults` got something to tell."""
    if not isinstance(data, dict):
        faults.append(Fault(path=path, message=_expected("a mapping", data)))
        data = {}
        silent = True
    else:
        silent = False
    known = {field.encode_name: field for field in fields(shape)}
    for key in data:
        if key not in known:
            message = f"unknown key{did_you_mean(key, known)}"
            if nearest(key, known) is None:
                message += f"; known are {', '.join(known)}"
            faults.append(Fault(path=(*path, key), message=message))
    values: dict[str, Any] = {}
    for key, field in known.items():
        if key in data:
            found = _field(data[key], field, (*path, key), faults)
        elif field.required:
            if not silent:
                faults.append(Fault(path=(*path, key), message="this key is missing"))
            found = NODEFAULT
        else:
            continue
        if found is not NODEFAULT:
            values[field.name] = found
        elif field.required:
            values[field.name] = _stand_in(field)
    return shape(**values)


def _field(value: Any, field: FieldInfo, path: Path, faults: list[Fault]) -> Any:
    """The value of a field, or NODEFAULT where it is faulty (and told)."""
    inner = _struct_in(field.type)
    if inner is not None:
        return _struct(value, inner, path, faults)
    entries = _entry_type(field.type)
    if entries is not None:
        if not isinstance(value, dict):
            faults.append(Fault(path=path, message=_expected("a mapping", value)))
            return NODEFAULT
        return {name: _struct(entry, entries, (*path, name), faults) for name, entry in value.items()}
    if get_origin(field.type) in (dict, list):
        return _collection(value, field.type, path, faults)
    return _scalar(value, field.type, path, faults)


def _collection(value: Any, hint: Any, path: Path, faults: list[Fault]) -> Any:
    kind: Any = get_origin(hint)
    if not isinstance(value, kind):
        faults.append(Fault(path=path, message=_expected(_WORDS[kind], value)))
        return NODEFAULT
    item_hint = get_args(hint)[-1]
    if kind is dict:
        pairs = {key: _scalar(item, item_hint, (*path, key), faults) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item is not NODEFAULT}
    items = [_scalar(item, item_hint, (*path, str(number)), faults) for number, item in enumerate(value)]
    return [item for item in items if item is not NODEFAULT]


def _scalar(value: Any, hint: Any, path: Path, faults: list[Fault]) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        faults.append(Fault(path=path, message=_mismatch(value, hint)))
        return NODEFAULT


def _mismatch(value: Any, hint: Any) -> str:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return f"{value!r} is not one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
    options = [option for option in _options(hint) if option is not type(None)]
    if str in options and isinstance(value, (int, float)):
        return f"expected text, found {_shown(value)}: put it in quotes"
    if len(options) > 1:
        options = [option for option in options if option in (str, int)]
    return _expected(" or ".join(_WORDS.get(option, str(option)) for option in options), value)


def _expected(what: str, value: Any) -> str:
    return f"expected {what}, found {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list, type(None))):
        return _WORDS[type(value)]
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _stand_in(field: FieldInfo) -> Any:
    inner = _struct_in(field.type)
    if inner is not None:
        return _struct({}, inner, (), [])
    return FORMAT if field.type is int else _PLACEHOLDER


def path_in_file(data: Mapping[str, Any], path: Path) -> Path:
    """Where the value at `path` stands in `data`: a key may stand there under the name that it had before."""
    for section, old, new in _OLD_NAMES:
        entry = data.get(section)
        if path == (section, new) and isinstance(entry, dict) and old in entry and new not in entry:
            return (section, old)
    return path


def typed(value: Any, hint: Any, path: Path) -> tuple[Any, tuple[Fault, ...]]:
    """A single value (a scalar, or a list of them) as one of type `hint`, and what is wrong with it."""
    faults: list[Fault] = []
    read = _collection if get_origin(hint) is list else _scalar
    return read(value, hint, path, faults), tuple(faults)


def keys_of(shape: type[Struct]) -> Iterable[str]:
    """The keys of a struct as they are written in `domain.yaml`."""
    return tuple(field.encode_name for field in fields(shape))
