"""Which release of the servers' own software a node has now, and which one a server runs with.

What lives here: following the link `software/current`. What must not: changing it (`software.py`).
"""

from __future__ import annotations

import os

from dasctl.remote import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

CURRENT = "current"
MARKS = ("${node.software}", "DASCTL_NODE_SOFTWARE")  # what a definition names it by


def link_of(node: str) -> str | None:
    """What `current` says below the node's directory: `releases/V`, or the absolute path of a folder; None where it is not
    there."""
    try:
        return os.readlink(os.path.join(node, words.SOFTWARE, CURRENT))
    except OSError:
        return None


def path_of(node: str) -> str | None:
    """The absolute real path of the node's release, so that a switch does not move files under a running server; None
    where there is none, or it leads to no folder."""
    link = os.path.join(node, words.SOFTWARE, CURRENT)
    if not os.path.islink(link):
        return None
    path = os.path.realpath(link)
    return path if os.path.isdir(path) else None


def of(record: Mapping[str, Any] | None, node: str) -> str | None:
    """The release that the server of this record was started with, or else the node's own now."""
    noted = record.get("software") if record is not None else None
    return noted if isinstance(noted, str) else path_of(node)


def is_named(raw: Any) -> bool:
    """Whether a definition, or a part of it, names the node's release."""
    if isinstance(raw, str):
        return any(mark in raw for mark in MARKS)
    if isinstance(raw, dict):
        return any(is_named(value) for value in raw.values())
    return isinstance(raw, list) and any(is_named(value) for value in raw)


def noted(node: str) -> dict[str, str | None]:
    """What a process record remembers of it."""
    return {"software": path_of(node), "release": link_of(node)}


def differs(record: Mapping[str, Any], node: str) -> bool:
    """Whether the node has another release by now than the server of this record was started with."""
    return "software" in record and record["software"] != path_of(node)
