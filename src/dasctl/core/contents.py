"""Contents: where in the domain's folder a file with a given SHA-256 lies.

What lives here: the look-up. What must not: reading files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


class Contents(Mapping[str, bytes]):
    """SHA-256 (hex) to the path of a file that has it, below the domain's folder.

    Made of canonical bytes at the first look: a synchronisation with nothing to do never looks.
    """

    def __init__(self, trees: Sequence[bytes], extra: Mapping[str, bytes]) -> None:
        self._trees = trees
        self._extra = extra
        self._found: dict[str, bytes] | None = None

    def __getitem__(self, digest: str) -> bytes:
        return self._all()[digest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Contents({len(self)} files)"

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
