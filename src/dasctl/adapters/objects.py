"""Contents of the kept revisions as files: `.dasctl/objects/ab/<sha256>`.

What lives here: which file is which object, and what happens where one is damaged or missing. What must not: the form of
a file (`object_form.py`), which objects are needed.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH100, PTH103, PTH105, PTH108, PTH110, PTH120, PTH123

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dasctl.adapters import object_form
from dasctl.adapters.object_form import PIECE, Damaged
from dasctl.adapters.tree_hash import FLAGS
from dasctl.core import areas
from dasctl.core.exchange import Piece
from dasctl.errors import HistoryError, ObjectLost

log = logging.getLogger(__name__)


class FolderObjects:
    """The objects of the domain's folder `root`. May be used from several threads."""

    def __init__(self, root: Path | str) -> None:
        self._root = os.path.abspath(os.fsencode(root))
        self._folder = self._root + b"/" + areas.OWN_FOLDER + b"/objects"
        self._paths: dict[str, bytes] = {}

    def keep(self, contents: Mapping[str, bytes]) -> dict[str, bytes]:
        """See `ports.Objects`."""
        self._paths.update(contents)
        return {d: path for d, path in contents.items() if not (self.has(d) or self._made(d, path))}

    def has(self, digest: str) -> bool:
        """See `ports.Objects`."""
        return os.path.exists(self._file(digest))

    def packed_size(self, digest: str) -> int:
        """See `ports.Objects`."""
        try:
            handle = os.open(self._file(digest), FLAGS)
            try:
                return object_form.packed_size(handle)
            finally:
                os.close(handle)
        except (OSError, Damaged) as error:
            raise ObjectLost(f"object {digest}: {error}") from error

    def pieces(self, digest: str, *, offset: int = 0) -> Iterator[Piece]:
        """See `ports.Objects`."""
        try:
            handle = os.open(self._file(digest), FLAGS)
        except OSError as error:
            if digest not in self._paths or not self._made(digest, self._paths[digest]):
                raise ObjectLost(f"object {digest}: {error}") from error
            handle = os.open(self._file(digest), FLAGS)
        seen = hashlib.sha256()
        try:
            for piece in object_form.pieces(handle, offset):
                seen.update(object_form.unpacked(piece))
                yield piece
            if not offset and seen.hexdigest() != digest:
                raise Damaged("its bytes have another digest")
        except (OSError, Damaged) as error:
            raise ObjectLost(f"object {digest}: {error}") from error
        finally:
            os.close(handle)

    def delta(self, base: str, digest: str) -> bytes | None:
        """See `ports.Objects`."""
        return None

    def collect(self, needed: Callable[[], Iterable[str]]) -> int:
        """See `ports.Objects`."""
        return 0

    def check(self, needed: Iterable[str]) -> dict[str, str]:
        """See `ports.Objects`."""
        wrong: dict[str, str] = {}
        for digest in needed:
            try:
                for _ in self.pieces(digest):
                    pass
            except ObjectLost as error:
                wrong[digest] = error.message
        return wrong

    def _file(self, digest: str) -> bytes:
        return self._folder + b"/" + digest[:2].encode() + b"/" + digest.encode()

    def _made(self, digest: str, path: bytes) -> bool:
        """Make the object of the working file at `path`; whether that still holds the content."""
        place = self._file(digest)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=b".new-", dir=os.path.dirname(place))
        try:
            with open(handle, "wb") as out, open(os.open(self._root + b"/" + path, FLAGS), "rb") as source:
                seen, size = hashlib.sha256(), 0
                out.write(object_form.head(0))
                while (raw := source.read(PIECE)) or not size:
                    seen.update(raw)
                    size += len(raw)
                    out.write(object_form.framed(object_form.packed(raw)))
                    if not raw:
                        break
                out.seek(0)
                out.write(object_form.head(size))
            if seen.hexdigest() != digest:
                return False
            os.replace(beside, place)
            beside = b""
        except FileNotFoundError:
            return False
        except OSError as error:
            raise HistoryError(f"object {digest} cannot be written: {error.strerror}") from error
        finally:
            if beside:
                os.unlink(beside)
        return True
