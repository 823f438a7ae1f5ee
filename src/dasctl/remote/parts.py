"""Parts that arrive: unpacked, checked against their digests, and composed where a request is about some paths only.

What lives here: bytes in, bytes out. What must not: files, instances.
"""

from __future__ import annotations

from dasctl.remote import manifest, messages, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Reply = dict[str, Any]

MOST_PART = 1 << 30  # bytes of one part


def unpack(blobs: list[Reply], body: bytes, pool: dict[str, bytes]) -> dict[str, str]:
    """Add the blobs to `pool`; returns what is wrong with them, by digest."""
    wrong: dict[str, str] = {}
    offset = 0
    for blob in blobs:
        data = _inflated(body[offset : offset + blob["size"]])
        offset += blob["size"]
        if blob["base"] is not None:
            base = pool.get(blob["base"])
            if base is None:
                continue  # then the part is missing, and the reply says so
            try:
                data = manifest.apply(base, data)
            except (manifest.ManifestError, IndexError) as error:
                wrong[blob["part"]] = str(error)
                continue
        if manifest.digest_of(data) != blob["part"]:
            wrong[blob["part"]] = "the bytes of a part do not have its digest"
            continue
        pool[blob["part"]] = data
    if offset != len(body):
        raise messages.BadMessage("blobs of %d bytes in a body of %d" % (offset, len(body)))
    return wrong


def composed(
    parts: list[tuple[str, str, bytes]], kept: state.Kept, matches: Callable[[bytes], bool]
) -> list[tuple[str, str, bytes]]:
    """The parts that a request for some paths leads to: the new lines of what matches, the old ones of what does not."""
    composed = []
    names = [name for name, _digest, _data in parts]
    fresh = {name: data for name, _digest, data in parts}
    for name in [*names, *(name for name in kept.parts if name not in fresh)]:
        old, new = state.lines_of([kept.parts.get(name, b"")]), state.lines_of([fresh.get(name, b"")])
        lines = {path: line for path, line in old.items() if not matches(path)}
        lines.update({path: line for path, line in new.items() if matches(path)})
        for path in list(lines):
            # What is chosen needs the folders above it, chosen or not.
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                line = new.get(path) or old.get(path)
                if path in lines or line is None:
                    break
                lines[path] = line
        if lines:
            data = b"".join([lines[path] + b"\0" for path in sorted(lines, key=manifest.order)])
            composed.append((name, manifest.digest_of(data), data))
    return composed


def _inflated(data: bytes) -> bytes:
    import zlib

    unpacker = zlib.decompressobj()
    try:
        result = unpacker.decompress(data, MOST_PART)
    except zlib.error as error:
        raise messages.BadMessage("a blob that is not compressed as it should be: %s" % error) from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise messages.BadMessage("a blob that is cut off, or too large")
    return result
