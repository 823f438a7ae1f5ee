"""Objects in memory: for tests; the same rules as the folder's, and nothing survives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from dasctl.adapters import object_form
from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.core import packing
from dasctl.core.delta import delta
from dasctl.core.exchange import PIECE, Piece
from dasctl.errors import ObjectLost, RepositoryError


class MemoryObjects:
    """Objects of the contents of `repository`. `kept` maps SHA-256 to content; a test may damage or drop them there."""

    def __init__(self, repository: MemoryRepository) -> None:
        self.kept: dict[str, bytes] = {}
        self._repository = repository
        self._paths: dict[str, bytes] = {}

    def keep(self, contents: Mapping[str, bytes], *, replacing: Collection[str] = ()) -> dict[str, bytes]:
        """See `ports.Objects`."""
        self._paths.update(contents)
        return {d: path for d, path in contents.items() if not (self.has(d) or self._made(d, path))}

    def has(self, digest: str) -> bool:
        """See `ports.Objects`."""
        return digest in self.kept

    def packed_size(self, digest: str) -> int:
        """See `ports.Objects`."""
        return sum(len(piece.data) for piece in self.pieces(digest))

    def pieces(self, digest: str, *, offset: int = 0, as_they_are: bool = False) -> Iterator[Piece]:
        """See `ports.Objects`."""
        data = self._content(digest)
        for start in range(offset, max(len(data), 1), PIECE):
            raw = data[start : start + PIECE]
            yield packing.as_it_is(raw) if as_they_are else object_form.packed(raw)

    def delta(self, base: str, digest: str) -> bytes | None:
        """See `ports.Objects`. Made anew at each call."""
        try:
            old, new = self._content(base), self._content(digest)
        except ObjectLost:
            return None
        made = packing.packed_delta(delta(old, new))
        return made if len(made) < self.packed_size(digest) else None

    def collect(self, needed: Callable[[], Iterable[str]]) -> int:
        """See `ports.Objects`. It is always time."""
        wanted = set(needed())
        gone = [digest for digest in self.kept if digest not in wanted]
        for digest in gone:
            del self.kept[digest]
        return len(gone)

    def check(self, needed: Iterable[str]) -> dict[str, str]:
        """See `ports.Objects`."""
        wrong: dict[str, str] = {}
        for digest in needed:
            try:
                self._content(digest)
            except ObjectLost as error:
                wrong[digest] = error.message
        return wrong

    def _content(self, digest: str) -> bytes:
        """What is kept, made anew where it is missing or damaged."""
        data = self.kept.get(digest)
        if data is not None and hashlib.sha256(data).hexdigest() == digest:
            return data
        if digest in self._paths and self._made(digest, self._paths[digest]):
            return self.kept[digest]
        raise ObjectLost(f"object {digest} is {'missing' if data is None else 'damaged'}")

    def _made(self, digest: str, path: bytes) -> bool:
        try:
            data = b"".join(self._repository.read(path, piece=PIECE))
        except RepositoryError:
            return False
        if hashlib.sha256(data).hexdigest() != digest:
            return False
        self.kept[digest] = data
        return True
