"""`export-sync-bundle`: one file that brings instances to the domain's state where no link reaches their nodes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from dasctl.core import areas, bundles, slices
from dasctl.core import targets as target_names
from dasctl.core.definition import definition
from dasctl.core.domain import Domain
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.slices import Part, Slice
from dasctl.core.stamps import Revision
from dasctl.errors import RepositoryError, UsageError
from dasctl.operations.ports import BundleFile, Context, Event
from dasctl.operations.recording import Current, current
from dasctl.operations.sync import sync_options
from dasctl.remote.paths import printable

COMMAND = "export-sync-bundle"
PIECE = 256 << 10  # bytes
WHOLE = "export a bundle without --since"


async def export_sync_bundle(
    ctx: Context, targets: Sequence[str], *, file: Path, since: int | None = None
) -> Outcome:
    """Write `file` for the targets' instances; with `since` only what has changed from that revision on."""
    assert ctx.bundles is not None
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets)
        if not names:
            raise UsageError(f"no instances in {', '.join(targets)}: there is nothing to export")
        _look_at_name(domain, str(file))
        now = await asyncio.to_thread(partial(current, ctx, domain=domain))
        chain = ctx.history.revisions()
        start = _revision(chain, since) if since is not None else None
        then = await asyncio.to_thread(_then, ctx, now, names, start) if start is not None else {}
        plan = bundles.plan(
            domain, bundles.listed(now.slices, names), now.revision, sync_options(domain), chain, since=start, then=then
        )  # fmt: skip
        write = partial(
            ctx.bundles.write, file, plan, partial(_content, ctx, now.slices.contents), _progress(ctx, plan)
        )
        written = await asyncio.to_thread(write)
    warnings = (*now.warnings, *now.refused)
    unknown = [name for name in names if name not in then]
    if start is not None and unknown:
        warnings += (
            f"config/domain.yaml has changed since revision {since}: what {target_names.fold(unknown)} had then is not "
            "known, so all contents are in the bundle",
        )
    row = _row(domain, names, file, written, plan, start)
    return summed_up(COMMAND, [row], revision=now.revision.number, changed=True, warnings=warnings)


def _look_at_name(domain: Domain, file: str) -> None:
    """Raises UsageError where the last word is a target: then the file was forgotten."""
    try:
        target_names.resolve(domain, [file])
    except UsageError:
        return
    raise UsageError(
        f"{file} is a target, and the file to write is missing",
        hint=f"name the file last: dasctl export-sync-bundle {file} {file.replace(':', '-')}.bundle",
    )


def _revision(chain: Sequence[Revision], number: int) -> Revision:
    for revision in chain:
        if revision.number == number:
            return revision
    raise UsageError(f"the domain has no revision {number}", hint="`dasctl history` lists its revisions")


def _then(ctx: Context, now: Current, names: Sequence[str], since: Revision) -> Mapping[str, Slice]:
    """The slices at an earlier revision, of the instances of which they are known. Raises UsageError."""
    then = {name: part for name, part in _as_recorded(ctx, now, since).items() if name in names}
    for name, known in ctx.history.acknowledged(names).items():
        if known.standing == since.standing and name not in then:
            parts = [(part, digest, ctx.history.part(digest)) for part, digest in known.parts]
            if all(data is not None for _, _, data in parts):
                found = tuple(
                    Part(name=part, digest=digest, data=data or b"") for part, digest, data in parts
                )
                then[name] = Slice(instance=name, parts=found)
    return then


def _as_recorded(ctx: Context, now: Current, since: Revision) -> Mapping[str, Slice]:
    """All slices at a revision with the domain.yaml of today; none where it was another one."""
    parts = ctx.history.parts_of(since.number)
    if parts is None:
        raise UsageError(
            f"revision {since.number} is not kept any more: what has changed since is not known", hint=WHOLE
        )
    whole = b"".join(ctx.repository.read(areas.DEFINITION, piece=PIECE))
    scan = bundles.scan_of(parts, hashlib.sha256(whole).hexdigest())
    if scan.state != since.state:
        return {}
    definitions = {name: definition(now.domain, name) for name in now.domain.instances}
    return slices.build(now.domain, scan, ctx.repository.publish(definitions, write=False)).by_instance


def _content(ctx: Context, paths: Mapping[str, bytes], digest: str) -> Iterator[bytes]:
    """The content in pieces. Raises RepositoryError where its file holds another one by now."""
    path = paths[digest]
    seen = hashlib.sha256()
    for piece in ctx.repository.read(path, piece=PIECE):
        seen.update(piece)
        yield piece
    if seen.hexdigest() != digest:
        raise RepositoryError(
            f"{printable(path)} was changed while it was exported", hint="run the command again when it rests"
        )


def _progress(ctx: Context, plan: bundles.Plan) -> Callable[[int], None]:
    total = sum(plan.contents.values())
    return lambda written: ctx.on_event(Event(phase="writing", sent=written, total=total))


def _row(
    domain: Domain,
    names: Iterable[str],
    file: Path,
    written: BundleFile,
    plan: bundles.Plan,
    since: Revision | None,
) -> Result:
    nodes = dict.fromkeys(domain.instances[name].node for name in names)
    return Result(
        status="exported",
        fields={
            "file": str(file), "size": written.size, "sha256": written.sha256,
            "since": since.number if since is not None else None,
            "instances": list(names), "nodes": list(nodes),
            "contents": len(plan.contents), "bytes": sum(plan.contents.values()), "runs": written.runs,
        },
    )  # fmt: skip
