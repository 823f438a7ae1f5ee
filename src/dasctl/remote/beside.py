"""Contents that a further channel brings into an instance's staging, beside the channel that holds its lock.

What lives here: the store for `receive.contents` that keeps every content under its digest. What must not: which contents
are needed, what they become (`fresh.py`).
"""

from __future__ import annotations

from dasctl.remote import staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dasctl.remote.state import Place


class Beside:
    """The contents `wanted` (digest to size) for the staging of `place`; `staged`: those that are there by now."""

    beside = True

    def __init__(self, place: Place, wanted: dict[bytes, int]) -> None:
        self.place = place
        self.staged: list[bytes] = []
        self.failure: OSError | None = None
        self._wanted = wanted

    def lacking(self) -> list[bytes]:
        return [digest for digest in self._wanted if digest not in self.staged]

    def size(self, digest: bytes) -> int:
        return self._wanted[digest]

    def take(self, digest: bytes, data: bytes | memoryview) -> None:
        writing = staging.Writing(self.place, digest, self._wanted[digest], beside=True)
        try:
            writing.write(data)
            writing.done()
        except staging.BadContent:
            writing.abort()
            return
        except BaseException:
            writing.abort()
            raise
        self.staged.append(digest)

    def hold(self, digest: bytes) -> None:
        self.staged.append(digest)
