"""Content frames: what comes behind a `sync`, a `contents` or a `stage`, up to the end.

What lives here: reading and checking the frames, unpacking them within the sizes that are known, handing contents that have
the digest that they were announced with to whoever needs them, and dropping the rest. What must not: which instance needs
what, what it makes of it (`fresh.py`).

A content that is not what it should be is forgotten: whoever needs it asks again.
"""

from __future__ import annotations

from dasctl.remote import messages, staging
from dasctl.remote.system import os
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from dasctl.remote.state import Place
    from dasctl.remote.wire import Link

    Header = dict[str, Any]
    # A handle of a file that has, as far as is known, the content with this digest; the caller closes it.
    Base = Callable[[bytes], "int | None"]

    class Store(Protocol):
        """Who needs contents. `take` makes use of a small one, verified; `hold`: a large one lies in staging. Both raise
        OSError; it is kept in `failure`, and nothing is given to that store any more. `beside`: not the only one that
        writes into that staging."""

        place: Place
        failure: OSError | None
        beside: bool

        def lacking(self) -> list[bytes]: ...
        def size(self, digest: bytes) -> int: ...
        def take(self, digest: bytes, data: bytes | memoryview) -> None: ...
        def hold(self, digest: bytes) -> None: ...


SMALL = 1 << 20  # bytes of a content that is kept in memory before it is written
UNPACKED = 1 << 20  # bytes unpacked at a time
MOST_PACK = 2 << 20  # bytes of a pack's body; a DAS fills it to half of that
MOST_IN_PACK = 1 << 17


def no_base(digest: bytes) -> int | None:
    """For those who take no deltas."""
    return None


def contents(link: Link, stores: Iterable[Store], base: Base = no_base) -> int:
    """Read all frames up to `end`, give the contents to the stores that lack them; how many frames came.

    Raises Gone, BadMessage.
    """
    receiving = _Receiving(link, stores, base)
    try:
        while True:
            header = link.header()
            if header is None:
                raise Gone
            if header.get("end") is True:
                return receiving.frames
            receiving.frame(header)
    finally:
        receiving.pause()


