"""What differs between an instance and the repository, file by file: both contents fetched, and compared.

What lives here: where the two contents come from. What must not: which files differ (the helper says), how a difference is
written (`core/unified.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dasctl.core import areas, requests, verdicts
from dasctl.core.definition import definition
from dasctl.core.outcome import Result
from dasctl.core.unified import MOST_TEXT, Side, file_diff
from dasctl.errors import ObjectLost, ProtocolError, RepositoryError
from dasctl.operations.ports import Context, Link, Reply
from dasctl.operations.recording import Current
from dasctl.operations.synchronising import Synchronisation
from dasctl.remote import manifest, words
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import from_printable, printable

BATCH = 500  # files that are asked for at once; what does not fit into a reply is asked for again
PIECE = 256 << 10  # bytes
LOCAL = b"local/"


@dataclass(kw_only=True)
class Differing:
    """The two sides of one instance. `known`: SHA-256 of files that the instance is known to have, by path."""

    ctx: Context
    now: Current
    node: str
    link: Link
    instance: str
    known: Mapping[bytes, Entry] = field(default_factory=dict)

    async def diffs(
        self,
        paths: Sequence[bytes],
        *,
        absent: frozenset[bytes] = frozenset(),
        overridden: frozenset[bytes] = frozenset(),
        reverse: bool = False,
    ) -> AsyncIterator[tuple[bytes, bytes, Side | None, Side | None]]:
        """(path, diff, the repository's side, the instance's) of each path. `absent` are not on the instance.

        The diff leads from the repository to the instance, or with `reverse` the other way. For those in `overridden` the
        file in `local/` stands for the repository's.
        """
        wanted = entries_at(self.now, self.instance, frozenset(paths))
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            there = await self._there([path for path in batch if path not in absent])
            local = await self._there([LOCAL + path for path in batch if path in overridden])
            here = await asyncio.to_thread(self._all_here, [wanted.get(path) for path in batch])
            for path, side in zip(batch, here, strict=True):
                sides = local.get(LOCAL + path) if path in overridden else side, there.get(path)
                old, new = reversed(sides) if reverse else sides
                yield path, file_diff(path, old, new), *sides

    # The repository's side.

    def _all_here(self, entries: Sequence[Entry | None]) -> list[Side | None]:
        return [self._here(entry) for entry in entries]

    def _here(self, entry: Entry | None) -> Side | None:
        if entry is None:
            return None
        if entry.kind == words.LINK:
            return Side(kind="l", mode=0o777, size=len(entry.digest), data=entry.digest)
        if entry.kind == words.FOLDER:
            return Side(kind="d", mode=entry.mode)
        data = self._content(entry) if entry.size <= MOST_TEXT else None
        return Side(
            kind="f", mode=entry.mode, size=entry.size, data=data, sha256=entry.digest.decode("ascii")
        )

    def _content(self, entry: Entry) -> bytes:
        digest = entry.digest.decode("ascii")
        if entry.path == areas.DEFINITION:
            return definition(self.now.domain, self.instance)
        path = self.now.slices.contents[digest]
        data = b"".join(self.ctx.repository.read(path, piece=PIECE))
        if hashlib.sha256(data).hexdigest() != digest:
            raise RepositoryError(
                f"{printable(path)} was changed while it was compared",
                hint="run the command again when it rests",
            )
        return data

    # The instance's side.

    async def _there(self, paths: Sequence[bytes]) -> dict[bytes, Side | None]:
        found: dict[bytes, Side | None] = await asyncio.to_thread(self._kept, paths)
        left = [path for path in paths if path not in found]
        while left:
            sides = await self._read(left)
            if not sides:
                raise ProtocolError(f"node {self.node}: read none of the files that it was asked for")
            found.update(sides)
            left = [path for path in left if path not in found]
        return found

    def _kept(self, paths: Sequence[bytes]) -> dict[bytes, Side | None]:
        """Those whose content on the instance is known, and kept here as an object."""
        found: dict[bytes, Side | None] = {}
        for path in paths:
            entry = self.known.get(path)
            if entry is None or entry.kind != words.FILE or entry.size > MOST_TEXT:
                continue
            digest = entry.digest.decode("ascii")
            try:
                if self.ctx.objects.has(digest):
                    data = b"".join(
                        zlib.decompress(piece.data) if piece.packed else piece.data
                        for piece in self.ctx.objects.pieces(digest)
                    )
                    found[path] = Side(kind="f", mode=entry.mode, size=len(data), data=data, sha256=digest)
            except ObjectLost:
                continue
        return found

    async def _read(self, paths: Sequence[bytes]) -> dict[bytes, Side | None]:
        """Ask the node; those that did not fit into the reply are left out, to be asked for again."""
        item = {"name": self.instance, "paths": [printable(path) for path in paths], "most": MOST_TEXT}
        header = requests.envelope(
            words.READ, self.now.domain, self.node, self.now.revision.epoch, instances=[item]
        )
        reply = await self.link.ask(header, silence_s=self.ctx.patience_s)
        (verdict,) = verdicts.read_all(reply.header, [self.instance], self.node)
        if verdict.verdict == words.REFUSED:
            raise verdicts.refusal(verdict, self.node)
        if verdict.verdict != words.DONE:
            raise verdicts.failure(verdict, self.node)
        try:
            return self._sides(paths, verdict.more.get("files") or (), reply)
        except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
            raise ProtocolError(
                f"node {self.node}: an answer that does not fit the protocol: {error!r}"
            ) from error

    def _sides(
        self, paths: Sequence[bytes], files: Sequence[Mapping[str, Any]], reply: Reply
    ) -> dict[bytes, Side | None]:
        found: dict[bytes, Side | None] = {}
        place = 0
        for number, (path, told) in enumerate(zip(paths, files, strict=False)):
            if from_printable(told["path"]) != path:
                raise ValueError(told["path"])
            packed, data = told.get("packed"), None
            if packed is not None:
                data = _unpacked(reply.body[place : place + packed])
                place += packed
            elif told["kind"] == "f" and told["size"] is not None and told["size"] <= MOST_TEXT and number:
                continue  # the reply was full
            found[path] = _side(told, data)
        return found


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(data, MOST_TEXT + 1)
    if not unpacker.eof or len(plain) > MOST_TEXT:
        raise ValueError("a content that is cut off, or too large")
    return plain


def _side(told: Mapping[str, Any], data: bytes | None) -> Side | None:
    kind = told["kind"]
    if kind is None:
        return None
    if kind == "l":
        target = from_printable(told["target"])
        return Side(kind="l", mode=0o777, size=len(target), data=target)
    if kind != "f":
        return Side(kind="d" if kind == "d" else "o", mode=int(told["mode"]) & 0o7777)
    if told["size"] is None:  # not readable by the node's user: told as a problem
        return Side(kind="o")
    return Side(
        kind="f", mode=int(told["mode"]) & 0o7777, size=int(told["size"]), data=data, sha256=str(told["sha256"])
    )  # fmt: skip


def entries_at(now: Current, instance: str, paths: frozenset[bytes]) -> dict[bytes, Entry]:
    """What the repository has for the instance at these paths."""
    return lines_at([part.data for part in now.slices.by_instance[instance].parts], paths)


def lines_at(parts: Sequence[bytes], paths: frozenset[bytes]) -> dict[bytes, Entry]:
    """The entries at these paths in parts in canonical bytes."""
    found = {}
    for data in parts:
        for line in data[:-1].split(b"\0") if data else ():
            path = line.split(b" ", 5)[5]
            if path in paths:
                found[path] = manifest.parse(line)
    return found


async def with_diffs(
    run: Synchronisation, node: str, link: Link, instances: Sequence[str]
) -> Sequence[Result]:
    """A dry run whose changes carry the difference of their texts (`diff`), from what is there to what would be."""
    rows = await run.node(node, link, instances)
    for row in rows:
        if row.good and row.instance is not None and row.fields.get("changes"):
            row.fields["changes"] = await _told(run, node, link, row)
    return rows


async def _told(run: Synchronisation, node: str, link: Link, row: Result) -> list[dict[str, Any]]:
    assert row.instance is not None
    changes = {from_printable(change["path"]): dict(change) for change in row.fields["changes"]}
    texts = [path for path, change in changes.items() if change["why"] != "modtime"]
    absent = frozenset(path for path in texts if changes[path]["why"] == "new")
    kinds = {from_printable(item["path"]): item["kind"] for item in row.fields.get("deviations") or ()}
    overridden = frozenset(path for path, kind in kinds.items() if kind == words.OVERRIDDEN)
    differing = Differing(
        ctx=run.ctx, now=run.now, node=node, link=link, instance=row.instance,
        known=_known(run, row, frozenset(texts) - set(kinds)),
    )  # fmt: skip
    async for path, diff, _here, _there in differing.diffs(
        texts, absent=absent, overridden=overridden, reverse=True
    ):
        if diff:
            changes[path]["diff"] = printable(diff)
    return list(changes.values())


def _known(run: Synchronisation, row: Result, paths: frozenset[bytes]) -> dict[bytes, Entry]:
    """What the instance has there, where it stands at what it confirmed last."""
    known = run.expected.get(row.instance or "")
    if known is None or known.standing.revision != row.fields.get("revision"):
        return {}
    parts = [run.ctx.history.part(digest) for _name, digest in known.parts]
    return lines_at([data for data in parts if data is not None], paths)
