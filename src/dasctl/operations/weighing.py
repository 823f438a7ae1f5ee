"""What contents weigh on the line, and so how each of them is sent: known before the first byte goes out.

What lives here: one run's look at its objects, shared by all nodes. What must not: frames, links.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from dasctl.core.exchange import PIECE
from dasctl.core.sending import Item, Plan, as_it_is, whole
from dasctl.errors import ObjectLost, RepositoryError
from dasctl.operations.contents import Blocks, OnSent
from dasctl.operations.ports import Objects, Repository
from dasctl.remote.paths import printable

log = logging.getLogger(__name__)

CLEARLY = 4  # times smaller than the content: then the whole need not be weighed, which may mean to pack it
NAMED = 5  # missing objects in a message

MOST_THOUGHT = 64 << 20  # bytes of a content of which a dry run makes a delta in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted: SHA-256 to raw size; what each was probably made of; how much of each is there already; and whether
    wholes travel as they are (`core/lines.py`).
    """

    contents: Mapping[str, int]
    ancestors: Mapping[str, str] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    as_they_are: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for orders that are filled alike."""
        rows = ((d, self.ancestors.get(d), self.offsets.get(d, 0)) for d in self.contents)
        return (self.as_they_are, *rows)


class Weights:
    """Looks at objects, from threads; each is weighed once.

    `paths` are the working files of all contents. `changed` are the contents that can be had no more, with their paths:
    neither object nor file holds them.
    """

    def __init__(self, objects: Objects, paths: Mapping[str, bytes]) -> None:
        self.changed: dict[str, bytes] = {}
        self._objects = objects
        self._paths = paths
        self._items: dict[tuple[str, str | None, int, bool], Item] = {}  # the same for all nodes
        self._looked_for: set[str] = set()
        self._packed: dict[str, int] = {}
        self._deltas: dict[tuple[str, str], int | None] = {}
        self._lock = threading.Lock()

    def plan(self, order: Order) -> Plan:
        """The way of each content in `order`."""
        with self._lock:
            self._keep(order)
            return tuple(self._item(order, digest, size) for digest, size in order.contents.items())

    def lose(self, digest: str) -> None:
        """A content could not be read while it was sent."""
        self.changed[digest] = self._paths.get(digest, b"")

    def _keep(self, order: Order) -> None:
        """What was recorded before objects were kept, or has been lost since, is kept now."""
        new = [d for d in order.contents if d not in self._looked_for and d in self._paths]
        self._looked_for.update(new)
        missing = {digest: self._paths[digest] for digest in new if not self._objects.has(digest)}
        if missing:
            named = ", ".join(printable(path) for path in sorted(missing.values())[:NAMED])
            log.warning(
                "%d objects are missing in .dasctl/objects, and made anew of the working files: %s%s",
                len(missing), named, " …" if len(missing) > NAMED else "",
            )  # fmt: skip
            self.changed.update(self._objects.keep(missing))

    def _item(self, order: Order, digest: str, size: int) -> Item:
        key = digest, order.ancestors.get(digest), order.offsets.get(digest, 0), order.as_they_are
        found = self._items.get(key)
        if found is None:
            found = self._items[key] = self._weighed(size, *key)
        return found

    def _weighed(self, size: int, digest: str, base: str | None, offset: int, plain: bool) -> Item:
        delta = self._delta(base, digest, size) if base is not None else None
        if delta is None and plain:
            return as_it_is(digest, size, offset)
        if delta is not None and not offset and delta < size // CLEARLY:
            return Item(digest=digest, size=size, base=base, travels=delta)
        straight = whole(digest, size, self._weight(digest, size), offset)
        if delta is None or delta >= straight.travels:
            return as_it_is(digest, size, offset) if plain else straight
        return Item(digest=digest, size=size, base=base, travels=delta)

    def _weight(self, digest: str, size: int) -> int:
        if digest not in self._packed:
            try:
                self._packed[digest] = self._objects.packed_size(digest)
            except ObjectLost:
                self.lose(digest)
                return size
        return self._packed[digest]

    def _delta(self, base: str, digest: str, size: int) -> int | None:
        if (base, digest) not in self._deltas:
            made = None if digest in self.changed else self._objects.delta(base, digest)
            self._deltas[base, digest] = None if made is None else len(made)
        return self._deltas[base, digest]


class ThoughtOf(Weights):
    """The same for a dry run, which keeps nothing: what has no object yet is packed in memory, and forgotten again.

    `given` are contents that no file holds yet. Contents of more than MOST_THOUGHT bytes count as if they went whole.
    """

    def __init__(
        self,
        objects: Objects,
        paths: Mapping[str, bytes],
        repository: Repository,
        given: Mapping[str, bytes],
    ) -> None:
        super().__init__(objects, paths)
        self._repository = repository
        self._given = given

    def _keep(self, order: Order) -> None:
        pass

    def _weight(self, digest: str, size: int) -> int:
        if digest not in self._packed:
            if self._objects.has(digest):
                return super()._weight(digest, size)
            from dasctl.core.packing import packed

            try:
                self._packed[digest] = sum(len(packed(piece).data) for piece in self._pieces(digest))
            except RepositoryError:
                return size
        return self._packed[digest]

    def _delta(self, base: str, digest: str, size: int) -> int | None:
        if self._objects.has(digest) or size > MOST_THOUGHT:
            return super()._delta(base, digest, size)
        if (base, digest) not in self._deltas:
            self._deltas[base, digest] = self._thought_of(base, digest)
        return self._deltas[base, digest]

    def _thought_of(self, base: str, digest: str) -> int | None:
        from dasctl.core.delta import delta  # most commands make none
        from dasctl.core.packing import packed_delta, unpacked

        try:
            old = b"".join(unpacked(piece) for piece in self._objects.pieces(base))
            new = b"".join(self._pieces(digest))
        except RepositoryError:
            return None
        return len(packed_delta(delta(old, new)))

    def _pieces(self, digest: str) -> Iterable[bytes]:
        if digest in self._given:
            data = self._given[digest]
            return [data[start : start + PIECE] for start in range(0, max(len(data), 1), PIECE)]
        if digest not in self._paths:
            raise RepositoryError(f"no file holds the content {digest}")
        return self._repository.read(self._paths[digest], piece=PIECE)


class Sending:
    """One run's contents: weighed, and made into blocks, once for all nodes."""

    def __init__(self, objects: Objects, weights: Weights) -> None:
        self._weights = weights
        self.blocks = Blocks(objects, weights.lose)
        self._plans: dict[object, asyncio.Future[Plan]] = {}

    @property
    def changed(self) -> Mapping[str, bytes]:
        """Contents that can be had no more, with the paths of the files that held them."""
        return self._weights.changed

    async def plan(self, order: Order) -> Plan:
        """How the contents of `order` are sent."""
        if not order.contents:
            return ()
        key = order.key
        if key not in self._plans:
            loop = asyncio.get_running_loop()
            self._plans[key] = loop.run_in_executor(None, self._weights.plan, order)
        return await asyncio.shield(self._plans[key])

    def frames(self, plan: Plan, on_sent: OnSent = lambda progress: None) -> AsyncIterator[bytes]:
        """See Blocks.frames."""
        return self.blocks.frames(plan, on_sent)