class _Receiving:
    def __init__(self, link: Link, stores: Iterable[Store], base: Base) -> None:
        self.frames = 0
        self._link, self._base = link, base
        self._wanted: dict[bytes, list[Store]] = {}
        for store in stores:
            for digest in store.lacking():
                self._wanted.setdefault(digest, []).append(store)
        self._hash: Any = None
        if self._wanted:
            from hashlib import sha256

            self._hash = sha256
        self._current = b""  # the content that is coming in pieces
        self._writing: staging.Writing | None = None
        self._writer: Store | None = None

    def frame(self, header: Header) -> None:
        self.frames += 1
        if "pack" in header:
            self._stop()
            self._pack(header)
        elif "delta" in header:
            self._stop()
            self._delta(header)
        else:
            self._content(header)

    def pause(self) -> None:
        """Keep what has come of a content that is not complete."""
        if self._writing is not None:
            if self._writer is not None and self._writer.beside:
                self._writing.abort()
            else:
                self._writing.pause()
            self._writing = None

    def _stop(self) -> None:
        if self._writing is not None:
            self._writing.abort()
        self._current, self._writing, self._writer = b"", None, None

    def _takers(self, digest: bytes) -> list[Store]:
        return [store for store in self._wanted.get(digest, ()) if store.failure is None]

    # -- whole small contents, many in a frame

    def _pack(self, header: Header) -> None:
        items, size = _items(header), self._link.left()
        if size > MOST_PACK or sum(item[2] for item in items) != size:
            raise messages.BadMessage("a pack whose sizes do not make up its %d bytes" % size)
        body, at = memoryview(self._link.body()), 0
        for text, raw, packed, z in items:
            piece = body[at : at + packed]
            at += packed
            digest = text.encode("ascii", "replace")
            takers = self._takers(digest) if digest in self._wanted else ()
            if not takers or takers[0].size(digest) != raw:
                continue
            if raw <= SMALL:
                self._give(digest, _unpacked(piece, raw) if z else piece)
            else:
                self._write_whole(digest, takers[0], _plain([bytes(piece)], bool(z)))

    def _give(self, digest: bytes, data: bytes | memoryview | None) -> None:
        """A small content to all that lack it, if it is what it should be."""
        if data is None or self._hash(data).hexdigest().encode() != digest:
            return
        for store in self._wanted.pop(digest, ()):
            if store.failure is None:
                try:
                    store.take(digest, data)
                except OSError as error:
                    store.failure = error

    def _write_whole(self, digest: bytes, store: Store, pieces: Iterable[bytes | memoryview]) -> None:
        try:
            self._begin(digest, store, 0)
            if self._writing is not None:
                for piece in pieces:
                    self._writing.write(piece)
                self._last()
        except staging.BadContent:
            pass
        except OSError as error:
            store.failure = error
        finally:
            self._stop()

    # -- contents in pieces

    def _content(self, header: Header) -> None:
        digest = messages.digest(header, "content").encode()
        offset = messages.optional(header, "offset", int)
        if offset is not None and not 0 <= offset < 1 << 62:
            raise messages.BadMessage("offset: %r is out of range" % offset)
        last = header.get("last") is True
        first = digest != self._current
        if first:
            self._stop()
            self._current = digest
        if header.get("abort") is True:
            self._stop()
            return
        takers = self._takers(digest)
        if first and takers:
            if last and not offset and max(takers[0].size(digest), self._link.left()) <= SMALL:
                self._give(digest, self._read_small(header, takers[0].size(digest)))
                self._stop()
                return
            self._begin_at(digest, takers, offset or 0)
        if self._writing is not None:
            self._piece(header, offset, last)
        self._link.skip()
        if last:
            self._stop()

    def _read_small(self, header: Header, size: int) -> bytes | None:
        data = bytearray()
        try:
            for piece in _plain(self._link.pieces(), header.get("z") is True):
                data += piece
                if len(data) > size:
                    return None
        except staging.BadContent:
            return None
        return bytes(data)

    def _begin_at(self, digest: bytes, takers: list[Store], offset: int) -> None:
        for store in takers:
            try:
                if not offset or staging.begun(store.place, digest, store.size(digest)) >= offset:
                    self._begin(digest, store, offset)
                    return
            except staging.BadContent:
                continue
            except OSError as error:
                store.failure = error

    def _begin(self, digest: bytes, store: Store, offset: int) -> None:
        self._writer = store
        self._writing = staging.Writing(store.place, digest, store.size(digest), offset, store.beside)

    def _piece(self, header: Header, offset: int | None, last: bool) -> None:
        assert self._writing is not None and self._writer is not None
        try:
            if offset is not None and offset != self._writing.at:
                raise staging.BadContent("a piece that does not begin where the last one ended")
            for piece in _plain(self._link.pieces(), header.get("z") is True):
                self._writing.write(piece)
            self._writing.whole_piece()
            if last:
                self._last()
            return
        except staging.BadContent:
            pass
        except OSError as error:
            self._writer.failure = error
        self._writing.abort()
        self._writing = None

    def _last(self) -> None:
        """The content is whole: everybody who lacks it gets it. Raises BadContent, OSError."""
        writing, writer = self._writing, self._writer
        assert writing is not None and writer is not None
        writing.done()
        self._writing = None
        writer.hold(writing.digest)
        for store in self._takers(writing.digest):
            if store is not writer:
                try:
                    staging.share(writer.place, store.place, writing.digest)
                    store.hold(writing.digest)
                except OSError as error:
                    store.failure = error
        self._wanted.pop(writing.digest, None)

    # -- contents as changes of others

    def _delta(self, header: Header) -> None:
        digest = messages.digest(header, "delta").encode()
        known = messages.digest(header, "base").encode()
        takers = self._takers(digest)
        handle = self._base(known) if takers else None
        if handle is None:
            self._link.skip()
            return
        from dasctl.remote import delta

        try:
            pieces = _plain(self._link.pieces(), packed=True)
            self._write_whole(digest, takers[0], delta.result(pieces, handle, takers[0].size(digest)))
        finally:
            os.close(handle)
        self._link.skip()


def _items(header: Header) -> list[tuple[str, int, int, int]]:
    items = messages.need(header, "pack", list)
    if len(items) > MOST_IN_PACK:
        raise messages.BadMessage("%d contents in one pack" % len(items))
    for item in items:
        if (
            not isinstance(item, list)
            or len(item) != 4
            or not isinstance(item[0], str)
            or type(item[1]) is not int
            or type(item[2]) is not int
            or item[3] not in (0, 1)
            or item[1] < 0
            or item[2] < 0
        ):
            raise messages.BadMessage("pack: %.120r" % (item,))
    return items  # type: ignore[no-any-return]


def _unpacked(piece: memoryview, size: int) -> bytes | None:
    """The bytes of a zlib stream that has to unpack to `size` of them."""
    import zlib

    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(piece, size + 1)
    except zlib.error:
        return None
    return data if len(data) == size else None


def _plain(pieces: Iterable[bytes], packed: bool) -> Iterator[bytes]:
    if not packed:
        yield from pieces
        return
    import zlib

    unpacker = zlib.decompressobj()
    try:
        for piece in pieces:
            while piece:
                if unpacker.eof:
                    raise staging.BadContent("bytes behind the end of what is compressed")
                plain = unpacker.decompress(piece, UNPACKED)
                yield plain
                piece = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error:
        raise staging.BadContent("not compressed as it should be") from None
