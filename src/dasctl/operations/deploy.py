"""`deploy`, and what `redeploy` shares with it: an archive or a folder becomes a version of an application."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dasctl.core import archives, areas, deploying, names
from dasctl.core.archives import Limits
from dasctl.core.deployment_records import Record
from dasctl.core.domain import Application
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold
from dasctl.errors import ArchiveRefused, UsageError
from dasctl.operations.deployed import Known, known, written
from dasctl.operations.deploying import Change, Making, Running, Staged, carried_out
from dasctl.operations.ports import Context
from dasctl.operations.progress import told
from dasctl.operations.recording import Current, current


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `deploy` and `redeploy` are asked for. `again`: an application that is there is replaced."""

    command: str
    source: Path
    name: str
    version: str | None
    targets: tuple[str, ...]
    again: bool
    later: bool
    limits: Limits


async def deploy(
    ctx: Context,
    source: Path,
    *,
    targets: Sequence[str] = (),
    name: str | None = None,
    force: bool = False,
    later: bool = False,
    apply: bool = True,
    rolling: Rolling | None = None,
    limits: Limits | None = None,
) -> Outcome:
    """Make `source` a version of an application, active at `targets` (`later`: only known there).

    `name` is NAME or NAME:VERSION. Raises UsageError where that would replace something without `force`, ArchiveRefused;
    nothing is changed then.
    """
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx)  # what was edited in place is a revision of its own
        called, version = named(source, name)
        chosen = deploying.targets_of(now.domain, targets)
        found = known(ctx, now, called)
        again = force
        if force and not targets and not later and found.entry is not None:
            chosen = tuple(deploying.holders(now.domain, found.entry))
        wanted = Wanted(
            command="deploy", source=source, name=called, version=version, targets=chosen, again=again, later=later,
            limits=limits or Limits(),
        )  # fmt: skip
        return await deployed(ctx, now, found, wanted, Running(apply=apply, rolling=rolling))


def named(source: Path, name: str | None) -> tuple[str, str | None]:
    """The application's name and version, from `--name`, else from the file's or the folder's name. Raises UsageError."""
    called, _, version = (name or "").partition(":")
    if not called:
        file = source.absolute().name
        called = file if source.is_dir() else file.removesuffix(archives.ending_of(file) or "")
    why = names.fault_of(called)
    if called == areas.INTERNAL_NAME:
        why = f"{called!r} is the folder of the archives, so no application has this name"
    if why is not None:
        raise UsageError(
            f"{why} (it would be the application's name)", hint="say what it is called: --name NAME"
        )
    if version and (why := names.fault_of_version(version)) is not None:
        raise UsageError(why, hint="write --name NAME:VERSION")
    return called, version or None


async def deployed(ctx: Context, now: Current, found: Known, wanted: Wanted, running: Running) -> Outcome:
    """Carry out what is wanted. The caller holds the lock, and has recorded what was edited by hand."""
    with ctx.working.making() as folder:
        with written(folder / "new"):
            (folder / "new").mkdir()
        file, sha256, size = _taken(ctx, wanted.source, folder / "new", wanted.name)
        version, is_new = _version(now, found, wanted, sha256)
        change = _change(now, found, wanted, version)
        making = Making(ctx=ctx, now=now, change=change, folder=folder, limits=wanted.limits)
        if is_new:
            staged = _staged(making, wanted, version, file, sha256, size)
            change = replace(
                change, staged=(staged,), anew=frozenset((version,) if version in found.records else ())
            )
        else:
            change = replace(change, anew=frozenset((version,) if _is_edited(making, version) else ()))
        making = replace(making, change=change)
        return await carried_out(
            making, running, command=wanted.command, names=_instances(now, wanted),
            notes=_nowhere(change, version, wanted), data={"version": version, "sha256": sha256},
        )  # fmt: skip


def _taken(ctx: Context, source: Path, folder: Path, name: str) -> tuple[Path, str, int]:
    """The archive as a file of our own (its name stays), its SHA-256, its size. A folder becomes a .tar.gz."""
    assert ctx.archives is not None  # wiring gives it to every command with a domain
    if source.is_dir():
        if ctx.store.root.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"{source} holds the domain itself", hint="name the folder of one application")
        packed = folder / "packed.tar.gz"
        ctx.archives.pack(source, packed, on_bytes=told(ctx, "packing", source.name))
        file = folder / f"{name}.tar.gz"
        kept = ctx.archives.keep(packed, file, on_bytes=told(ctx, "copying", file.name, _size(packed)))
        packed.unlink()
        return file, kept.sha256, kept.size
    if not source.exists():
        raise UsageError(f"there is no {source}", hint="name an archive or a folder")
    if archives.ending_of(source.name) is None:
        raise UsageError(
            f"{source.name} is no archive that is known here",
            hint=f"known are {', '.join(archives.ENDINGS)}, and folders",
        )
    kept = ctx.archives.keep(
        source, folder / source.name, on_bytes=told(ctx, "copying", source.name, _size(source))
    )
    return folder / source.name, kept.sha256, kept.size


