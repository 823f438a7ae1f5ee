"""Manifests: the ordered entries of a part of a slice, in one canonical form of bytes.

What lives here: the form, its order, its digest, and changes between two of them. What must not: files, JSON, the link.

A *part* is one tree of a slice: `config`, `applications` (the folder alone), `applications/NAME`, `lib`, `docroot`.
Its bytes are its entries in canonical order, each ended by NUL:

    f MODE SIZE MTIME SHA256 PATH      a file: mode in octal, size in bytes, modtime in ns, digest in hex
    d MODE 0 MTIME - PATH              a folder
    l 777 0 MTIME TARGET PATH          a symbolic link; TARGET is percent-encoded (see `quote`)

PATH is relative to the instance's folder (`docroot/index.html`), any bytes but NUL; it stands last so that it needs no
quoting. Canonical order is that of a walk: a folder before what is in it, names sorted as bytes: that is, paths compared
with `/` as the lowest byte.
"""

from __future__ import annotations

from dasctl.remote import paths
from dasctl.remote.records import Record, fields, made

TYPE_CHECKING = False  # `typing` is one import too many for the helper; checkers know this name all the same
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NamedTuple

    class _Entry(NamedTuple):
        path: bytes
        kind: str
        mode: int
        size: int
        mtime: int
        digest: bytes

else:

    class _Entry(Record):
        __slots__ = ()
        _fields = ("path", "kind", "mode", "size", "mtime", "digest")
        path, kind, mode, size, mtime, digest = fields(6)

        def __new__(cls, path, kind, mode, size, mtime, digest):
            return made(cls, (path, kind, mode, size, mtime, digest))


class ManifestError(Exception):
    """Bytes that are not a manifest."""


class Entry(_Entry):
    """One file, folder or symbolic link. `digest` is SHA-256 in hex of a file, b"-" of a folder, the target of a link."""

    __slots__ = ()


def order(path: bytes) -> bytes:
    """The key of canonical order."""
    return path.replace(b"/", b"\0")


def line(entry: Entry) -> bytes:
    """The entry in canonical form, without the NUL."""
    digest = quote(entry.digest) if entry.kind == "l" else entry.digest
    return b"%s %o %d %d %s %s" % (
        entry.kind.encode(), entry.mode, entry.size, entry.mtime, digest, entry.path,
    )  # fmt: skip


def encode(entries: Iterable[Entry]) -> bytes:
    """The canonical bytes of entries, which must be in canonical order."""
    return b"".join([line(entry) + b"\0" for entry in entries])


def decode(data: bytes, check_path: Callable[[bytes], bytes] = paths.check) -> list[Entry]:
    """The entries of canonical bytes; ManifestError where a line is not one, or the order is not canonical."""
    if not data:
        return []
    if not data.endswith(b"\0"):
        raise ManifestError("a manifest that is cut off")
    entries = []
    previous = b""
    for text in data[:-1].split(b"\0"):
        entry = parse(text)
        check_path(entry.path)
        key = order(entry.path)
        if key <= previous:
            raise ManifestError("a manifest out of order at %r" % entry.path)
        previous = key
        entries.append(entry)
    return entries


def parse(text: bytes) -> Entry:
    """The entry of one line."""
    try:
        kind, mode, size, mtime, digest, path = text.split(b" ", 5)
        fields = (path, kind.decode("ascii"), int(mode, 8), int(size), int(mtime), digest)
        entry: Entry = tuple.__new__(Entry, fields)  # half the time of a call with six arguments
    except ValueError:
        raise ManifestError("not a line of a manifest: %r" % text[:120]) from None
    if entry.kind == "l":
        return entry._replace(digest=unquote(digest))
    if entry.kind == "f":
        if len(digest) != 64 or entry.size < 0:
            raise ManifestError("not a digest: %r" % text[:120])
    elif entry.kind != "d":
        raise ManifestError("not a kind of entry: %r" % text[:120])
    return entry


def digest_of(data: bytes) -> str:
    """The digest (hex str) of a part's canonical bytes."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def slice_digest(parts: Iterable[tuple[str, str]]) -> str:
    """The digest (hex str) of a slice, given its (name, digest of the part) in order."""
    import hashlib

    return hashlib.sha256("".join("%s %s\n" % (name, digest) for name, digest in parts).encode()).hexdigest()


def trimmed(one: bytes, other: bytes) -> tuple[int, int, int]:
    """Between which bytes two parts differ: (beginning in both, end in `one`, end in `other`), all at ends of lines.

    What is around it they have in common: comparing bytes takes a hundredth of the time of comparing lines.
    """
    start = one.rfind(b"\0", 0, _alike(one, other)) + 1
    size = min(len(one), len(other)) - start
    tail = _alike_at_end(one, other, size)
    end = one.find(b"\0", len(one) - tail) + 1 if tail else 0
    tail = len(one) - end if end else 0
    return start, len(one) - tail, len(other) - tail


def _alike(one: bytes, other: bytes) -> int:
    """How many bytes of the beginning are the same."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _alike_at_end(one: bytes, other: bytes, most: int) -> int:
    """How many of the last `most` bytes are the same."""
    low, high = 0, most
    if one[len(one) - high :] == other[len(other) - high :]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle
    return low


