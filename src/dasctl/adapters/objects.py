"""Contents of the kept revisions as files: `.dasctl/objects/ab/<sha256>`.

What lives here: which file is which object, what happens where one is damaged or missing, and when those that nobody needs
go. What must not: the form of a file (`object_form.py`), how one is made (`object_making.py`), which are needed.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH100, PTH108, PTH110, PTH208

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dasctl.adapters import object_form
from dasctl.adapters.object_deltas import DeltaFolder
from dasctl.adapters.object_form import Damaged
from dasctl.adapters.object_making import ObjectMaker
from dasctl.adapters.tree_hash import FLAGS
from dasctl.core import areas, packing
from dasctl.core.exchange import PIECE, Piece
from dasctl.errors import HistoryError, ObjectLost, RepositoryError
from dasctl.remote.paths import printable

MANY = 300  # objects: more are looked for by listing folders
CLEARLY = 4  # times smaller than the whole as it is: such a delta need not be compared with the whole as it is packed
EVERY = 20  # revisions between two collections: what is needed is found out by reading all kept manifests

log = logging.getLogger(__name__)


class FolderObjects:
    """The objects of the domain's folder `root`. May be used from several threads."""

    def __init__(self, root: Path | str) -> None:
        base = os.path.abspath(os.fsencode(root))
        self._folder = base + b"/" + areas.OWN_FOLDER + b"/objects"
        self._maker = ObjectMaker(base, self._folder)
        self._deltas = DeltaFolder(base + b"/" + areas.OWN_FOLDER + b"/deltas")
        self._paths: dict[str, bytes] = {}
        self._sound: dict[str, int] = {}  # verified by this process, or made by it: what their pieces take

    def keep(self, contents: Mapping[str, bytes], *, replacing: Collection[str] = ()) -> dict[str, bytes]:
        """See `ports.Objects`."""
        self._paths.update(contents)
        there = self._those_there(contents)
        wanted = [(digest, path) for digest, path in contents.items() if digest not in there]
        made = self._made(wanted, frozenset(replacing))
        return {digest: contents[digest] for digest, size in made.items() if size is None}

    def snapshot(self, path: bytes, size: int) -> str | None:
        """Keep the first `size` bytes of a file that is appended to; their SHA-256, or None where it has become shorter."""
        return self._maker.snapshot(path, size)

    def has(self, digest: str) -> bool:
        """See `ports.Objects`."""
        return os.path.exists(self._maker.place(digest))

    def packed_size(self, digest: str) -> int:
        """See `ports.Objects`."""
        if digest not in self._sound:
            self._pack_at_last(digest)
        if digest in self._sound:
            return self._sound[digest]
        with self._opened(digest) as handle, self._judged(digest):
            return object_form.packed_size(handle)

    def pieces(self, digest: str, *, offset: int = 0, as_they_are: bool = False) -> Iterator[Piece]:
        """See `ports.Objects`. Verified as a whole before the first piece, once in a process."""
        if as_they_are:
            yield from self._as_they_are(digest, offset)
            return
        if digest not in self._sound:
            self._pack_at_last(digest)
        self._verify(digest)
        piece = self._at_once(digest) if offset == 0 else None
        if piece is not None:
            yield piece
            return
        with self._opened(digest) as handle, self._judged(digest):
            yield from object_form.pieces(handle, offset)

    def _as_they_are(self, digest: str, offset: int) -> Iterator[Piece]:
        raw = self._small_as_it_is(digest) if offset == 0 else None
        if raw is not None:
            yield packing.as_it_is(raw)
            return
        self._verify(digest)
        with self._opened(digest) as handle, self._judged(digest):
            for piece in object_form.pieces(handle, offset):
                yield packing.as_it_is(object_form.unpacked(piece))

    def _small_as_it_is(self, digest: str) -> bytes | None:
        """A small content: the working file's bytes, if it still holds them, as those need no unpacking, or the object's."""
        path = self._paths.get(digest)
        raw = self._maker.reread(path, digest) if path is not None else None
        if raw is not None:
            return raw
        piece = self._single(digest)
        try:
            raw = object_form.unpacked(piece) if piece is not None else b""
        except Damaged:
            return None
        if piece is None or (digest not in self._sound and hashlib.sha256(raw).hexdigest() != digest):
            return None
        self._sound[digest] = len(piece.data)
        return raw

    def _at_once(self, digest: str) -> Piece | None:
        return self._single(digest) if self._sound.get(digest, PIECE + 1) <= PIECE else None

    def _single(self, digest: str) -> Piece | None:
        """The only piece of a small object, with as few system calls as can be: there are tens of thousands of them. None
        where it is large, or anything is wrong: who goes on the long way finds out what.
        """
        try:
            handle = os.open(self._maker.place(digest), FLAGS)
            try:
                size = min(os.fstat(handle).st_size, object_form.MOST_SINGLE)
                return object_form.single(os.read(handle, size + 1))
            finally:
                os.close(handle)
        except OSError:
            return None

    def delta(self, base: str, digest: str) -> bytes | None:
        """See `ports.Objects`."""
        try:
            with self._opened(base) as old, self._opened(digest) as new:
                sizes = object_form.size_of(old)[0], object_form.size_of(new)[0]
                if not self._deltas.fits(*sizes):
                    return None
            return self._deltas.of(
                base,
                digest,
                sizes,
                worth=lambda made: made < sizes[1] // CLEARLY or made < self.packed_size(digest),
                content=self._content,
                as_it_is=self._file_as_it_is,
            )
        except (ObjectLost, Damaged, OSError) as error:
            log.warning("%s; what was made of that content is sent whole", error)
            return None

    def collect(self, needed: Callable[[], Iterable[str]]) -> int:
        """See `ports.Objects`. It is time at each EVERYth call."""
        if not self._is_time():
            return 0
        with self._alone() as alone:
            return self._collected(needed) if alone else 0  # it is time again in a while

    def _collected(self, needed: Callable[[], Iterable[str]]) -> int:
        wanted = frozenset(needed())
        gone = sum(self._without(folder, wanted) for folder in self._folders())
        self._sound = {digest: size for digest, size in self._sound.items() if digest in wanted}
        self._remove_leftovers()
        return gone + self._deltas.collect(wanted)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Here nobody removes objects: what may be needed no more is read. Waits for a command that removes some."""
        handle = self._folder_opened()
        try:
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            if handle is not None:
                os.close(handle)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody holds the objects; nobody can while this lasts."""
        handle, alone = self._folder_opened(), True
        try:
            if handle is not None:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    alone = False
            yield alone
        finally:
            if handle is not None:
                os.close(handle)

    def _folder_opened(self) -> int | None:
        try:
            return os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def files(self) -> Iterator[bytes]:
        """The files of all objects, in order."""
        for folder in sorted(self._folders()) if os.path.exists(self._folder) else ():
            for name in sorted(os.listdir(folder)):
                if len(name) == 64:
                    yield folder + b"/" + name

    def check(self, needed: Iterable[str]) -> dict[str, str]:
        """See `ports.Objects`."""
        wrong: dict[str, str] = {}
        for digest in needed:
            self._sound.pop(digest, None)
            try:
                self._verify(digest)
            except ObjectLost as error:
                wrong[digest] = error.message
        return wrong

    def _made(
        self, wanted: list[tuple[str, bytes]], as_they_are: frozenset[str] = frozenset()
    ) -> dict[str, int | None]:
        if not wanted:
            return {}
        made = self._maker.make(wanted, as_they_are)
        self._sound.update(
            (digest, size)
            for digest, size in made.items()
            if size is not None and digest not in as_they_are  # those may still be packed
        )
        return made

    def _pack_at_last(self, digest: str) -> None:
        """Pack an object that was kept as it is because its content was expected to travel as a delta. Where that cannot
        be, or the object is damaged, it is left to those who read it.
        """
        with suppress(OSError, Damaged, HistoryError, RepositoryError):
            handle = os.open(self._maker.place(digest), FLAGS)
            try:
                size = self._maker.pack(handle, digest)
            finally:
                os.close(handle)
            if size is not None:
                self._sound[digest] = size

    def _those_there(self, digests: Iterable[str]) -> set[str]:
        digests = set(digests)
        if len(digests) <= MANY:
            return {digest for digest in digests if self.has(digest)}
        there: set[str] = set()
        for name in {digest[:2] for digest in digests}:
            with suppress(FileNotFoundError):
                there.update(os.listdir(os.fsdecode(self._folder) + "/" + name))
        return there & digests

    def _verify(self, digest: str) -> None:
        """Read the object once, and make it anew where it is damaged or missing. Raises ObjectLost."""
        if digest in self._sound:
            return
        try:
            handle = os.open(self._maker.place(digest), FLAGS)
            try:
                size = _verified(handle, digest)
            finally:
                os.close(handle)
        except (OSError, Damaged) as error:
            self._remade(digest, error)
            return
        self._sound[digest] = size

    @contextmanager
    def _opened(self, digest: str) -> Iterator[int]:
        """A handle of the object's file, which is made anew where it is missing. Raises ObjectLost."""
        place = self._maker.place(digest)
        try:
            handle = os.open(place, FLAGS)
        except OSError as error:
            self._remade(digest, error)
            handle = os.open(place, FLAGS)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _judged(self, digest: str) -> Iterator[None]:
        """Here damage ends in a new object for the next who asks, and in ObjectLost."""
        try:
            yield
        except (OSError, Damaged) as error:
            self._sound.pop(digest, None)
            self._remade(digest, error)
            raise ObjectLost(
                f"{self._told(digest)} was damaged: {_reason(error)}; it is made anew"
            ) from error

    def _remade(self, digest: str, error: OSError | Damaged) -> None:
        """Make the object of the working file. Raises ObjectLost where no working file holds the content."""
        fault = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {_reason(error)}"
        path = self._paths.get(digest)
        try:
            if path is not None and self._made([(digest, path)]).get(digest) is not None:
                log.warning("%s %s; it was made anew from %s", self._told(digest), fault, printable(path))
                return
        except (HistoryError, RepositoryError) as cause:
            fault += f", and cannot be made anew: {cause.message}"
        raise ObjectLost(
            f"{self._told(digest)} {fault}",
            hint="no working file holds this content any more: restore .dasctl/objects from a backup, or synchronise "
            "the repository as it is now",
        ) from error

    def _told(self, digest: str) -> str:
        return f"the object {printable(self._maker.place(digest))}"

    def _content(self, digest: str) -> Iterator[bytes]:
        """The bytes of a content: those of the working file that it was kept from a moment ago, which need no unpacking, or
        the object's. Raises ObjectLost, at the end at the latest, where they are not this content.
        """
        raw = self._maker.just_read(digest)
        if raw is not None:
            yield from raw
            return
        seen, size = None if digest in self._sound else hashlib.sha256(), 0
        with self._opened(digest) as handle, self._judged(digest):
            for piece in object_form.pieces(handle):
                data = object_form.unpacked(piece)
                size += len(piece.data)
                if seen is not None:
                    seen.update(data)
                yield data
            if seen is not None and seen.hexdigest() != digest:
                raise Damaged("its bytes have another digest")
        self._sound[digest] = size

    def _file_as_it_is(self, digest: str) -> bytes | None:
        """The object's file, if it is the content itself."""
        with self._opened(digest) as handle:
            return None if object_form.size_of(handle)[1] else self._maker.place(digest)

    def _is_time(self) -> bool:
        """Count this call, in a file that grows by a byte."""
        try:
            counted = os.open(
                self._folder + b"/calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        except OSError:
            return False  # nothing was ever kept, or nothing can be removed
        try:
            os.write(counted, b".")
            calls = os.fstat(counted).st_size
            if calls >= EVERY:
                os.ftruncate(counted, 0)
        except OSError:
            return True  # a full disk is when collecting helps
        finally:
            os.close(counted)
        return calls >= EVERY

    def _folders(self) -> list[bytes]:
        return [self._folder + b"/" + name for name in os.listdir(self._folder) if len(name) == 2]

    def _without(self, folder: bytes, wanted: frozenset[str]) -> int:
        """Remove what is not wanted; how many."""
        unneeded = [name for name in os.listdir(folder) if name.decode("ascii", "replace") not in wanted]
        for name in unneeded:
            with suppress(OSError):
                os.unlink(folder + b"/" + name)
        return len(unneeded)

    def _remove_leftovers(self) -> None:
        """What killed commands were writing; a command that still writes has its process."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._maker.fresh):
                owner = name.split(b"-")[0]
                if not (owner.isdigit() and os.path.exists(b"/proc/" + owner)):
                    os.unlink(self._maker.fresh + b"/" + name)


def _verified(handle: int, digest: str) -> int:
    """What the pieces of a sound object take. Raises Damaged, OSError."""
    seen, size = hashlib.sha256(), 0
    for piece in object_form.pieces(handle):
        seen.update(object_form.unpacked(piece))
        size += len(piece.data)
    if seen.hexdigest() != digest:
        raise Damaged("its bytes have another digest")
    return size


def _reason(error: OSError | Damaged) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
