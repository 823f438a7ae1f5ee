"""Carrying out a change of an application: archives, exploded views and domain.yaml in one step, one revision; then nodes.

What lives here: what all commands of the panel "Applications" end with. What must not: what each of them wants
(`deploy.py` …), what the entry becomes (`core/deploying.py`).

The order: everything is made beside and judged there; the repository's files change all at once (`ports.Working`); the
revision is recorded; only then is a node asked for anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dasctl.core import areas, deploying
from dasctl.core.archives import Limits
from dasctl.core.deployment_records import ACTIVE, RECORD, Before, Record
from dasctl.core.domain import Application
from dasctl.core.edits import Drop, Edit
from dasctl.core.exclusion import scan_patterns
from dasctl.core.moves import Move, Touch
from dasctl.core.outcome import OK, UNCHANGED, Outcome, spoiled, summed_up
from dasctl.core.patterns import Ignore
from dasctl.core.rolling import Rolling
from dasctl.errors import ExitCode, OperationFailed
from dasctl.operations.applying import apply
from dasctl.operations.deployed import PIECE, Known, fetched, tree_of, written
from dasctl.operations.failing import remember
from dasctl.operations.ports import Archives, Context
from dasctl.operations.progress import heed, portions, told
from dasctl.operations.recording import Current, current, left_behind
from dasctl.operations.sync import links_refused
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

UNLIMITED = Limits(bytes=1 << 62, files=1 << 62, ratio=None)  # of what was unpacked here before
NAMED = 5  # hand-edited files in a warning
DEFINITION_MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An archive on its way in: a file of its own in a `making()` folder."""

    file: Path
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a command makes of an application.

    `after`: its entry; None: it goes. `summary` is what the history tells, `already` what is told where there is nothing to
    do. `staged`: new archives; `gone`: versions whose archives go; `anew`: versions that are
    unpacked once more; `before`: what was active before.
    """

    known: Known
    after: Application | None
    before: Before
    summary: str
    already: str = ""
    staged: tuple[Staged, ...] = ()
    gone: tuple[str, ...] = ()
    anew: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What comes after: `apply` the revision to nodes at all, and how; `restart` as in `applying.apply`."""

    apply: bool = True
    rolling: Rolling | None = None


