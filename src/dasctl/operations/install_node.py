"""`install-node`: a release of the servers' own software on nodes, all side by side; beside those that they have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasctl.core import releases
from dasctl.core.domain import Domain, Release
from dasctl.core.moves import Move
from dasctl.core.names import fault_of
from dasctl.core.outcome import UNCHANGED, Outcome, Result
from dasctl.core.slices import Part
from dasctl.core.targets import resolve_nodes
from dasctl.errors import OperationFailed, UsageError
from dasctl.operations.fanout import on_nodes
from dasctl.operations.installed import current_of, first_switch, note_of, recorded
from dasctl.operations.node_story import about_nodes
from dasctl.operations.others_folder import use_folder
from dasctl.operations.ports import Context, Link, NewRelease
from dasctl.operations.progress import portions, told
from dasctl.operations.recording import current
from dasctl.operations.software import Bringing, ask
from dasctl.operations.synchronised import fields as sync_fields
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.core.archives import Limits

COMMAND = "install-node"


async def install_node(
    ctx: Context,
    nodes: Sequence[str],
    *,
    version: str,
    archive: Path | None = None,
    folder: str | None = None,
    strip: bool = True,
    force: bool = False,
    limits: Limits | None = None,
) -> Outcome:
    """Put release `version` on `nodes`: from `archive` (a file or a folder here), or, where it was installed before, from
    what is kept of it. A `folder` of the nodes that is somebody else's is only looked at; `force` believes it as it is.

    Nodes that have no release use it from now on; the others when `upgrade_node` switches them.
    """
    _check(version, archive, folder)
    ctx = about_nodes(ctx)
    if archive is not None:
        _check_source(ctx, archive)
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        _check_folder(domain)
        names = resolve_nodes(domain, nodes)
        known = domain.releases.get(version)
        _check_known(version, known, archive, folder)
        folder = folder or (known.folder if known is not None else None)
        if folder is not None:
            return await use_folder(ctx, domain, names, version, folder, force=force)
        with ctx.working.making() if archive is not None else nullcontext(Path()) as room:
            new = _made(ctx, version, archive, room, strip, limits)
            part = new.part if new is not None else _kept(ctx, version)
            if known is not None and known.digest not in (None, part.digest):
                raise _another(version)
            return await _installed(ctx, domain, names, part, new)


def _check(version: str, archive: Path | None, folder: str | None) -> None:
    if fault := fault_of(version):
        raise UsageError(f"--version: {fault}")
    if archive is not None and folder is not None:
        raise UsageError("--archive and --folder contradict each other", hint="give one of them")
    if folder is not None and not folder.startswith("/"):
        raise UsageError(f"--folder: {folder!r} is not an absolute path", hint="it is a folder on the nodes")


def _check_folder(domain: Domain) -> None:
    """What would make domain.yaml invalid in the end is told before any node is touched."""
    if words.SOFTWARE in domain.instances:
        raise OperationFailed(
            f"an instance is called {words.SOFTWARE!r}, and on its node releases lie in the folder of that name",
            hint="delete-instance software, and create it with another name",
        )


def _check_source(ctx: Context, archive: Path) -> None:
    if not archive.exists():
        raise UsageError(
            f"there is no {archive}", hint="give an archive, a folder, or an executable file of this machine"
        )
    if archive.is_dir() and ctx.store.root.is_relative_to(archive.absolute()):
        raise UsageError(f"{archive} holds the domain itself", hint="name the folder of the release alone")


def _check_known(version: str, known: Release | None, archive: Path | None, folder: str | None) -> None:
    if known is None:
        if archive is None and folder is None:
            raise UsageError(
                f"there is no release '{version}' yet",
                hint="give its --archive, or its --folder on the nodes",
            )
        return
    if archive is not None and known.folder is not None:
        raise OperationFailed(
            f"release {version} is the folder {known.folder} of the nodes",
            hint="install the archive as another --version",
        )
    if folder is not None and folder != known.folder:
        what = f"the folder {known.folder}" if known.folder is not None else "an archive"
        raise OperationFailed(f"release {version} is {what}", hint="install the folder as another --version")


def _another(version: str) -> OperationFailed:
    return OperationFailed(
        f"there is a release {version} already, and this archive holds something else",
        hint=f"what a release holds never changes: give another --version, or uninstall-node --version {version} first",
    )


# -- from an archive


def _made(
    ctx: Context, version: str, archive: Path | None, room: Path, strip: bool, limits: Limits | None
) -> NewRelease | None:
    """The release of `archive`, its contents kept as objects; None where there is no archive."""
    if archive is None:
        return None
    from dasctl.core.archives import Limits

    assert ctx.releases is not None
    new = ctx.releases.make(
        archive,
        version,
        room,
        limits or Limits(),
        strip=strip,
        on_bytes=lambda phase: told(ctx, phase, archive.name),
    )
    if _moved(ctx, archive.name, new):
        raise OperationFailed(f"{archive} changed while it was read", hint="run the command again")
    return new


def _moved(ctx: Context, name: str, new: NewRelease) -> bool:
    """Keep the contents; whether one of them is another by now."""
    sizes = {
        digest: (ctx.store.root / os.fsdecode(path)).stat().st_size for digest, path in new.contents.items()
    }
    on_bytes = told(ctx, "keeping", name, sum(sizes.values()))
    for some in portions(sizes):
        if ctx.objects.keep({digest: new.contents[digest] for digest in some}):
            return True
        on_bytes(sum(sizes[digest] for digest in some))
    return False


def _kept(ctx: Context, version: str) -> Part:
    assert ctx.releases is not None
    data = ctx.releases.manifest(version)
    part = releases.part_from(data) if data is not None else None
    if part is None:
        raise OperationFailed(
            f"what release {version} holds is not kept in .dasctl/releases any more",
            hint=f"give the file that it came in: install-node … --archive FILE --version {version}",
        )
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class _Installing:
    """The way of one node."""

    ctx: Context
    bringing: Bringing
    part: Part
    version: str

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        ctx, domain = self.ctx, self.bringing.now.domain
        started = ctx.clock.monotonic()
        there = await ask(ctx, domain, node, link, finish=True)
        others = [part for part in self.bringing.parts(there) if part.name != self.part.name]
        course = await self.bringing.bring(node, link, there, [*others, self.part], self.part)
        more = course.verdict.more if course.verdict is not None else {}
        switched = await first_switch(ctx, domain, node, link, there, self.version, self.bringing)
        row = sync_fields(None, more, course.sent, link.round_trips, ctx.clock.monotonic() - started)
        row.pop("revision")
        row.pop("changes", None)
        done = switched or more.get("verdict") == words.DONE
        return [
            Result(
                status="installed" if done else UNCHANGED, node=node,
                fields={"version": self.version, "current": current_of(domain, there, self.version, switched),
                        "copied": int(more.get("copied") or 0), **row},
                note=note_of(domain, node, there, self.version, switched),
            )
        ]  # fmt: skip


async def _installed(
    ctx: Context, domain: Domain, names: Sequence[str], part: Part, new: NewRelease | None
) -> Outcome:
    version = releases.version_in(part.name) or ""
    now = current(ctx, domain=domain)
    bringing = Bringing(ctx=ctx, now=now, paths=new.contents if new is not None else {})
    steps = _Installing(ctx=ctx, bringing=bringing, part=part, version=version)
    rows = await on_nodes(ctx, domain, {name: [] for name in names}, steps.node)
    entry: dict[str, Any] = {"digest": part.digest}
    if new is not None:
        entry = {"archive": new.archive, **entry}
    notes = [f"the folder {new.stripped}, in which all of {new.archive} lies, was left out (--no-strip keeps it)"] \
        if new is not None and new.stripped else []  # fmt: skip
    if new is not None and any(row.good for row in rows):
        place = b".dasctl/releases/" + version.encode()
        ctx.working.put([Move(to=place, staged=new.folder)])
    return recorded(ctx, COMMAND, domain, version, entry, rows, now.revision.number, tuple(notes))
