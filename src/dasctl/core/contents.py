"""Contents: where in the domain's folder a file with a given SHA-256 lies.

What lives here: the look-up. What must not: reading files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

FEW = 16  # look-ups that cost less than making a table of all files


class Contents(Mapping[str, bytes]):
    """SHA-256 (hex) to the path of a file that has it, below the domain's folder.

    The first few are searched for in canonical bytes; a table is made of these when more are asked for.
    """

    def __init__(self, trees: Sequence[bytes], extra: Mapping[str, bytes]) -> None:
        self._trees = trees
        self._extra = extra
        self._found: dict[str, bytes] | None = None
        self._searches = 0

    def __getitem__(self, digest: str) -> bytes:
        if self._found is None and self._searches < FEW:
            self._searches += 1
            path = self._searched(digest)
            if path is not None:
                return path
        return self._all()[digest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Contents({len(self)} files)"

    def _searched(self, digest: str) -> bytes | None:
        wanted = b" %s " % digest.encode("ascii", "replace")
        found = (_path_with(wanted, data) for data in self._trees)
        return next((path for path in found if path is not None), self._extra.get(digest))

    def _all(self) -> dict[str, bytes]:
        if self._found is None:
            found = dict(self._extra)
            for data in self._trees:
                found.update(_files_in(data))
            self._found = found  # whole: several nodes may be sent contents at the same time
        return self._found


def _files_in(data: bytes) -> Iterator[tuple[str, bytes]]:
    for text in data[:-1].split(b"\0"):
        if text.startswith(b"f "):
            _, _, _, _, digest, path = text.split(b" ", 5)
            yield digest.decode("ascii"), path


def _path_with(wanted: bytes, data: bytes) -> bytes | None:
    """The path of a file's line that has `wanted` (between spaces) for its digest: other fields may look like it."""
    at = data.find(wanted)
    while at >= 0:
        before = data[data.rfind(b"\0", 0, at) + 1 : at]
        if before.startswith(b"f ") and before.count(b" ") == 3:
            return data[at + len(wanted) : data.index(b"\0", at)]
        at = data.find(wanted, at + 1)
    return None
