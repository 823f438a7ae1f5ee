"""Edits of `domain.yaml`, as values: what changes, at which path.

What lives here: the two kinds of edit, and what they make of plain data. What must not: text, comments,
files (`adapters/yaml_edit.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Set the key at `path` (`("instances", "web4")`) to plain data; folders of the path that are missing are made."""

    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Remove the key at `path`; it must be there."""

    path: tuple[str, ...]


Edit = Put | Drop


def edited(data: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """What `data` is after `edits`: the yardstick that a rewritten file is compared with. KeyError for a missing Drop."""
    result = copy.deepcopy(data)
    for edit in edits:
        *folders, last = edit.path
        place = result
        for name in folders:
            if isinstance(edit, Put) and place.get(name) is None:
                place[name] = {}
            place = place[name]
        match edit:
            case Put(value=value):
                place[last] = copy.deepcopy(value)
            case Drop():
                del place[last]
    return result
