"""An earlier state of the domain, or of some instances, as a new revision.

What lives here: the steps. What is there is recorded first, so nothing is lost; then all files change at once
(`ports.Working`), with their modes and their modtimes to the nanosecond, so that who stands there still has nothing to
receive; then the new revision is recorded. What must not: which files have to move (`core/restoring.py`), what concerns
whom (`core/taking_back.py`), bringing it to nodes (`applying.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dasctl.core import areas, changes, exclusion, moves, taking_back
from dasctl.core.changes import Change
from dasctl.core.definition import definition
from dasctl.core.domain import FILE, Domain
from dasctl.core.edits import Edit
from dasctl.core.moves import Move, Touch
from dasctl.core.older_versions import can_be_had, folders, of_other_versions
from dasctl.core.patterns import Ignore
from dasctl.core.restoring import Restoring, named, plan
from dasctl.core.taking_files_back import taken_of
from dasctl.errors import InvalidDomain, OperationFailed, RepositoryError
from dasctl.operations.past import Past, content, past
from dasctl.operations.ports import Context
from dasctl.operations.progress import told
from dasctl.operations.recording import Current, current
from dasctl.remote.manifest import Entry, decode
from dasctl.remote.paths import from_printable, printable

PIECE = 1 << 20
BROKEN = areas.OWN_FOLDER + b"/domain.yaml-not-valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """The way from the current state back to an earlier one. `names` None: of the whole domain.

    `text` is domain.yaml as it will be; `changes` are all that differ, as far as they are taken back; `left` what is not,
    a line each.
    """

    number: int
    names: frozenset[str] | None
    domain: Domain  # as it will be
    text: bytes
    file: Entry | None  # of domain.yaml, where the old one comes back as it was
    folder: Entry | None  # that it lies in
    files: Restoring
    changes: tuple[Change, ...]
    left: tuple[str, ...] = ()
    membership: tuple[str, ...] = ()
    before: Current = field(repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        left = tuple(f"not taken back: {line}" for line in self.left)
        stays = tuple(
            f"{named([path])} stays: it holds what is in no revision" for path in self.files.stays
        )  # fmt: skip
        return (*self.membership, *left, *stays)


async def back_to(ctx: Context, number: int, names: Sequence[str]) -> Current:
    """The state that these instances had at revision `number`, as a new revision; what others have too comes back as well.

    The caller holds the lock. Nothing is applied. Where all is as it was then, the current revision is returned. Raises
    OperationFailed (kept no more; files that are in no revision are in the way), RepositoryError.
    """
    way = way_back(ctx, number, names, shared=True)
    return returned(ctx, way, summary=f"brought back to revision {number}")


def way_back(
    ctx: Context, number: int, names: Sequence[str] | None, *, shared: bool = False, record: bool = True
) -> Return:
    """What has to change. `names` None, or all there are: the whole domain. `shared`: also what others have too.

    Records first what was edited in place, unless `record` is False. Raises as `back_to`.
    """
    then = past(ctx, number)
    text = then.text()
    now = current(ctx, record=record, publish=record)
    old = _judged(ctx, then, text)
    if old.domain.id != now.domain.domain.id:
        raise OperationFailed(
            f"at revision {number} the domain had another id ({old.domain.id}): the nodes would refuse it",
            hint=f"put the id back into {FILE} by hand if that is what you want",
        )
    chosen = None if names is None or set(names) >= set(now.domain.instances) else frozenset(names)
    if chosen is None:
        return _whole(ctx, then, text, old, now)
    return _for_some(ctx, then, old, now, chosen, shared=shared)


def _judged(ctx: Context, then: Past, text: bytes) -> Domain:
    try:
        return ctx.store.parsed(text)
    except InvalidDomain as error:
        raise OperationFailed(
            f"{FILE} of revision {then.revision.number} is not valid for this dasctl: {error.message}",
            hint="take back single files by hand: dasctl diff shows them",
        ) from error


def _whole(ctx: Context, then: Past, text: bytes, old: Domain, now: Current) -> Return:
    wanted = {path: entry for path, entry in then.entries.items() if path != areas.DEFINITION}
    found = changes.between(now.slices.repository, then.parts)
    return Return(
        number=then.revision.number, names=None, domain=old, text=text, file=then.entries[areas.DEFINITION],
        folder=then.entries.get(areas.CONFIG),
        files=_plan(ctx, now, wanted, old), changes=tuple(found), before=now,
        membership=tuple(taking_back.membership_told(now.domain, old)),
    )  # fmt: skip


def _for_some(
    ctx: Context, then: Past, old: Domain, now: Current, names: frozenset[str], *, shared: bool
) -> Return:
    here = _entries(now)
    before = old, then.entries
    edits, left = taking_back.domain_edits(
        now.domain, old, names, shared=shared, can_be_had=can_be_had((now.domain, here), before)
    )
    text = _edited(ctx, then, edits)
    domain = ctx.store.parsed(text)
    found = changes.between(now.slices.repository, then.parts)
    taken = taken_of(
        found, names, (now.domain, here), (domain, {**here, **then.entries}), shared=shared,
        foreign=of_other_versions(domain, old),
    )  # fmt: skip
    moving = [change for change in found if change.path in taken.paths]
    moving += folders(domain, _with(here, moving, then.entries), before, names)
    wanted = _with(here, moving, then.entries)
    kept = moving + [change for change in found if edits and _is_definition(change)]
    file = then.entries[areas.DEFINITION]
    same = edits and hashlib.sha256(text).hexdigest().encode("ascii") == file.digest
    return Return(
        number=then.revision.number, names=names, domain=domain, text=text, file=file if same else None,
        folder=wanted.get(areas.CONFIG), files=_plan(ctx, now, wanted, domain), changes=tuple(kept),
        left=(*left, *taken.left), before=now,
    )  # fmt: skip


def _edited(ctx: Context, then: Past, edits: Sequence[Edit]) -> bytes:
    try:
        return ctx.store.edited(edits)
    except InvalidDomain as error:
        raise OperationFailed(
            f"with these entries of revision {then.revision.number} domain.yaml would not be valid: {error.message}",
            hint="go back with more instances, or with the whole domain; nothing has been changed",
        ) from error


def _is_definition(change: Change) -> bool:
    return change.path == areas.DEFINITION


def _entries(now: Current) -> dict[bytes, Entry]:
    """What a scan saw, without domain.yaml, which is taken back by itself."""
    found = {entry.path: entry for data in now.slices.repository.values() for entry in decode(data)}
    found.pop(areas.DEFINITION, None)
    return found


def _with(
    here: Mapping[bytes, Entry], taken: Sequence[Change], then: Mapping[bytes, Entry]
) -> dict[bytes, Entry]:
    """`here` with what is taken back; a file that comes back needs its folders, whoever else has them."""
    wanted = dict(here)
    for change in taken:
        wanted.pop(change.path, None)
        if change.new is not None:
            wanted[change.path] = change.new
    for folder in moves.folders_above(wanted):
        if folder not in wanted and folder in then:
            wanted[folder] = then[folder]
    return wanted


def _plan(ctx: Context, now: Current, wanted: Mapping[bytes, Entry], domain: Domain) -> Restoring:
    ignore = Ignore(exclusion.scan_patterns(domain))

    def spared(path: bytes, is_folder: bool) -> bool:
        """What is excluded there is left alone; archives of what was deployed never are."""
        return not moves.is_within(path, areas.INTERNAL) and ignore.matches(path, is_folder)

    return plan(_entries(now), wanted, dict(ctx.repository.names()), spared)


def repaired(ctx: Context) -> str | None:
    """Where domain.yaml is not valid, put back the one of the last revision; returns where the other one is kept now.

    Without it nothing can be looked at, recorded or brought back. Raises InvalidDomain where that cannot be done.
    """
    try:
        ctx.store.load()
        return None
    except InvalidDomain:
        head = ctx.history.head()
        last = past(ctx, head.number) if head is not None else None
        if last is None or last.domain_text is None:
            raise
    broken = b"".join(ctx.repository.read(areas.DEFINITION, piece=PIECE))
    entry = last.entries[areas.DEFINITION]
    digest = hashlib.sha256(broken).hexdigest().encode("ascii")
    place = BROKEN + b"-%d" % ctx.clock.now()
    aside = _now(ctx, entry._replace(path=place, size=len(broken), digest=digest))
    with ctx.working.making() as folder:
        ctx.working.write(folder / "broken", [aside], lambda digest: [broken])
        ctx.working.write(folder / "domain.yaml", [entry], partial(content, ctx))
        staged = [
            Move(to=place, staged=folder / "broken"),
            Move(to=areas.DEFINITION, staged=folder / "domain.yaml"),
        ]
        above = last.entries.get(areas.CONFIG)
        ctx.working.put(staged, [Touch(path=areas.CONFIG, mtime=above.mtime)] if above is not None else [])
    ctx.store.load()
    return printable(place)


def returned(ctx: Context, way: Return, *, summary: str) -> Current:
    """Go the way: the files as they were, and a new revision; the current one where nothing has to change.

    The warnings of what is returned say what was not taken back. Raises OperationFailed with nothing changed.
    """
    now = way.before
    files = _judged_unknown(ctx, way)
    try:
        with ctx.working.making() as folder:
            staged = _staged(ctx, way, files, folder)
            if staged or files.touches:
                _look_again(ctx, now)
                ctx.working.put(staged, _touches(way, staged, files))
    except OSError as error:
        raise OperationFailed(
            f"revision {way.number} cannot be brought back: {error.strerror}; nothing has been changed",
            hint="make room on the disk that holds the domain's folder, and run the command again",
        ) from error
    after = current(ctx, summary=summary)
    return replace(after, warnings=(*after.warnings, *way.warnings))


def _judged_unknown(ctx: Context, way: Return) -> Restoring:
    """Files that no revision knows may only be replaced by themselves: there would be no way back to them."""
    files = way.files
    lost = [entry for entry in files.unknown if not _is_same(ctx, entry)]
    if lost or files.blocked:
        paths = [*(entry.path for entry in lost), *files.blocked]
        raise OperationFailed(
            f"{named(paths)} would be lost: "
            + ("it is" if len(paths) == 1 else "they are")
            + " in no revision (excluded now, or of an application that is not in the domain); nothing has been changed",
            hint="move away what you want to keep, remove the rest, and run the command again",
        )
    touches = tuple(Touch(path=entry.path, mode=entry.mode, mtime=entry.mtime) for entry in files.unknown)
    return replace(files, unknown=(), touches=(*files.touches, *touches))


def _is_same(ctx: Context, entry: Entry) -> bool:
    if entry.kind != "f" or ctx.repository.kind_of(entry.path) != "f":
        return False
    digest = hashlib.sha256()
    for piece in ctx.repository.read(entry.path, piece=PIECE):
        digest.update(piece)
    return digest.hexdigest().encode("ascii") == entry.digest


def _staged(ctx: Context, way: Return, files: Restoring, folder: Path) -> list[Move]:
    total = sum(entry.size for tree in files.puts for entry in tree)
    on_bytes = told(ctx, "writing", f"revision {way.number}", total) if total else None

    def get(digest: str) -> Iterator[bytes]:
        for piece in content(ctx, digest):
            if on_bytes is not None:
                on_bytes(len(piece))
            yield piece

    found = [Move(to=path, staged=None) for path in files.removals]
    for number, tree in enumerate(files.puts):
        staged = folder / f"file-{number}"
        ctx.working.write(staged, tree, get)
        found.append(Move(to=tree[0].path, staged=staged))
    found += _domain_file(ctx, way, folder)
    found += _definitions(ctx, way, folder)
    return found


def _domain_file(ctx: Context, way: Return, folder: Path) -> list[Move]:
    """domain.yaml, where its text changes or, of the whole domain, its mode or modtime does."""
    here = next(
        entry
        for data in way.before.slices.repository.values()
        if changes.root_of(data) == areas.DEFINITION
        for entry in decode(data)
    )
    digest = hashlib.sha256(way.text).hexdigest().encode("ascii")
    if here.digest == digest and way.file in (None, here):
        return []
    entry = way.file or _now(ctx, here._replace(size=len(way.text), digest=digest))
    ctx.working.write(folder / "domain.yaml", [entry], lambda digest: [way.text])
    return [Move(to=areas.DEFINITION, staged=folder / "domain.yaml")]


def _touches(way: Return, staged: Sequence[Move], files: Restoring) -> list[Touch]:
    """domain.yaml is no part of an area, and yet the folder in which it is replaced is one."""
    touches = list(files.touches)
    replaced = any(move.to == areas.DEFINITION for move in staged)
    if replaced and way.folder is not None and all(touch.path != areas.CONFIG for touch in touches):
        touches.append(Touch(path=areas.CONFIG, mode=way.folder.mode, mtime=way.folder.mtime))
    return touches


def _now(ctx: Context, entry: Entry) -> Entry:
    return entry._replace(mtime=int(ctx.clock.now() * 1_000_000_000))


def _definitions(ctx: Context, way: Return, folder: Path) -> list[Move]:
    """The instances' own parts of domain.yaml with the modtimes that they have where they were confirmed last: who stands
    there has nothing to receive.
    """
    found: list[Move] = []
    for name, known in ctx.history.acknowledged(way.domain.instances).items():
        config = dict(known.parts).get("config")
        data = ctx.history.part(config) if config is not None else None
        had = _definition_in(data) if data is not None else None
        text = definition(way.domain, name)
        if had is None or had.digest.decode("ascii") != hashlib.sha256(text).hexdigest():
            continue
        if way.before.slices.definitions.get(had.digest.decode("ascii")) is not None:
            continue  # it lies there as it was
        staged = folder / f"definition-{len(found)}"
        ctx.working.write(staged, [had], lambda digest, text=text: [text])  # type: ignore[misc]
        found.append(Move(to=areas.DEFINITIONS + b"/" + from_printable(name) + b".json", staged=staged))
    return found


def _definition_in(config: bytes) -> Entry | None:
    return next((entry for entry in decode(config) if entry.path == areas.DEFINITION), None)


def _look_again(ctx: Context, now: Current) -> None:
    """What somebody writes meanwhile is in no revision yet: it must not be replaced."""
    scan = ctx.repository.scan(now.domain, criterion=now.domain.domain.criterion)
    if scan.state != now.slices.state:
        raise RepositoryError(
            "the repository's files were changed while the old ones were made ready; nothing has been changed",
            hint="run the command again when they rest",
        )
