"""Writing bundles: one zip that standard tools open, and that a node's own python3 runs.

What lives here: the file. What must not: what goes into it (`core/bundles.py`), reading it (`remote/offline/`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pkgutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.abc import InspectLoader
from pathlib import Path
from typing import IO, cast

from dasctl.core.bundles import Plan
from dasctl.core.exchange import BundleFile
from dasctl.errors import OperationFailed
from dasctl.remote.offline.bundle import CONTENTS, MANIFEST, PARTS, PROGRAM

PIECE = 1 << 18  # bytes
LEVEL = 6  # zlib: made once, carried by hand
PROBE = 64 << 10  # bytes of a content by which it is judged whether it shrinks
WORTH = 0.95  # what zlib leaves larger than this share is stored as it is
MOST_RUN_BYTES = (1 << 32) - (1 << 20)  # before Python 3.13 the interpreter runs no zip that needs zip64 …
MOST_RUN_MEMBERS = 65_000
_WHEN = (1980, 1, 1, 0, 0, 0)  # of all members: the same state makes the same bytes
_PACKAGES = ("dasctl.remote", "dasctl.remote.offline")

_PROGRAM = '''\
"""Run by `python3 BUNDLE`: brings the instances of this machine to the state in the bundle. `--help` says how."""
import sys

if sys.version_info < (3, 9):
    sys.exit("dasctl: python3 %d.%d is too old here; 3.9 or newer is needed" % sys.version_info[:2])
if sys.argv[0].endswith("__main__.py"):  # unpacked: a bundle that is too large to be run by itself
    if len(sys.argv) < 2:
        sys.exit("usage: python3 __main__.py BUNDLE [OPTIONS]")
    del sys.argv[0]
from dasctl.remote.offline.program import main

sys.exit(main(sys.argv[0], sys.argv[1:]))
'''


class ZipBundles:
    """ports.Bundles."""

    def write(
        self,
        file: Path,
        plan: Plan,
        content: Callable[[str], Iterable[bytes]],
        on_written: Callable[[int], None],
    ) -> BundleFile:
        """See `ports.Bundles`."""
        try:
            with tempfile.NamedTemporaryFile(
                dir=file.parent, prefix=f".{file.name[:100]}-", delete=False
            ) as beside:
                try:
                    _fill(beside, plan, content, on_written)
                    beside.flush()
                    Path(beside.name).chmod(0o644)
                    Path(beside.name).replace(file)
                except BaseException:
                    with suppress(OSError):
                        Path(beside.name).unlink()
                    raise
            return _measured(file, len(plan.contents) + len(plan.parts))
        except OSError as error:
            raise OperationFailed(
                f"{file} cannot be written: {error.strerror or error}",
                hint="name another file, or make room on that disk",
            ) from error


def _fill(
    beside: IO[bytes],
    plan: Plan,
    content: Callable[[str], Iterable[bytes]],
    on_written: Callable[[int], None],
) -> None:
    members = {PROGRAM: _PROGRAM.encode(), **dict(_sources())}
    parts = {PARTS + digest: data for digest, data in plan.parts.items()}
    manifest = {
        **plan.manifest,
        "parts": {
            digest: {"size": len(data), "base": plan.bases[digest]} for digest, data in plan.parts.items()
        },
        "contents": dict(plan.contents),
        "members": {
            name: [hashlib.sha256(data).hexdigest(), len(data)] for name, data in {**members, **parts}.items()
        },
    }
    written = 0
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for name, data in members.items():
            _small(archive, name, data)
        _small(archive, MANIFEST, json.dumps(manifest, indent=1).encode("ascii") + b"\n")
        for name, data in parts.items():
            _small(archive, name, data)
        for digest, size in plan.contents.items():
            _streamed(archive, CONTENTS + digest, size, content(digest))
            written += size
            on_written(written)


def _sources() -> Iterator[tuple[str, bytes]]:
    """The helper as it is here, and what imports: (member, source)."""
    yield "dasctl/__init__.py", b""
    for package in _PACKAGES:
        yield _source(package, "/__init__.py")
        for module in pkgutil.iter_modules(import_module(package).__path__):
            if not module.ispkg:
                yield _source(f"{package}.{module.name}", ".py")


def _source(name: str, ending: str) -> tuple[str, bytes]:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None, name
    source = cast(InspectLoader, spec.loader).get_source(name)
    assert source is not None, name
    return name.replace(".", "/") + ending, source.encode("utf-8")


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_WHEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    return info


def _small(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(_info(name), data)


def _streamed(archive: zipfile.ZipFile, name: str, size: int, pieces: Iterable[bytes]) -> None:
    info = _info(name)
    info.file_size = size  # tells zipfile whether the member needs zip64
    left = iter(pieces)
    first = next(left, b"")
    if not _shrinks(first):
        info.compress_type = zipfile.ZIP_STORED
    with archive.open(info, "w", force_zip64=size >= 1 << 31) as member:
        member.write(first)
        for piece in left:
            member.write(piece)


def _shrinks(piece: bytes) -> bool:
    probe = piece[:PROBE]
    return len(zlib.compress(probe, 1)) < len(probe) * WORTH


def _measured(file: Path, members: int) -> BundleFile:
    """Its size and digest, as they lie on the disk."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    runs = size <= MOST_RUN_BYTES and members <= MOST_RUN_MEMBERS
    return BundleFile(size=size, sha256=digest, runs=runs)
