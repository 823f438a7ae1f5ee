"""Nodes' directories on this machine: which one is meant, and `das.json` in it.

What lives here: files. What must not: connections, the meaning of the coordinates (`core/coordinates.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dasctl.adapters.beside import write_beside
from dasctl.core.coordinates import FILE, Coordinates, coordinates_of
from dasctl.errors import DasctlError, OperationFailed, UsageError

VARIABLE = "DASCTL_NODE_DIR"
MOST_FILE = 1 << 20  # bytes
_STATE = Path(".dasctl") / "state.json"


class FolderNodeDirs:
    """ports.NodeDirs."""

    def __init__(self, *, home: Path, current: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._current = current
        self._environment = environment

    def find(self, given: Path | None) -> Path:
        if given is not None:
            return self._existing(given, "--node-dir")
        if self._environment.get(VARIABLE):
            return self._existing(Path(self._environment[VARIABLE]), VARIABLE)
        for folder in (self._current, *self._current.parents):
            if _is_node_dir(folder):
                return folder
        return self._only_one()

    def default(self, domain: str) -> Path:
        return self._home / "dasctl" / domain

    def absolute(self, path: Path) -> Path:
        text = str(path)
        if text == "~" or text.startswith("~/"):
            path = self._home / text[2:]
        return Path(os.path.abspath(self._current / path))  # noqa: PTH100 (the operator's own words)

    def instance_here(self, node_dir: Path) -> str | None:
        if not self._current.is_relative_to(node_dir) or self._current == node_dir:
            return None
        name = self._current.relative_to(node_dir).parts[0]
        return name if _is_file(node_dir / name / _STATE) else None

    def instances(self, node_dir: Path) -> tuple[str, ...]:
        return _instances(node_dir)

    def standing(self, node_dir: Path, instance: str) -> Mapping[str, Any] | None:
        path = node_dir / instance / _STATE
        document = _document(path)
        if document is not None and not (
            isinstance(document, dict) and isinstance(document.get("domain"), str)
        ):
            raise OperationFailed(f"{path} is damaged", hint="synchronise again from the DAS")
        return document

    def kept(self) -> tuple[Coordinates, ...]:
        found = []
        for folder in _folders(self._home / "dasctl"):
            with contextlib.suppress(DasctlError):
                found.append(self.load(folder))
        return tuple(coordinates for coordinates in found if coordinates is not None)

    def load(self, node_dir: Path) -> Coordinates | None:
        path = node_dir / FILE
        document = _document(path)
        return None if document is None else coordinates_of(document, str(path))

    def save(self, node_dir: Path, coordinates: Coordinates) -> None:
        data = json.dumps(coordinates.as_json(), indent=2).encode("ascii") + b"\n"
        try:
            node_dir.mkdir(parents=True, exist_ok=True)
            write_beside(os.fsencode(node_dir / FILE), data, mode=0o600)
        except OSError as error:
            raise OperationFailed(f"{node_dir / FILE} cannot be written: {error.strerror}") from error

    def clear(self, node_dir: Path) -> None:
        with contextlib.suppress(OSError):
            (node_dir / FILE).unlink(missing_ok=True)
            node_dir.rmdir()

    def _existing(self, path: Path, origin: str) -> Path:
        folder = self.absolute(path)
        if not folder.is_dir():
            raise UsageError(f"{folder} ({origin}) is not a folder")
        return folder

    def _only_one(self) -> Path:
        below = self._home / "dasctl"
        found = [folder for folder in _folders(below) if _is_node_dir(folder)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(folder.name for folder in found)
            raise UsageError(
                f"several nodes' directories in {below}: {names}", hint="choose one with --node-dir"
            )
        raise UsageError(
            "no node's directory: neither here or upwards, nor in ~/dasctl",
            hint=f"name it with --node-dir or {VARIABLE}, or join a domain: dasctl join-domain",
        )


def _is_node_dir(folder: Path) -> bool:
    return _is_file(folder / FILE) or bool(_instances(folder))


def _instances(folder: Path) -> tuple[str, ...]:
    return tuple(inside.name for inside in _folders(folder) if _is_file(inside / _STATE))


def _is_file(path: Path) -> bool:
    """Whether there is a file that we may see; on the way up to / there are folders of others (`/lost+found`)."""
    try:
        return path.is_file()
    except OSError:
        return False


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:
        return []
    return [folder / name for name in names]


def _document(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(MOST_FILE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise OperationFailed(f"{path} cannot be read: {error}") from error