@dataclass(kw_only=True)
class Making:
    """A change while it is made, in the folder `folder`. `now` is the repository before it."""

    ctx: Context
    now: Current
    change: Change
    folder: Path
    limits: Limits = field(default_factory=Limits)
    unpacked: dict[str, Path] = field(default_factory=dict)  # versions that are unpacked already, and where

    @property
    def archives(self) -> Archives:
        assert self.ctx.archives is not None  # wiring gives it to every command with a domain
        return self.ctx.archives

    @cached_property
    def old_folders(self) -> dict[bytes, str | None]:
        return deploying.folders(self.change.known.name, self.change.known.entry)

    @cached_property
    def new_folders(self) -> dict[bytes, str | None]:
        return deploying.folders(self.change.known.name, self.change.after)

    @property
    def replaced(self) -> Iterator[bytes]:
        """Folders that do not stay as they are."""
        for area, version in self.old_folders.items():
            if self.new_folders.get(area, "") != version or version in self.change.anew:
                yield area

    def done(self) -> tuple[Current, tuple[str, ...], bool]:
        """Make it: the revision, the warnings, whether anything changed."""
        self._refuse_strays()
        warnings = tuple(self._deviations())
        moves = [*self._archive_moves(), *self._view_moves(), *self._domain_moves()]
        if not moves:
            return self.now, (), False
        self._keep(moves)
        self.ctx.working.put(moves, list(self._touches()))
        return current(self.ctx, summary=self.change.summary), warnings, True

    def _keep(self, moves: Iterable[Move]) -> None:
        """Keep the new contents before anything is changed: where the disk has no room for them, nothing is."""
        root = self.ctx.store.root
        staged = [file for move in moves if move.staged is not None for file in _files(move.staged)]
        files = {file: file.stat().st_size for file in staged if file.is_relative_to(root)}
        if not files:
            return
        on_bytes = told(self.ctx, "keeping", self.change.known.name, sum(files.values()))
        for some in portions(files):
            self.ctx.objects.keep({_digest(file): os.fsencode(file.relative_to(root)) for file in some})
            on_bytes(sum(files[file] for file in some))

    def _refuse_strays(self) -> None:
        """A folder that domain.yaml says nothing of is in no revision: it would be lost."""
        for area in self.new_folders:
            if area not in self.old_folders and self.ctx.repository.kind_of(area) is not None:
                raise OperationFailed(
                    f"{printable(area)} is there, and config/domain.yaml says nothing of it: it would be lost",
                    hint=f"move it away, or let domain.yaml name the application {self.change.known.name} first",
                )

    def _archive_moves(self) -> Iterator[Move]:
        known, change = self.change.known, self.change
        if change.after is None:
            if known.records or self.ctx.repository.kind_of(areas.internal(known.name)):
                yield Move(to=areas.internal(known.name), staged=None)
            return
        for staged in change.staged:
            folder = staged.file.parent
            _write(folder / RECORD, staged.record.as_bytes())
            yield Move(to=areas.internal(known.name, staged.record.version), staged=folder)
        for version in change.gone:
            yield Move(to=areas.internal(known.name, version), staged=None)
        if change.before != known.before:
            active = self.folder / ACTIVE
            _write(active, change.before.as_bytes())
            yield Move(to=areas.internal(known.name) + b"/" + ACTIVE.encode(), staged=active)

    def _view_moves(self) -> Iterator[Move]:
        """The exploded views: each a true extraction of its archive."""
        for number, (area, version) in enumerate(self.new_folders.items()):
            stays = self.old_folders.get(area, "") == version and version not in self.change.anew
            if stays or version is None:
                continue
            view = self.unpacked.get(version)
            if view is None:
                view = self.folder / f"view-{number}"
                archive = self._archive(version)
                on_bytes = told(self.ctx, "unpacking", archive.name)
                self.archives.unpack(archive, view, UNLIMITED, on_bytes=on_bytes)
            yield Move(to=area, staged=view)
        for area in self.old_folders:
            if area not in self.new_folders and self.ctx.repository.kind_of(area) is not None:
                yield Move(to=area, staged=None)

    def _domain_moves(self) -> Iterator[Move]:
        name, entry, after = self.change.known.name, self.change.known.entry, self.change.after
        if after is None:
            edits: list[Edit] = [Drop(path=("applications", name))] if entry is not None else []
        else:
            edits = deploying.edits(name, entry, after)
        if edits:
            file = self.folder / "domain.yaml"
            _write(file, self.ctx.store.edited(edits))
            modes = (found.mode for found in self._entries_of(areas.DEFINITION))
            file.chmod(next(modes, DEFINITION_MODE))
            yield Move(to=areas.DEFINITION, staged=file)

    def _touches(self) -> Iterator[Touch]:
        """The folder of all applications keeps its modtime: it goes to instances that have nothing to do with this one."""
        for found in self._entries_of(areas.APPLICATIONS):
            yield Touch(path=areas.APPLICATIONS, mtime=found.mtime)

    def _entries_of(self, path: bytes) -> Iterator[Entry]:
        from dasctl.remote.manifest import decode

        for data in self.now.slices.repository.values():
            line = data.split(b"\0", 1)[0]
            if line.split(b" ", 5)[5] == path:
                yield decode(line + b"\0")[0]

    def _archive(self, version: str) -> Path:
        for staged in self.change.staged:
            if staged.record.version == version:
                return staged.file
        return self._kept_archive(self.change.known.record(version))

    def _kept_archive(self, record: Record) -> Path:
        folder = self.folder / f"kept-{record.version}"
        if (folder / record.archive).exists():
            return folder / record.archive
        folder.mkdir(exist_ok=True)
        return fetched(self.ctx, record, folder)

    def _deviations(self) -> Iterator[str]:
        """A warning for each view that is about to go, and that no archive brings back."""
        for area in self.replaced:
            record = self.change.known.records.get(self.old_folders[area] or "")
            kept = f"revision {self.now.revision.number} has it as it was"
            if record is None and self.ctx.repository.kind_of(area) is not None:
                yield f"{printable(area)} came from no archive: {kept}"
            if record is not None and (differing := sorted(self.differing(area, record))):
                more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
                yield (
                    f"{printable(area)} was no more what its archive holds ({record.name} {record.version}): "
                    f"{', '.join(differing[:NAMED])}{more}; {kept}"
                )

    def differing(self, area: bytes, record: Record) -> Iterator[str]:
        """What of an exploded view is not as in its archive: `index.html (changed)`. Modtimes do not count."""
        patterns = scan_patterns(self.now.domain)
        ignore = Ignore(patterns) if patterns else None
        packed = {
            entry.path: (entry.kind, entry.mode if entry.kind == "f" else 0, entry.digest)
            for entry in self.archives.entries(self._kept_archive(record), UNLIMITED)
            if entry.kind != "d" and not (ignore and ignore.matches(area + b"/" + entry.path, False))
        }
        here = {
            entry.path[len(area) + 1 :]: (entry.kind, entry.mode if entry.kind == "f" else 0, entry.digest)
            for entry in tree_of(self.now.slices.repository, area)
            if entry.kind != "d"
        }
        for path in {*packed, *here}:
            if packed.get(path) != here.get(path):
                word = "added" if path not in packed else "removed" if path not in here else "changed"
                yield f"{printable(path)} ({word})"