def position(data: bytes, path: bytes) -> tuple[int, int]:
    """Where the line of `path` stands in a part: its beginning, and its end behind the NUL; both are where it would stand if
    it is not there."""
    key, low, high = order(path), 0, len(data)
    while low < high:
        begin = data.rfind(b"\0", low, (low + high) // 2) + 1 or low
        end = data.find(b"\0", begin) + 1 or len(data)
        found = order(_path(data[begin : end - 1]))
        if found == key:
            return begin, end
        if found < key:
            low = end
        else:
            high = begin
    return low, low


def changes(base: bytes, wanted: bytes) -> bytes:
    """What turns the part `base` into `wanted` (both canonical bytes): lines `+ENTRY` and `-PATH`, each ended by NUL."""
    start, base_end, end = trimmed(base, wanted)
    old = set(base[start:base_end].split(b"\0")) - {b""}
    new = wanted[start:end].split(b"\0")[:-1]
    fresh = set(new)
    kept_paths = {text.split(b" ", 5)[5] for text in new}
    gone = sorted(p for p in (text.split(b" ", 5)[5] for text in old - fresh) if p not in kept_paths)
    return b"".join([b"-%s\0" % path for path in gone] + [b"+%s\0" % text for text in new if text not in old])


def apply(base: bytes, delta: bytes) -> bytes:
    """The part that `delta` (see `changes`) makes of `base`, as canonical bytes; ManifestError where it does not fit."""
    if delta and not delta.endswith(b"\0"):
        raise ManifestError("changes that are cut off")
    if not delta:
        return base
    texts = delta[:-1].split(b"\0")
    found = _replaced(base, texts)
    if found is not None:
        return found
    edits = [(_edited(text), text) for text in texts]
    paths_edited = sorted((path for path, _text in edits), key=order)
    start, end = position(base, paths_edited[0])[0], position(base, paths_edited[-1])[1]
    return base[:start] + _edit(base[start:end], edits) + base[end:]


def _replaced(base: bytes, texts: list[bytes]) -> bytes | None:
    """`base` with new lines for paths that it has, in its order, which is found out on the way; None: it is not so."""
    pieces: list[bytes | memoryview] = []
    at, rest = 0, memoryview(base)
    for text in texts:
        fields = text.split(b" ", 5)
        if text[:1] != b"+" or len(fields) != 6:
            return None
        end = base.find(b" %s\0" % fields[5], at)
        begin = base.rfind(b"\0", at, max(end, at)) + 1 or at
        if end < 0 or base.count(b" ", begin, end) != 4:
            return None  # it is not there, or behind us, or the end of another path that has a space
        if begin > at:
            pieces.append(rest[at:begin])
        pieces += (text[1:], b"\0")
        at = end + len(fields[5]) + 2
    return b"".join([*pieces, rest[at:]])


def _edited(text: bytes) -> bytes:
    """The path that a change is about."""
    if text[:1] == b"-":
        return text[1:]
    if text[:1] == b"+":
        return _path(text[1:])
    raise ManifestError("not a change: %r" % text[:120])


def _edit(base: bytes, edits: list[tuple[bytes, bytes]]) -> bytes:
    texts = base[:-1].split(b"\0") if base else []
    lines = dict(zip([text.split(b" ", 5)[5] for text in texts], texts))
    in_order = True
    for path, text in edits:
        if text[:1] == b"-":
            if lines.pop(path, None) is None:
                raise ManifestError("changes that do not fit: %r is not there" % path)
        else:
            in_order = in_order and path in lines
            lines[path] = text[1:]
    in_its_order = lines.values() if in_order else [lines[path] for path in sorted(lines, key=order)]
    return b"\0".join([*in_its_order, b""])


def _path(text: bytes) -> bytes:
    """The path of a line, whose other fields are checked with the part that it becomes a line of."""
    fields = text.split(b" ", 5)
    if len(fields) != 6:
        raise ManifestError("not a line of a manifest: %r" % text[:120])
    return fields[5]


def quote(target: bytes) -> bytes:
    """A link's target with `%`, space and NUL percent-encoded, so that a line can be split at its spaces."""
    return target.replace(b"%", b"%25").replace(b" ", b"%20").replace(b"\0", b"%00")


def unquote(text: bytes) -> bytes:
    """The target that `quote` made `text` of."""
    return text.replace(b"%00", b"\0").replace(b"%20", b" ").replace(b"%25", b"%")
