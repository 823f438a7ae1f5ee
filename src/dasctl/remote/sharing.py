"""Contents that need not be sent: they are on the node already.

What lives here: where a content lies on this node, and making the files of a plan from there. In the order of preference:
`local/` for what overrides, the file's own old path (it moved), the instance itself, the other instances of the request,
staging, and neighbours: the instances of the same domain below the node's directory. What must not: contents from the
link (`receive.py`).
"""

from __future__ import annotations

from dasctl.remote import handles as by_handle
from dasctl.remote import paths, space, staging, state
from dasctl.remote.fresh import Fresh
from dasctl.remote.state import Failure
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dasctl.remote.work import Work

    Guarded = Callable[[Work, Callable[[Work], None]], None]

EMPTY = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes
SMALL = 64 << 10  # bytes: so much is read and written sooner than it is cloned
FEW = 32  # digests that are looked for one by one in the bytes of a part
MOST_SOURCES = 4  # places of one content that are tried


class Source:
    """Where a content lies: a path of an instance, open. `name` is the instance's."""

    __slots__ = ("name", "path", "place")

    def __init__(self, place: state.Place, path: bytes) -> None:
        self.place, self.path, self.name = place, path, place.name

    def told(self, name: str) -> str:
        """The path as a person reads it who looks at instance `name`."""
        text = paths.printable(self.path)
        return text if name == self.name else "../%s/%s" % (self.name, text)


class Neighbours:
    """The other instances of the domain below the node's directory: opened and read when something is wanted that is
    nowhere else, without a lock; what they say is verified when it is copied."""

    def __init__(self, node: str, domain: str, without: Iterable[str]) -> None:
        self._node, self._domain, self._without = node, domain, set(without)
        self._known: list[tuple[state.Place, list[bytes]]] | None = None

    def __enter__(self) -> Neighbours:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        for place, _parts in self._known or ():
            place.close()
        self._known = []

    def all(self) -> list[tuple[state.Place, list[bytes]]]:
        """(place, canonical bytes of its parts) of each."""
        if self._known is None:
            self._known = []
            try:
                names = sorted(set(os.listdir(self._node)) - self._without)
            except OSError:
                names = []
            for name in names:
                self._open(name)
        return self._known

    def _open(self, name: str) -> None:
        try:
            paths.check_name(name)
            place = state.open_place(self._node, name, create=False)
        except (paths.PathError, UnicodeError, Failure):
            return
        if place is None:
            return
        try:
            kept = state.load(place)
        except OSError:
            kept = state.Kept()
        if kept.at is not None and kept.at["domain"] == self._domain and self._known is not None:
            place.handles.forget()
            self._known.append((place, list(kept.parts.values())))
        else:
            place.close()


def sources(works: list[Work], wanted: dict[bytes, int], neighbours: Neighbours) -> dict[bytes, list[Source]]:
    """Where the contents lie that are wanted (digest to size; -1: any). Writes nothing, and reads no contents."""
    found: dict[bytes, list[Source]] = {}

    def add(digest: bytes, place: state.Place, path: bytes) -> None:
        known = found.setdefault(digest, [])
        if len(known) < MOST_SOURCES:
            known.append(Source(place, path))

    for work in works:
        if work.place is not None:
            for digest, path in _in_instance(work, wanted):
                add(digest, work.place, path)
    rest = {digest: size for digest, size in wanted.items() if digest not in found}
    for work in works:
        if rest and work.place is not None:
            names = set(state.in_staging(work.place))
            for digest in [digest for digest in rest if digest in names]:
                if rest[digest] < 0 or staging.has(work.place, digest, rest[digest], mend=False):
                    add(digest, work.place, staging.name_of(digest))
                    del rest[digest]
    if rest:
        for place, parts in neighbours.all():
            try:
                told = [(digest, line.split(b" ", 5)[5], line) for digest, line in _lines(parts, rest)]
            except IndexError:
                continue  # not lines: somebody wrote into its manifest
            for digest, path, line in told:
                if _as_told(place, line, path):
                    add(digest, place, path)
    return found


