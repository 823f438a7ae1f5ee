"""The contents of a revision, kept as objects before the revision is recorded; and which contents kept revisions need.

What lives here: which contents are new. What must not: how objects are made (`adapters/objects.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from dasctl.core.slices import Slices
from dasctl.core.stamps import Revision
from dasctl.operations.ports import Context
from dasctl.remote.manifest import trimmed

LARGE = (
    1 << 20
)  # bytes of a content that is not packed at once where it replaces another: a delta of it will travel


def keep_contents(ctx: Context, found: Slices, head: Revision | None) -> dict[str, bytes]:
    """Keep what `found` holds and `head` does not, and the instances' own parts of domain.yaml.

    Returns the contents whose files hold another one by now, with their paths: look again. Where the parts of `head` are
    not kept any more, all contents are looked for.
    """
    known = set(ctx.history.parts(head.number)) if head is not None else set()
    gone = {
        _root(data): data
        for digest in known.difference(found.repository)
        if (data := ctx.history.part(digest))
    }
    contents, replacing = dict(found.definitions), set()
    for digest, data in found.repository.items():
        if digest not in known:
            before = gone.get(_root(data), b"")
            for content, path, size in _new_in(data, before):
                contents[content] = path
                if size >= LARGE and b" %s\0" % path in before:
                    replacing.add(content)
    return ctx.objects.keep(contents, replacing=replacing)


def _root(data: bytes) -> bytes:
    """The path of a part's first line, which tells parts apart: that of its folder."""
    return data[: data.find(b"\0")].split(b" ", 5)[-1]


def _new_in(data: bytes, before: bytes) -> Iterator[tuple[str, bytes, int]]:
    """(SHA-256, path, bytes) of the files in `data` whose lines are not in `before`."""
    start, old_end, end = trimmed(before, data)
    old = set(before[start:old_end].split(b"\0"))
    for line in data[start:end].split(b"\0"):
        if line[:1] == b"f" and line not in old:
            _, _, size, _, content, path = line.split(b" ", 5)
            yield content.decode("ascii"), path, int(size)


def needed(ctx: Context, found: Slices) -> Iterator[str]:
    """All contents that a kept revision or an acknowledged part has, those of `found`, and of the releases of software.
    Reads all kept parts.
    """
    seen: set[bytes] = set()  # lines: revisions have most of theirs in common
    yield from found.definitions
    for data in found.repository.values():
        yield from _contents_of(data, seen)
    for digest in ctx.history.parts():
        if digest not in found.repository:
            yield from _contents_of(ctx.history.part(digest) or b"", seen)
    for data in ctx.releases.manifests() if ctx.releases is not None else ():
        yield from _contents_of(data, seen)


def _contents_of(data: bytes, seen: set[bytes]) -> Iterator[str]:
    """The contents of the lines that were not seen yet."""
    fresh = set(data.split(b"\0")) - seen
    seen |= fresh
    for line in fresh:
        if line[:1] == b"f":
            yield line.split(b" ", 5)[4].decode("ascii")
