"""Releases of the servers' own software on the DAS: `.dasctl/releases/V/`, the file that one came in beside its manifest.

What lives here: making that folder of an archive, a folder or a single file; reading it. What must not: unpacking
(`archives.py`), objects, nodes.

    .dasctl/releases/V/FILE         as it was given; of a folder a .tar.gz is made
    .dasctl/releases/V/manifest     the canonical bytes of its part, whose digest is in domain.yaml
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH100, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from dasctl.adapters.archive_tree import walked
from dasctl.adapters.tree_hash import Moved, hash_files
from dasctl.core import areas
from dasctl.core.archives import Limits
from dasctl.core.exchange import NewRelease
from dasctl.core.releases import is_archive, part_of
from dasctl.errors import OperationFailed
from dasctl.remote.manifest import Entry, order
from dasctl.remote.paths import printable

FOLDER = areas.OWN_FOLDER + b"/releases"
MANIFEST = "manifest"
EXECUTABLE = 0o755

Telling = Callable[[str], Callable[[int], None]]  # of a phase what is to be told of its bytes


class FolderReleases:
    """ports.Releases of the domain's folder `root`."""

    def __init__(self, root: Path | str) -> None:
        self._root = os.path.abspath(os.fsencode(root))

    def make(
        self,
        source: Path,
        version: str,
        room: Path,
        limits: Limits,
        *,
        strip: bool,
        on_bytes: Telling = lambda phase: lambda size: None,
    ) -> NewRelease:
        """See `ports.Releases`."""
        kept, tree = room / "kept", room / "tree"
        kept.mkdir()
        name = self._taken(source, kept, tree, limits, on_bytes)
        # A folder was pointed at, a file stands for itself; the one folder in an archive is only its name.
        top = _only_folder(tree) if strip and is_archive(source.name) and source.is_file() else None
        base = tree / top if top is not None else tree
        entries = _entries(os.fsencode(base), name)
        part = part_of(version, entries)
        (kept / MANIFEST).write_bytes(part.data)
        place = os.path.relpath(os.fsencode(base), self._root)
        contents = {e.digest.decode("ascii"): place + b"/" + e.path for e in entries if e.kind == "f"}
        sizes = [entry.size for entry in entries if entry.kind == "f"]
        return NewRelease(
            version=version, archive=name, part=part, contents=contents, folder=kept, stripped=top or "", files=len(sizes),
            size=sum(sizes),
        )  # fmt: skip

    def manifest(self, version: str) -> bytes | None:
        """See `ports.Releases`."""
        try:
            return (self._folder() / version / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def manifests(self) -> Iterator[bytes]:
        """See `ports.Releases`."""
        try:
            names = os.listdir(self._folder())
        except FileNotFoundError:
            return
        for name in names:
            data = self.manifest(name)
            if data is not None:
                yield data

    def _folder(self) -> Path:
        return Path(os.fsdecode(self._root + b"/" + FOLDER))

    def _taken(self, source: Path, kept: Path, tree: Path, limits: Limits, on_bytes: Telling) -> str:
        """Copy or pack `source` into `kept` and unpack it into `tree`; the name of the file in `kept`."""
        from dasctl.adapters.archives import FileArchives  # reading manifests needs none

        archives = FileArchives()
        if source.is_dir():
            archive = kept / f"{source.resolve().name or 'release'}.tar.gz"
            archives.pack(source, archive, on_bytes=on_bytes("packing"))
            archives.unpack(archive, tree, limits, on_bytes=on_bytes("unpacking"))
            return archive.name
        name = source.name if source.name != MANIFEST else f"{MANIFEST}.file"
        if not is_archive(source.name):
            _check_single(source)
        archives.keep(source, kept / name, on_bytes=on_bytes("copying"))
        if is_archive(source.name):
            archives.unpack(kept / name, tree, limits, on_bytes=on_bytes("unpacking"))
            return name
        tree.mkdir()
        archives.keep(source, tree / source.name)
        (tree / source.name).chmod(EXECUTABLE)
        seen = source.stat()
        os.utime(tree, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
        tree.chmod(EXECUTABLE)
        return name


def _check_single(source: Path) -> None:
    """A file that is neither an archive nor a program is a mistake."""
    try:
        mode = source.stat().st_mode
    except OSError as error:
        raise OperationFailed(f"{source} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode) or not (mode & 0o111 or source.name.endswith(".jar")):
        raise OperationFailed(
            f"{source} is neither a .tar.gz, .tgz or .zip, nor a folder, nor an executable file",
            hint="give an archive in one of these forms; or chmod +x, if the file is the release itself",
        )


def _only_folder(tree: Path) -> str | None:
    """The name of the one folder in which all lies; None where there is no such folder."""
    names = os.listdir(tree)
    if len(names) != 1 or (tree / names[0]).is_symlink() or not (tree / names[0]).is_dir():
        return None
    return names[0]


def _entries(root: bytes, name: str) -> list[Entry]:
    """All of the unpacked tree in canonical order, the folder itself first. Links that lead out of it are refused."""
    found = list(walked(root))
    files = [(f.path, f.seen.st_size) for f in found if stat.S_ISREG(f.seen.st_mode)]
    try:
        digests = dict(hash_files(root, files))
    except Moved as error:
        raise OperationFailed(
            f"{printable(root)} changed while it was read", hint="run the command again"
        ) from error
    entries = []
    for item in found:
        kind, digest = areas.kind_of_mode(item.seen.st_mode), b"-"
        if kind == "f":
            hashed = digests[item.path]
            if isinstance(hashed, OSError):
                raise OperationFailed(f"{printable(item.path)} cannot be read: {hashed.strerror}")
            digest = hashed.digest
        elif kind == "l":
            digest = item.target
            fault = areas.link_fault(item.path, item.target)
            if fault:
                raise OperationFailed(
                    f"{name} is refused: {printable(item.path)}: {fault}", hint="nothing was installed"
                )
        mode = 0o777 if kind == "l" else stat.S_IMODE(item.seen.st_mode)
        size = item.seen.st_size if kind == "f" else 0
        entries.append(Entry(item.path, kind, mode, size, item.seen.st_mtime_ns, digest))
    return sorted(entries, key=lambda entry: order(entry.path))
