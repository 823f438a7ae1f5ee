"""Overlays: a server's own config folder, flattened into `config/` over the files common to all.

What lives here: which folder is whose, and who wins. What must not: reading files, bytes of manifests.

`config/X-config/` belongs to the cluster or the instance X; where there is none, to those that run with the config
of exactly that name. Layers from low to high: common files, the config's, the cluster's, the instance's.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from dasctl.core import areas
from dasctl.core.domain import Domain
from dasctl.errors import RepositoryError
from dasctl.remote.manifest import Entry, order
from dasctl.remote.paths import printable

SUFFIX = "-config"

# The overlay folders that apply to an instance, from low to high.
Layers = tuple[bytes, ...]

Tree = dict[bytes, Entry]


class Owner(IntEnum):
    """Whose an overlay is; the higher wins."""

    CONFIG = 1
    CLUSTER = 2
    INSTANCE = 3


def place_of(entry: Entry) -> bytes:
    """The key of canonical order of an entry."""
    return order(entry.path)


class ConfigFolder:
    """The repository's `config/`, taken apart into the common files and the overlays.

    `problems` holds (path, message, whether it is refused) of what is not laid over anything.
    """

    def __init__(self, entries: Iterable[Entry], domain: Domain) -> None:
        self.problems: list[tuple[bytes, str, bool]] = []
        self._domain = domain
        self._common: Tree = {}
        self._overlays: dict[bytes, Tree] = {}
        for entry in entries:
            self._sort_in(entry)

    def layers_of(self, instance: str) -> Layers:
        """The overlay folders that are there for `instance`, from low to high."""
        config, cluster = self._domain.config_of(instance), self._domain.instances[instance].cluster
        found = []
        for owner, folder in (
            (Owner.CONFIG, config),
            (Owner.CLUSTER, f"{cluster}{SUFFIX}"),
            (Owner.INSTANCE, f"{instance}{SUFFIX}"),
        ):
            path = areas.CONFIG + b"/" + folder.encode()
            if path in self._overlays and owner in owners_of(folder, self._domain):
                found.append(path)
        return tuple(found)

    def overlay_of(self, path: bytes) -> bytes | None:
        """The overlay folder that a path of the repository lies in, or is; None for a common file."""
        folder = b"/".join(path.split(b"/", 2)[:2])
        return folder if folder in self._overlays else None

    def merged(self, layers: Layers) -> Tree:
        """The instance's `config/` by path, in no order."""
        result = dict(self._common)
        for layer in layers:
            result = laid_over(result, self._overlays[layer])
        return result

    def _sort_in(self, entry: Entry) -> None:
        first = entry.path.split(b"/", 2)[:2]
        folder = b"/".join(first)
        if folder in self._overlays:
            self._take(entry, folder)
        elif entry.path == folder and len(first) == 2 and self._is_overlay(entry):
            self._overlays[folder] = {}
        else:
            self._common[entry.path] = entry

    def _is_overlay(self, entry: Entry) -> bool:
        name = printable(entry.path.partition(b"/")[2])
        if not name.endswith(SUFFIX) or entry.kind == "f":
            return False
        owned = bool(owners_of(name, self._domain))
        if not owned:
            nobody = f"no cluster or instance is called {name.removesuffix(SUFFIX)!r}"
            # Perhaps the name is mistyped, or its instance was deleted: what it holds may be secret, so nobody gets it.
            self.problems.append((entry.path, f"{nobody}, so these files go to nobody", False))
            return entry.kind == "d"
        if entry.kind == "l":
            self.problems.append(
                (entry.path, "a link is not taken for a server's own config; make it a folder", False)
            )
            return False
        return owned

    def _take(self, entry: Entry, folder: bytes) -> None:
        path = areas.CONFIG + entry.path[len(folder) :]
        if path == areas.DEFINITION:
            raise RepositoryError(
                f"{printable(entry.path)} would replace the instance's own part of config/domain.yaml",
                hint="remove it or give it another name: dasctl writes that file for each instance",
            )
        fault = areas.link_fault(path, entry.digest) if entry.kind == "l" else ""
        if fault:
            self.problems.append((entry.path, f"as {printable(path)}: {fault}", True))
        else:
            self._overlays[folder][path] = entry._replace(path=path)


def owners_of(folder: str, domain: Domain) -> set[Owner]:
    """Whose the overlay `config/FOLDER` is; empty if it is nobody's."""
    name = folder.removesuffix(SUFFIX)
    if name == folder:
        return set()
    found = set()
    if name in domain.clusters:
        found.add(Owner.CLUSTER)
    if name in domain.instances:
        found.add(Owner.INSTANCE)
    if not found and folder in domain.configs:
        found.add(Owner.CONFIG)
    return found


def laid_over(lower: Tree, higher: Tree) -> Tree:
    """`higher` over `lower`. Where one has a folder and the other has not, the higher wins wholly."""
    covered = [
        path
        for path, entry in higher.items()
        if entry.kind != "d" and path in lower and lower[path].kind == "d"
    ]
    gone = tuple(path + b"/" for path in covered)
    kept = {path: entry for path, entry in lower.items() if not path.startswith(gone)} if gone else lower
    return {**kept, **higher}
