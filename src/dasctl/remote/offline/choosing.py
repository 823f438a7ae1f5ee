"""Which of a bundle's instances belong to this machine, and where their folders are.

What lives here: the choice. It looks at folders, and changes nothing. What must not: the import.
"""

from __future__ import annotations

import json
import os

from dasctl.remote import state
from dasctl.remote.offline.bundle import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Instance = dict[str, Any]

MOST_OWN_PART = 1 << 20  # bytes


def chosen(
    manifest: dict[str, Any], node_dir: str | None, names: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """The instances that are meant, by the absolute directory of their node.

    `names` are taken as they are. Without them, it is all instances of the nodes of which an instance's folder is here;
    where there is no folder yet, those of the only node in the bundle. Raises BundleError.
    """
    known = {item["request"]["name"]: item for item in manifest["instances"]}
    if names:
        strangers = [name for name in names if name not in known]
        if strangers:
            raise BundleError(
                "%s: not in this bundle" % ", ".join(strangers), "it has %s" % ", ".join(known), usage=True
            )
        wanted = [known[name] for name in dict.fromkeys(names)]
    else:
        wanted = _of_this_machine(list(known.values()), node_dir)
    found: dict[str, list[dict[str, Any]]] = {}
    for item in wanted:
        found.setdefault(folder_of(item, node_dir), []).append(item)
    return found


def folder_of(item: Instance, node_dir: str | None) -> str:
    """The directory of an instance's node here."""
    try:
        return state.node_path(node_dir if node_dir is not None else item["dir"])
    except state.Failure as failure:
        raise BundleError(failure.message, "name the directory: --nodedir DIR", usage=True) from None


def _of_this_machine(items: list[Instance], node_dir: str | None) -> list[Instance]:
    nodes = {item["node"] for item in items if _is_here(item, folder_of(item, node_dir))}
    if not nodes:
        nodes = {item["node"] for item in items}
        if len(nodes) != 1:
            raise BundleError(
                "none of this bundle's instances is here yet: %s"
                % ", ".join("%s (node %s)" % (item["request"]["name"], item["node"]) for item in items),
                "name those of this machine: --instance NAME; --nodedir DIR says where they are",
                usage=True,
            )
    return [item for item in items if item["node"] in nodes]


def _is_here(item: Instance, folder: str) -> bool:
    """Whether the instance has a folder here that is not one left behind when it moved to another node."""
    path = os.path.join(folder, item["request"]["name"])
    if not os.path.isdir(path):
        return False
    try:
        with open(os.path.join(path, "config", "domain.yaml"), "rb") as file:
            node = json.loads(file.read(MOST_OWN_PART))["instance"]["node"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True
    return bool(node == item["node"])