def _size(file: Path) -> int:
    """In bytes; 0 where it cannot be told, which whoever reads it finds out."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _version(now: Current, found: Known, wanted: Wanted, sha256: str) -> tuple[str, bool]:
    """Which version the archive is, and whether it is a new one. Raises UsageError where it must not be."""
    same = found.with_digest(sha256)
    if wanted.version in found.records and found.records[str(wanted.version)].sha256 == sha256:
        same = found.records[str(wanted.version)]
    if same is not None and wanted.version in (None, same.version):
        if not wanted.again and not _fits(now, found, wanted, same.version):
            raise _is_there(now, found, wanted)
        return same.version, False
    if wanted.version in found.records and not wanted.again:
        raise UsageError(
            f"{found.name} has a version {wanted.version} already, from another archive",
            hint=f"replace it with --force, or name another version: --name {found.name}:{_next(found)}",
        )
    if wanted.version is None and found.entry is not None and not wanted.again:
        raise _is_there(now, found, wanted)
    return wanted.version or _next(found), True


def _fits(now: Current, found: Known, wanted: Wanted, version: str) -> bool:
    """Whether nothing that is active anywhere would be replaced."""
    if found.entry is None or wanted.later:
        return True
    there = deploying.versions_at(now.domain, found.entry, wanted.targets)
    return all(active == version for active in there.values())


def _next(found: Known) -> str:
    entry = found.entry or Application()
    return deploying.next_version((*found.records, entry.version or "", *entry.versions.values()))


def _is_there(now: Current, found: Known, wanted: Wanted) -> UsageError:
    entry = found.entry
    assert entry is not None
    where = f"deployed to {fold(entry.targets)}" if entry.targets else "deployed nowhere"
    version = f" in version {entry.version}" if entry.version else ""
    source = wanted.source
    return UsageError(
        f"there is an application {found.name} already{version}, {where}",
        hint=f"replace what is active: dasctl redeploy {source}{_named_option(found, source)}; add a version: "
        f"--name {found.name}:{_next(found)}; or --force",
    )


def _named_option(found: Known, source: Path) -> str:
    try:
        usual = named(source, None)[0]
    except UsageError:
        usual = ""
    return "" if usual == found.name else f" --name {found.name}"


def _change(now: Current, found: Known, wanted: Wanted, version: str) -> Change:
    entry, domain = found.entry or Application(), now.domain
    before = found.before
    if found.entry is None and not wanted.targets:
        after = Application(version=version)
    elif wanted.later:
        after = deploying.announced(domain, entry, version, wanted.targets)
    elif wanted.targets:
        before = before.passed(
            deploying.versions_at(domain, entry, wanted.targets), version,
            members=deploying.instances_of(domain, wanted.targets),
        )  # fmt: skip
        after = deploying.activated(domain, entry, version, wanted.targets, enable=wanted.command == "deploy")
    else:
        after = entry
    where = f"active on {fold(wanted.targets)}" if wanted.targets else "known"
    return Change(
        known=found, after=after, before=before, summary=_summary(found, wanted, version),
        already=f"{wanted.name} {version} is {where}",
    )  # fmt: skip


def _summary(found: Known, wanted: Wanted, version: str) -> str:
    verb = "redeployed" if wanted.again and found.entry is not None else "deployed"
    if not wanted.targets:
        return f"{verb} {wanted.name} {version} to nobody yet"
    later = ", to be enabled later" if wanted.later else ""
    return f"{verb} {wanted.name} {version} to {fold(wanted.targets)}{later}"


def _staged(making: Making, wanted: Wanted, version: str, file: Path, sha256: str, size: int) -> Staged:
    """The archive, unpacked once to see that it can be: what is active only later is judged now."""
    ctx = making.ctx
    trial = making.folder / "trial"
    out = making.archives.unpack(file, trial, wanted.limits, on_bytes=told(ctx, "unpacking", file.name))
    if next(trial.iterdir(), None) is None:
        raise ArchiveRefused(
            f"{wanted.source.name} is refused: there is nothing in it",
            hint=f"nothing was changed; an application goes with `dasctl undeploy {wanted.name}`",
        )
    making.unpacked[version] = trial
    return Staged(
        file=file,
        record=Record(
            name=wanted.name, version=version, archive=file.name, sha256=sha256, size=size, unpacked=out.bytes,
            files=out.files, when=ctx.clock.now(), who=ctx.who.user, host=ctx.who.host,
            origin=_origin(ctx, wanted.source),
        ),
    )  # fmt: skip


def _origin(ctx: Context, source: Path) -> str:
    """Where the archive came from, as it was named: links are not followed. What was carried here has the caller's words."""
    return ctx.who.files.get(str(source)) or os.path.abspath(source)  # noqa: PTH100


def _is_edited(making: Making, version: str) -> bool:
    """Whether the version's exploded view is not what its archive holds any more."""
    area = next((area for area, held in making.old_folders.items() if held == version), None)
    if area is None:
        return False
    record = making.change.known.records[version]
    return any(True for _ in making.differing(area, record))


def _instances(now: Current, wanted: Wanted) -> list[str]:
    """The instances of the targets: they are brought to the revision even where nothing has changed."""
    return [] if wanted.later else deploying.instances_of(now.domain, wanted.targets)


def _nowhere(change: Change, version: str, wanted: Wanted) -> tuple[str, ...]:
    """What has to be done for a deployment that goes to nobody."""
    name = f"{change.known.name}:{version}"
    if wanted.targets and wanted.later:
        return (f"it is enabled with: dasctl enable {name} --target {fold(wanted.targets)}",)
    if wanted.targets:
        return ()
    return (
        f"no target was named, so it goes nowhere; it is deployed with: dasctl enable {name} --target TARGET",
    )
