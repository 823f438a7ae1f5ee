"""`collect-log-files`: the logs of many instances in one archive, within limits."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dasctl.core import collecting, log_lines, requests, verdicts
from dasctl.core import targets as target_names
from dasctl.core.collecting import LogFile, Share
from dasctl.core.domain import Domain, Node
from dasctl.core.moments import moment
from dasctl.core.outcome import UNCHANGED, Outcome, Result, summed_up
from dasctl.core.sizes import size_text
from dasctl.errors import OperationFailed, ProtocolError, UsageError
from dasctl.operations.collecting_ports import LogArchive, LogPart
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.looking import epoch_of, seen_of
from dasctl.operations.ports import Context, Event, Link, Links
from dasctl.operations.tail_log import patterns_of
from dasctl.remote import words

COMMAND = "collect-log-files"
MOST_PIECE = 4 << 20  # bytes of an answer, unpacked: a node must not fill our memory
NOT_GREPPED = ".txt"  # behind the name of a compressed file, of which the lines that match were taken


async def collect_log_files(
    ctx: Context,
    targets: Sequence[str],
    *,
    file: Path | None = None,
    since: str | None = None,
    grep: str | None = None,
    files: Sequence[str] = (),
    max_size: int = 100 << 20,
    max_file_size: int = 20 << 20,
    force: bool = False,
) -> Outcome:
    """Collect logs into `file` (.tar.gz; a name with the date where none is given), INSTANCE/logs/… with their modtimes.

    `since`: only files that changed since. `grep`: only lines that match; they are looked for on the nodes. The newest files
    come first in the limits (bytes before compression). What is left out is told, and is no failure.
    """
    assert ctx.log_archives is not None
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets)
    groups = by_node(domain, names)
    now = ctx.clock.now()
    run = Collecting(
        ctx=ctx, domain=domain, order={name: number for number, name in enumerate(names)}, gate=Gate(set(groups)),
        since=_moment(since, now), grep=_pattern(grep), patterns=patterns_of(files),
        limits=Limits(max_size=max_size, max_file=max_file_size, left=max_size),
    )  # fmt: skip
    target = file or Path(
        f"{domain.domain.name}-logs-{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%SZ}.tar.gz"
    )
    with ctx.log_archives.writing(target, force=force) as archive:
        rows = await _collected(run, archive, groups)
        if any(row.error is INTERRUPTED for row in rows):
            raise OperationFailed(f"interrupted: {target} was not written")
        if run.broken is not None:
            raise run.broken
        return await _finished(run, archive, target, rows)


async def _collected(
    run: Collecting, archive: LogArchive, groups: Mapping[str, Sequence[str]]
) -> list[Result]:
    """What all nodes have is shared out before the first file is taken. Where they cannot all be connected at a time, each
    is asked first and its link closed, and taken from over another one.
    """
    ctx = replace(run.ctx, links=_Watched(run.ctx.links, run.gate))
    if len(groups) <= ctx.parallel:
        return await on_nodes(ctx, run.domain, groups, lambda *one: run.node(archive, *one))
    quiet = replace(ctx, on_event=lambda event: None if event.phase == "done" else ctx.on_event(event))
    asked = await on_nodes(quiet, run.domain, groups, run.asked)
    rows = {(row.node, row.instance): row for row in asked}
    if all(row.error is not INTERRUPTED for row in asked):
        left = by_node(run.domain, [row.instance for row in asked if row.good and row.instance is not None])
        taken = await on_nodes(run.ctx, run.domain, left, lambda *one: run.taken(archive, *one))
        rows |= {(row.node, row.instance): row for row in taken}
    return list(rows.values())


async def _finished(run: Collecting, archive: LogArchive, file: Path, rows: list[Result]) -> Outcome:
    warnings = tuple(dict.fromkeys((*run.told(), *run.warnings)))
    number = sum(row.fields.get("files", 0) for row in rows)
    raw = sum(row.fields.get("bytes", 0) for row in rows)
    if not number:
        notes = ("there is nothing to collect: no archive was written",)
        return summed_up(COMMAND, rows, changed=False, notes=notes, warnings=warnings)
    size = await asyncio.to_thread(archive.finish)
    data = {"file": str(file), "size": size, "files": number, "bytes": raw}
    return summed_up(COMMAND, rows, changed=True, warnings=warnings, data=data)


def _moment(text: str | None, now: float) -> float | None:
    try:
        return None if text is None else moment(text, now)
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error


def _pattern(text: str | None) -> str | None:
    try:
        re.compile((text or "").encode("utf-8", "surrogateescape"))
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--grep: {text!r} is no regular expression: {error}") from error
    return text


@dataclass(slots=True, kw_only=True)
class Limits:
    """How many bytes may be collected; `left` counts down where nobody knows beforehand (`--grep`)."""

    max_size: int
    max_file: int
    left: int


class Gate:
    """Opens when every node has said what it has, or nothing more will come from it."""

    def __init__(self, nodes: set[str]) -> None:
        self._missing = nodes
        self._open = asyncio.Event()
        self.files: list[LogFile] = []

    def passed(self, node: str) -> None:
        """This node has said all; may be called twice."""
        self._missing.discard(node)
        if not self._missing:
            self._open.set()

    async def opened(self) -> None:
        await self._open.wait()


class _Watched:
    """Links whose nodes hold nobody up at the gate when they are lost."""

    def __init__(self, links: Links, gate: Gate) -> None:
        self._links, self._gate = links, gate

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Link]:
        try:
            async with self._links.open(name, node) as link:
                yield link
        finally:
            self._gate.passed(name)


@dataclass(slots=True, kw_only=True)
class Collecting:
    """The conversation with each node. `broken`: the archive cannot be written."""

    ctx: Context
    domain: Domain
    order: Mapping[str, int]
    gate: Gate
    since: float | None
    grep: str | None
    patterns: list[str] | None
    limits: Limits
    broken: OperationFailed | None = None
    warnings: list[str] = field(default_factory=list)
    _shares: list[Share] | None = None

    def told(self) -> list[str]:
        """What was cut or left out by the limits."""
        return [] if self.grep is not None or self._shares is None else collecting.told_of(self._shares)

    async def node(
        self, archive: LogArchive, node: str, link: Link, instances: Sequence[str]
    ) -> list[Result]:
        """One result per instance, when its logs are in the archive."""
        rows = await self.asked(node, link, instances)
        self.gate.passed(node)
        await self._gate_opened()
        return await self._taken(archive, node, link, rows)

    async def asked(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """One result per instance, when it is known which logs it has."""
        rows, files = await self._listed(node, link, instances)
        self.gate.files += files
        return rows

    async def taken(
        self, archive: LogArchive, node: str, link: Link, instances: Sequence[str]
    ) -> list[Result]:
        """The same of a node that was asked before: what is there now of that which was shared out is in the archive."""
        await self._gate_opened()
        rows, files = await self._listed(node, link, instances)
        assert self._shares is not None
        self._shares = collecting.found_again(self._shares, files, instances)
        return await self._taken(archive, node, link, rows)

    async def _taken(
        self, archive: LogArchive, node: str, link: Link, listed: Sequence[Result]
    ) -> list[Result]:
        rows = []
        for row in listed:
            if row.good and row.instance is not None:
                self.ctx.on_event(Event(phase="collecting", node=node, instance=row.instance))
                try:
                    with archive.part(self.order[row.instance]) as part:
                        row = await self._collected(part, node, link, row.instance)
                except OperationFailed as error:  # what a node says of itself is in the rows
                    self.broken = error
                    raise
            rows.append(row)
        return rows

    async def _gate_opened(self) -> None:
        await self.gate.opened()
        if self._shares is None:
            limits = self.limits
            most = limits.max_size if self.grep is None else 1 << 62
            self._shares = collecting.shares(
                self.gate.files, most, limits.max_file if self.grep is None else 1 << 62
            )

    async def _listed(
        self, node: str, link: Link, instances: Sequence[str]
    ) -> tuple[list[Result], list[LogFile]]:
        header = requests.envelope(
            words.LOGS, self.domain, node, epoch_of(self.ctx),
            instances=[{"name": name, "files": self.patterns, "since": self.since} for name in instances],
        )  # fmt: skip
        reply = await link.ask(header, silence_s=self.ctx.patience_s)
        rows: list[Result] = []
        files: list[LogFile] = []
        for verdict in verdicts.read_all(reply.header, list(instances), node):
            seen = seen_of(self.domain, node, verdict)
            rows.append(Result(status=seen.status, instance=verdict.name, node=node, error=seen.error))
            if seen.error is None:
                files += collecting.read(verdict.more.get("logs"), verdict.name, node)
                for item in log_lines.problems(verdict.more.get("problems"), node):
                    self.warnings.append(f"{verdict.name}: {item['path']} {item['message']}")
        return rows, files

    async def _collected(self, part: LogPart, node: str, link: Link, name: str) -> Result:
        """All files of one instance, by path."""
        assert self._shares is not None
        own = sorted(
            (one for one in self._shares if one.file.instance == name), key=lambda one: one.file.path
        )
        files = taken = 0
        for share in own:
            if share.most is None:
                continue
            size = await self._member(part, link, share)
            if size is not None:
                files, taken = files + 1, taken + size
        fields = {"files": files, "bytes": taken}
        status, note = ("collected", size_text(taken)) if files else (UNCHANGED, "no logs")
        return Result(status=status, instance=name, node=node, fields=fields, note=note)

    async def _member(self, part: LogPart, link: Link, share: Share) -> int | None:
        """One file: how many bytes of it are in the archive; None where there is nothing of it."""
        file, most = share.file, share.most
        if self.grep is not None:
            most = min(self.limits.max_file, self.limits.left)
        assert most is not None
        with part.spool() as spool:
            size = await self._fetched(link, file, most, spool)
            if size is None or (self.grep is not None and not size):
                return None
            member = f"{file.instance}/{file.name}"
            if self.grep is not None and file.is_packed:
                member += NOT_GREPPED
            await asyncio.to_thread(part.add, member, spool, mode=file.mode, mtime=file.mtime)
        self.limits.left -= size
        return size

    async def _fetched(self, link: Link, file: LogFile, most: int, spool: IO[bytes]) -> int | None:
        """Write what the node sends of a file into `spool`; how much that is, or None where it cannot be read."""
        header: dict[str, Any] = requests.envelope(
            words.MORE, self.domain, file.node, epoch_of(self.ctx), name=file.instance, path=file.name, most=most,
            grep=self.grep,
        )  # fmt: skip
        size = 0
        while True:
            reply = await link.ask(header, silence_s=self.ctx.patience_s)
            if isinstance(problem := reply.header.get("problem"), str):
                self.warnings.append(f"{file.instance}: {file.name} {problem}")
                return size or None
            if reply.header.get("more") is not True:
                return size
            piece = _unpacked(reply.body, file)
            if size + len(piece) > most:
                if self.grep is None:
                    raise ProtocolError(f"node {file.node}: sent more of {file.name} than it was asked for")
                self._cut(file)
                piece = piece[: piece.rfind(b"\n", 0, most - size) + 1]
                await asyncio.to_thread(spool.write, piece)
                return size + len(piece)
            await asyncio.to_thread(spool.write, piece)
            size += len(piece)
            header = requests.envelope(words.MORE, self.domain, file.node, epoch_of(self.ctx))

    def _cut(self, file: LogFile) -> None:
        limit = (
            f"--max-file-size {size_text(self.limits.max_file)}"
            if self.limits.left >= self.limits.max_file
            else f"--max-size {size_text(self.limits.max_size)}"
        )
        self.warnings.append(f"{file.instance}: {file.name}: not all lines that match: {limit}")


def _unpacked(body: bytes, file: LogFile) -> bytes:
    try:
        unpacking = zlib.decompressobj()
        piece = unpacking.decompress(body, MOST_PIECE)
    except zlib.error as error:
        raise ProtocolError(f"node {file.node}: an answer that cannot be unpacked: {error}") from error
    if not piece or not unpacking.eof:
        raise ProtocolError(f"node {file.node}: a piece of {file.name} that does not fit the protocol")
    return piece