def _files(staged: Path) -> Iterator[Path]:
    if staged.is_symlink():
        return
    if staged.is_file():
        yield staged
    for folder, _, names in os.walk(staged):
        yield from (file for name in names if not (file := Path(folder, name)).is_symlink())


def _digest(file: Path) -> str:
    from hashlib import sha256

    digest = sha256()
    with file.open("rb") as content:
        while piece := content.read(PIECE):
            digest.update(piece)
            heed(len(piece))
    return digest.hexdigest()


def _write(file: Path, data: bytes) -> None:
    """A small file of what is made beside."""
    with written(file):
        file.write_bytes(data)


async def carried_out(
    making: Making, running: Running, *, command: str, names: Iterable[str], notes: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> Outcome:  # fmt: skip
    """Make the change, and bring the instances to it: those of `names`, and all for which something changes.

    The caller holds the lock. Where nodes fail the domain stays at the new revision; the next synchronisation brings it.
    """
    ctx, change = making.ctx, making.change
    if running.apply and running.rolling is not None:
        from dasctl.operations.rolling import refuse_unfinished  # of use to few commands

        refuse_unfinished(ctx, running.rolling)
    before, after = (
        deploying.having(making.now.domain, entry) for entry in (change.known.entry, change.after)
    )
    now, warnings, changed = making.done()
    touched = {version for area, version in making.new_folders.items() if version in change.anew}
    affected = {
        *names, *(name for name in {**before, **after} if before.get(name) != after.get(name)),
        *(name for name, here in after.items() if here.version in touched),
    }  # fmt: skip
    told = {"application": change.known.name, **(data or {})}
    instances = tuple(name for name in now.domain.instances if name in affected)
    if not running.apply or not instances:
        (head,) = _head(change, changed)
        notes = (f"{head} (revision {now.revision.number})", *notes, *_not_applied(instances))
        return Outcome(
            command=command, status=OK if changed else UNCHANGED, exit_code=ExitCode.OK, revision=now.revision.number,
            notes=notes, warnings=(*now.warnings, *warnings), data=told,
        )  # fmt: skip
    moved = left_behind(ctx, now.domain, instances)
    now, rows = await apply(
        ctx, instances, command=command, rolling=running.rolling, domain=now.domain, yes=True
    )
    forgotten = remember(ctx, rows)
    outcome = summed_up(
        command, rows, revision=now.revision.number, changed=changed or None, notes=(*_head(change, changed), *notes),
        warnings=(*now.warnings, *warnings, *moved, *forgotten), data=told,
    )  # fmt: skip
    return spoiled(outcome, links_refused(now.refused)) if now.refused else outcome


def _head(change: Change, changed: bool) -> tuple[str, ...]:
    return (change.summary,) if changed else (f"nothing to do: {change.already}",)


def _not_applied(instances: Sequence[str]) -> tuple[str, ...]:
    from dasctl.core.targets import fold

    if not instances:
        return ()
    names = fold(instances)
    return (f"the instances get it with the next synchronisation: dasctl sync-instance '{names}'",)