def _in_instance(work: Work, wanted: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """(digest, path) of the wanted contents that the walk saw in an instance."""
    for path, line in work.overlay.lines.items():
        digest = line.split(b" ", 5)[4] if line[:1] == b"f" else b""
        if digest in wanted:
            yield digest, b"local/" + path
    same, ancestor = work.seen.same, work.ancestor
    for digest, line in _lines(work.kept.parts.values(), wanted):
        path = line.split(b" ", 5)[5]
        if work.as_known or (path in same and ancestor.get(path) == line):
            yield digest, path
    for path, entry in work.seen.other.items():
        if entry.digest in wanted and entry.kind == "f":
            yield entry.digest, path


def _lines(parts: Iterable[bytes], wanted: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """(digest, line) of the files with wanted contents in canonical bytes of parts."""
    for data in parts:
        if len(wanted) > FEW:
            for line in data[:-1].split(b"\0") if data else ():
                digest = line.split(b" ", 5)[4]
                if digest in wanted and line[:1] == b"f":
                    yield digest, line
        else:
            for digest in list(wanted):
                yield from _lines_of_one(data, digest)


def _lines_of_one(data: bytes, digest: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = data.find(digest)
    while at >= 0:
        start, end = data.rfind(b"\0", 0, at) + 1, data.find(b"\0", at)
        line = data[start:end]
        if line[:1] == b"f" and line.split(b" ", 5)[4] == digest:
            yield digest, line
        at = data.find(digest, end)


def _as_told(place: state.Place, line: bytes, path: bytes) -> bool:
    try:
        paths.check(path)
        status = by_handle.lstat(place.handles, path)
    except (paths.PathError, OSError):
        return False
    return status is not None and line.startswith(
        b"f %o %d %d " % (status.st_mode & 0o7777, status.st_size, status.st_mtime_ns)
    )


def stage_here(all_works: list[Work], guarded: Guarded, neighbours: Neighbours) -> None:
    """Check the space, and make what can be made of contents that the node has; `needs` are the others."""
    works = [work for work in all_works if work.reply is None and (work.sizes or work.plan.changes)]
    for work in works:
        guarded(work, _lay_out)
        guarded(work, _link_moved)
    works = [work for work in works if work.reply is None]
    wanted = {digest: _fresh(work).size(digest) for work in works for digest in _fresh(work).lacking()}
    found = sources(all_works, wanted, neighbours) if wanted else {}
    _check_space(works, found)
    works = [work for work in works if work.reply is None]
    for work in works:
        guarded(work, lambda work: _make_here(work, found))
    for work in works:
        if work.reply is None:
            work.needs = _fresh(work).lacking()


def _fresh(work: Work) -> Fresh:
    assert work.fresh is not None
    return work.fresh


def _lay_out(work: Work) -> None:
    assert work.place is not None
    if work.fresh is None:
        work.fresh = Fresh(work.place)
    work.fresh.lay_out(work.doing, work.seen)


def _link_moved(work: Work) -> None:
    """A file that the plan removes and places elsewhere, with mode and modtime as they are, is linked, not copied."""
    if work.reply is not None or not work.doing.remove or not work.fresh or not work.fresh.waiting:
        return
    gone: dict[bytes, list[bytes]] = {}
    for path in work.doing.remove:
        if path in work.seen.same:
            gone.setdefault(work.ancestor[path][: -len(path)], []).append(path)
    for entry in work.doing.place:
        if entry.kind != "f" or entry.digest not in work.fresh.waiting:
            continue
        olds = gone.get(b"f %o %d %d %s " % (entry.mode, entry.size, entry.mtime, entry.digest))
        if olds and work.fresh.link(entry, olds[-1]):
            work.origins[entry.digest] = paths.printable(olds.pop())


def _check_space(works: list[Work], found: dict[bytes, list[Source]]) -> None:
    taken = 0
    clones: dict[tuple[str, str], bool] = {}
    for work in works:
        fresh = _fresh(work)
        missing = fresh.bytes_missing()
        for digest, places in found.items():
            if digest in fresh.waiting and fresh.size(digest) > SMALL:
                pair = (places[0].name, work.name)
                if pair not in clones:
                    clones[pair] = staging.clones(places[0].place, places[0].path, fresh.place)
                if clones[pair]:
                    missing -= fresh.size(digest) * len(fresh.waiting[digest])
        try:
            space.check(work, missing, taken)
        except Failure as failure:
            work.fail(failure)
            continue
        taken += missing


def _make_here(work: Work, found: dict[bytes, list[Source]]) -> None:
    """Make all files of this instance whose contents the node has."""
    fresh = _fresh(work)
    for digest in fresh.lacking():
        if digest == EMPTY and fresh.size(digest) == 0:
            fresh.take(digest, b"")
            continue
        for source in found.get(digest, ()):
            if _take(fresh, digest, source):
                work.origins[digest] = source.told(work.name)
                break
        else:
            _check_overlay(work, digest)


def _take(fresh: Fresh, digest: bytes, source: Source) -> bool:
    size = fresh.size(digest)
    if size > SMALL:
        if not staging.copy(source.place, source.path, fresh.place, digest, size):
            return False
        fresh.hold(digest)
        return True
    data = staging.small(source.place, source.path, digest, size)
    if data is None:
        return False
    fresh.take(digest, data)
    return True


def _check_overlay(work: Work, digest: bytes) -> None:
    for entry in _fresh(work).waiting.get(digest, ()):
        if entry.path in work.overlay.lines:
            raise Failure(
                "%s changes while it is read" % paths.printable(b"local/" + entry.path),
                "synchronise again when it is at rest",
            )


def base(works: list[Work], neighbours: Neighbours, digest: bytes) -> int | None:
    """A handle of a file on the node with this content, as far as is known without reading it; None: there is none."""
    for source in sources(works, {digest: -1}, neighbours).get(digest, ()):
        try:
            return by_handle.open_file(source.place.handles, source.path)
        except OSError:
            continue
    return None


def told(work: Work) -> list[str | list[str | int]]:
    """The contents that have to be sent, as the reply tells them: with what is there of their beginning."""
    lines: list[str | list[str | int]] = []
    for digest in work.needs:
        there = _fresh(work).beginning(digest)
        lines.append([digest.decode(), there] if there else digest.decode())
    return lines
