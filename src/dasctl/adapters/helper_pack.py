"""The helper in pieces: the modules that a request needs, ready to be sent, made once for each release and interpreter.

What lives here: which modules travel when and in which form, and the pieces' cache in `.dasctl/helper`. What must not: how
the node takes them (`bootstrap.py`), links.

A node whose python has our magic number gets code: nothing is compiled there, which takes 40 ms; sources are half as large.
What a synchronisation with nothing to do never touches goes only with a request that may need it, and what few of those need
goes as source. All that was guessed wrongly here is asked for by the node, and costs a round trip.
"""

from __future__ import annotations

import hashlib
import marshal
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

import dasctl
from dasctl.adapters import bootstrap
from dasctl.adapters.beside import write_beside
from dasctl.remote import frames, words

VARIABLE = "DASCTL_HELPER"  # `sources`: complete sources, for tracebacks that show their lines
PACKAGE = "dasctl.remote"
FIRST = "first"  # what every request needs
WORK = "work"  # a synchronisation that changes something
REST = "rest"  # one that is out of the ordinary: held, thought of, of software
CODE, SOURCES = "code", "sources"
_DIGEST, _SIZE = 32, 8  # bytes of a SHA-256, and of a block's size

# Where each request begins. `main` imports late; all else is followed from here.
ROOTS = {
    FIRST: ("main",),
    words.SYNC: ("sync", "beats"),
    words.CONTENTS: ("sync", "beats"),
    words.COMMIT: ("sync", "beats"),
    words.STAGE: ("carrying", "beats"),
    words.LOOK: ("look", "beats"),
    words.DEVIATIONS: ("deviations", "beats"),
    words.READ: ("reading", "beats"),
    words.PING: ("ping",),
    words.START: ("start",),
    words.STOP: ("stop",),
    words.RELOAD: ("stop",),
    words.REMOVE: ("remove",),
    words.SOFTWARE: ("software", "beats"),
    words.SWITCH: ("software", "beats"),
    words.RUN: ("run",),
    words.TAIL: ("tailing", "beats"),
    words.LOGS: ("collecting", "beats"),
    words.DUMP: ("dumping", "beats"),
    words.MORE: ("beats",),  # what it goes on with has been sent
}
# What a synchronisation with nothing to do executes, besides what every request needs.
HOT = (
    "beats",
    "commit",
    "compare",
    "guard",
    "overlay",
    "parts",
    "receive",
    "report",
    "sync",
    "tree",
    "work",
    "writing",
)
# What nearly each one executes that changes something.
WORKING = ("dangers", "delta", "fresh", "mounts", "sharing", "shifting", "space", "staging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What stands before a request: a frame, and the modules in it."""

    names: frozenset[str]
    data: bytes


class HelperPack:
    """Every piece that may be sent. `pieces` by form and request; `modules` unpacks what other pieces are made of.

    `hot`: those that most commands need, by form and request; the others are there when `whole` was asked for.
    """

    def __init__(
        self,
        pieces: Mapping[str, Mapping[str, Piece]] | None,
        modules: bytes | None,
        *,
        hot: Mapping[tuple[str, str], Piece] | None = None,
        whole: Callable[[], HelperPack] | None = None,
    ) -> None:
        self._given = pieces, modules
        self._hot = hot or {}
        self._whole = whole

    @cached_property
    def _pieces(self) -> Mapping[str, Mapping[str, Piece]]:
        pieces = self._given[0] if self._whole is None else self._all._pieces
        assert pieces is not None
        return pieces

    @cached_property
    def _modules(self) -> bytes:
        modules = self._given[1] if self._whole is None else self._all._modules
        assert modules is not None
        return modules

    @cached_property
    def _all(self) -> HelperPack:
        assert self._whole is not None
        return self._whole()

    def piece(self, form: str, request: str, sent: frozenset[str]) -> Piece:
        """The modules for `request` without those that were sent."""
        found = self._hot.get((form, request))
        if found is None:
            found = self._pieces[form].get(request) or self._pieces[form][""]
        left = found.names - sent
        if not left:
            return Piece(names=left, data=b"")
        return found if len(left) == len(found.names) else self.of(form, left)

    def of(self, form: str, names: Iterable[str]) -> Piece:
        """These modules, as far as there are any of these names."""
        known = self._unpacked
        return _piece(form, {name: known[name] for name in sorted(names) if name in known})

    @cached_property
    def _unpacked(self) -> dict[str, tuple[bytes, CodeType]]:
        found: dict[str, tuple[bytes, CodeType]] = marshal.loads(self._modules)
        return found


class Shipment:
    """What one node has been sent. `magic`: what its python told in an earlier greeting; None: it is not known."""

    def __init__(self, pack: HelperPack, magic: str | None) -> None:
        self._pack = pack
        self._form = CODE if magic == bootstrap.magic() else SOURCES
        self._sent: frozenset[str] = frozenset()

    def opening(self) -> bytes:
        """What goes first, ahead of every frame."""
        return self._taken(self._pack.piece(self._form, FIRST, self._sent))

    def ahead_of(self, header: Mapping[str, Any]) -> bytes:
        """The frame that must stand before the request, if any."""
        op = str(header.get("op", ""))
        data = self._of(op)
        if op in (words.CONTENTS, words.COMMIT) or header.get("blobs") or header.get("hold"):
            data += self._of(WORK)
        if header.get("hold") or header.get("dry_run") or _is_of_software(header):
            data += self._of(REST)
        return data

    def _of(self, request: str) -> bytes:
        piece = self._pack.piece(self._form, request, self._sent)
        return self._taken(piece) if piece.names else b""

    def answer(self, wanted: object) -> bytes:
        """The frame that the node asks for: modules by name, or, with another python, all as sources."""
        if wanted == SOURCES:
            self._form = SOURCES
            return self._pack.of(SOURCES, self._sent).data
        names = (
            frozenset(name for name in wanted if isinstance(name, str))
            if isinstance(wanted, list)
            else frozenset()
        )
        work = self._pack.piece(self._form, WORK, self._sent)
        if names & work.names:
            return self._taken(work)  # there is work after all, and more of it will be needed next
        return self._taken(self._pack.of(self._form, names))

    def _taken(self, piece: Piece) -> bytes:
        self._sent |= piece.names
        return piece.data


def _is_of_software(header: Mapping[str, Any]) -> bool:
    return header.get("op") == words.SYNC and any(
        "software" in item for item in header.get("instances") or ()
    )


def helper_pack(cache: Path | None = None, shared: Path | None = None) -> HelperPack:
    """The pack of this release: from the file `cache`, which is written anew where it is not of this release. `shared`: a
    second such file, for domains that have none yet; making a pack takes a second.
    """
    stamp = _stamp_of_release() if cache is not None else None
    if cache is None or stamp is None:
        return _made(full=_in_full())
    pack = _of_files(cache, shared, stamp)
    if pack is None:
        pack = _kept(cache, stamp, _made(full=False))
        if shared is not None and _folder_made(shared):
            _kept(shared, stamp, pack)
    return pack


def kept_pack(cache: Path, shared: Path | None = None) -> HelperPack | None:
    """What `helper_pack` finds in these files; None: it has to make the pack."""
    stamp = _stamp_of_release()
    return None if stamp is None else _of_files(cache, shared, stamp)


def _of_files(cache: Path, shared: Path | None, stamp: bytes) -> HelperPack | None:
    pack = _read(cache, stamp)
    return _read(shared, stamp) if pack is None and shared is not None and _is_ours(shared) else pack


def _in_full() -> bool:
    return os.environ.get(VARIABLE) == SOURCES


def _stamp_of_release() -> bytes | None:
    """What a file has to begin with; None: nothing is kept."""
    return None if _in_full() else _stamp(Path(bootstrap.__file__).parent.parent / "remote")


def _is_ours(file: Path) -> bool:
    """Whether nobody else can have written it: what is in it is run, and HOME may be another user's."""
    try:
        seen = os.stat(file)  # noqa: PTH116
    except OSError:
        return False
    return seen.st_uid == os.geteuid() and not seen.st_mode & 0o022


def _folder_made(file: Path) -> bool:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return _is_ours(file.parent)


def _stamp(folder: Path) -> bytes | None:
    """What the pack is made of: it differs when anything of that differs. None: not from files."""
    try:
        with os.scandir(folder) as found:
            seen = sorted(
                (e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in found if e.name.endswith(".py")
            )
        makers = (bootstrap.__file__, __file__, str(Path(__file__).with_name("helper_source.py")))
        own = [os.stat(file).st_mtime_ns for file in makers]  # noqa: PTH116
    except OSError:
        return None
    told = repr((2, dasctl.__version__, bootstrap.magic(), str(folder), seen, own))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest()


# The file: the stamp, then two blocks, each with its SHA-256 and its size in front: the hot pieces, and all of them.


def _read(cache: Path, stamp: bytes) -> HelperPack | None:
    try:
        data = memoryview(cache.read_bytes())
    except OSError:
        return None
    if data[: len(stamp)] != stamp:
        return None
    hot, rest = _block(data[len(stamp) :])
    if hot is None:
        return None

    def whole() -> HelperPack:
        block = _block(rest)[0]
        if block is None:
            return _kept(cache, stamp, _made(full=False))
        pieces, modules = marshal.loads(block)
        found = {
            form: {request: Piece(names=names, data=frame) for request, (names, frame) in of_form.items()}
            for form, of_form in pieces.items()
        }
        return HelperPack(found, modules)

    found = {key: Piece(names=names, data=frame) for key, (names, frame) in marshal.loads(hot).items()}
    return HelperPack(None, None, hot=found, whole=whole)


def _block(data: memoryview) -> tuple[memoryview | None, memoryview]:
    """The block that `data` begins with, None where it is damaged, and what follows."""
    start = _DIGEST + _SIZE
    end = start + int.from_bytes(data[_DIGEST:start], "big")
    block = data[start:end]
    sound = len(block) == end - start and data[:_DIGEST] == hashlib.sha256(block).digest()
    return (block if sound else None), data[end:]


def _as_block(value: Any) -> bytes:
    data = marshal.dumps(value)
    return b"".join((hashlib.sha256(data).digest(), len(data).to_bytes(_SIZE, "big"), data))


def _kept(cache: Path, stamp: bytes, pack: HelperPack) -> HelperPack:
    """Keep `pack`; where that cannot be, the next command makes it again."""
    pieces = {
        form: {request: (piece.names, piece.data) for request, piece in of_form.items()}
        for form, of_form in pack._pieces.items()
    }
    hot = {
        (form, request): of_form[request]
        for form, of_form in pieces.items()
        for request in (FIRST, words.SYNC)
    }
    data = b"".join((stamp, _as_block(hot), _as_block((pieces, pack._modules))))
    try:
        write_beside(os.fsencode(cache), data, mode=0o600)
    except OSError:
        pass
    return pack


def _made(*, full: bool) -> HelperPack:
    from dasctl.adapters.helper_source import imported, small_code, small_source  # brings ast and tokenize

    found = {
        module.name: module.source.decode("utf-8") for module in bootstrap.helper_modules(compiled=False)
    }
    smaller = found if full else {name: small_source(source) for name, source in found.items()}
    modules = {
        name: (source.encode("utf-8"), small_code(source, bootstrap.origin_of(name)))
        for name, source in smaller.items()
    }
    needs = _needs({name: imported(source, PACKAGE) & {*found} for name, source in found.items()})
    forms = (SOURCES,) if full else (CODE, SOURCES)
    pieces = {form: {request: _piece(form, {n: modules[n] for n in sorted(names)}, request=request)
                     for request, names in needs.items()} for form in forms}  # fmt: skip
    return HelperPack({CODE: pieces[SOURCES], **pieces}, marshal.dumps(modules))


def _needs(imports: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """The modules of each request without those of FIRST; under the empty name all, for a request that is not known here."""
    first = _reached(ROOTS[FIRST], {**imports, f"{PACKAGE}.main": _at_once(imports)})
    needs = {request: _reached(roots, imports) - first for request, roots in ROOTS.items()}
    hot = frozenset(f"{PACKAGE}.{name}" for name in HOT)
    rest = needs[words.SYNC] - hot
    work = rest & {f"{PACKAGE}.{name}" for name in WORKING}
    needs |= {op: needs[op] & hot for op in (words.SYNC, words.CONTENTS, words.COMMIT)}
    return {**needs, FIRST: first, WORK: work, REST: rest - work, "": frozenset(imports) - first}


def _at_once(imports: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """What `main` needs whatever the request: all that it imports but the requests' own modules."""
    late = {f"{PACKAGE}.{root}" for request, roots in ROOTS.items() if request != FIRST for root in roots}
    return imports[f"{PACKAGE}.main"] - late


def _reached(roots: Iterable[str], imports: Mapping[str, frozenset[str]]) -> frozenset[str]:
    reached: set[str] = set()
    ahead = [f"{PACKAGE}.{root}" for root in roots]
    while ahead:
        name = ahead.pop()
        if name in imports and name not in reached:
            reached.add(name)
            ahead += imports[name]
    return frozenset(reached)


def _piece(form: str, modules: Mapping[str, tuple[bytes, CodeType]], *, request: str = "") -> Piece:
    as_code = (
        {} if form == SOURCES or request == REST else {name: code for name, (_, code) in modules.items()}
    )
    as_source = {name: source for name, (source, _) in modules.items() if name not in as_code}
    packed = bootstrap.packed(as_code, as_source, level=bootstrap.SMALL)
    if request == FIRST:
        return Piece(names=frozenset(modules), data=bootstrap.opening(packed))
    header = {"modules": [name.rpartition(".")[2] for name in modules]}
    more = {"code": len(packed.code), "magic": bootstrap.magic()} if packed.code else {}
    return Piece(
        names=frozenset(modules), data=frames.encode({**header, **more}, packed.code + packed.sources)
    )
