"""`diff-instance`: what differs between what the repository has for an instance and what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dasctl.core import exclusion, requests, verdicts
from dasctl.core import targets as target_names
from dasctl.core.outcome import DIFFERENT, FAILED, UNCHANGED, Outcome, Problem, Result, differing, summed_up
from dasctl.core.unified import Side
from dasctl.errors import ExitCode, UsageError
from dasctl.operations.differing import Differing
from dasctl.operations.ports import Context, Link
from dasctl.operations.preparing import pass_over, prepare
from dasctl.operations.recording import current
from dasctl.operations.sync import sync_options
from dasctl.operations.synchronising import Synchronisation
from dasctl.remote import words
from dasctl.remote.manifest import order
from dasctl.remote.paths import from_printable, printable

COMMAND = "diff-instance"


async def diff_instance(
    ctx: Context, *, name: str, paths: Sequence[str] = (), verify: bool = False
) -> Outcome:
    """One result per file that differs, with its `diff` from the repository to the instance. Changes and locks nothing."""
    domain = ctx.store.load()
    names = target_names.resolve(domain, [name])
    if len(names) != 1:
        raise UsageError(f"{name!r} is not one instance", hint="name one: dasctl diff-instance web1")
    chosen = [_path(path) for path in paths]
    options = replace(sync_options(domain, dry_run=True, yes=True), deviations="overwrite")
    if verify:
        options = replace(options, criterion="hash")
    warnings: list[str] = []

    async def compare(
        run: Synchronisation, node: str, link: Link, instances: Sequence[str]
    ) -> Sequence[Result]:
        rows = await run.node(node, link, instances)
        if not rows[0].good:
            return rows
        return await _compared(run, node, link, rows[0], chosen, warnings)

    look = partial(current, ctx, domain=domain, record=False, publish=False)
    run, rows = await pass_over(ctx, domain, names, prepare(ctx, look, names, options), compare)
    bad = [row for row in rows if not row.good]
    for row in bad:
        if row.error is not None and row.error.exit_code == ExitCode.USAGE:
            raise UsageError(row.error.message, hint=row.error.hint)
    outcome = summed_up(
        COMMAND, bad or rows, revision=run.now.revision.number, changed=True,
        warnings=(*run.now.warnings, *run.now.refused, *warnings),
    )  # fmt: skip
    if any(row.status == DIFFERENT for row in rows):
        return differing(outcome)
    return outcome if bad else replace(outcome, status=UNCHANGED)


def _path(text: str) -> bytes:
    """A file or folder of the instance. Raises UsageError for one that is not synchronised."""
    path = from_printable(text.removeprefix("./").rstrip("/"))
    if path.partition(b"/")[0].decode("utf-8", "replace") not in words.AREAS:
        raise UsageError(
            f"{text!r} is no path of an instance",
            hint="paths begin with config, applications, lib or docroot, as on the instance",
        )
    return path


def _is_chosen(path: bytes, chosen: Sequence[bytes]) -> bool:
    return not chosen or any(path == one or path.startswith(one + b"/") for one in chosen)


async def _compared(
    run: Synchronisation,
    node: str,
    link: Link,
    row: Result,
    chosen: Sequence[bytes],
    warnings: list[str],
) -> list[Result]:
    """The differing files among `chosen`, in the order of a walk."""
    name = row.instance
    assert name is not None
    whys = {from_printable(change["path"]): str(change["why"]) for change in row.fields.get("changes") or ()}
    for item in row.fields.get("deviations") or ():
        if item["kind"] == words.OVERRIDDEN:
            whys.setdefault(from_printable(item["path"]), words.OVERRIDDEN)
    for path in await _extra(run, node, link, name):
        whys.setdefault(path, words.EXTRA)
    whys = {path: why for path, why in whys.items() if _is_chosen(path, chosen)}
    for one in chosen:
        if not _exists(run, name, one, whys):
            return [Result(status=FAILED, instance=name, node=node, error=_nowhere(name, one))]
    paths = sorted((path for path, why in whys.items() if why != "modtime"), key=order)
    absent = frozenset(path for path in paths if whys[path] == "new")
    sides = Differing(ctx=run.ctx, now=run.now, node=node, link=link, instance=name)
    found = []
    async for path, diff, here, there in sides.diffs(paths, absent=absent):
        if diff:
            fields: dict[str, Any] = {
                "path": printable(path),
                "kind": _kind(here, there),
                "diff": printable(diff),
            }
            found.append(Result(status=DIFFERENT, instance=name, node=node, fields=fields))
        warnings += _not_in_diffs(path, here, there)
    touched = len(whys) - len(paths)
    if touched:
        warnings.append(f"{touched:,} more differ in their modtime alone")
    return found or [Result(status=UNCHANGED, instance=name, node=node)]


async def _extra(run: Synchronisation, node: str, link: Link, name: str) -> list[bytes]:
    """Files on the instance that are not from the repository: a synchronisation says nothing about them."""
    domain = run.now.domain
    item = {"name": name, "verify": False, "excluded": list(exclusion.excluded_of(domain, name)) or None}
    header = requests.envelope(words.DEVIATIONS, domain, node, run.now.revision.epoch, instances=[item])
    reply = await link.ask(header, silence_s=run.ctx.patience_s)
    (verdict,) = verdicts.read_all(reply.header, [name], node)
    if verdict.verdict != words.DONE:
        raise verdicts.failure(verdict, node)
    found = verdict.more.get("deviations") or ()
    return [from_printable(one["path"]) for one in found if one["kind"] == words.EXTRA]


def _exists(run: Synchronisation, name: str, chosen: bytes, found: Mapping[bytes, str]) -> bool:
    """Whether there is such a file or folder, here or there."""
    if any(_is_chosen(path, [chosen]) for path in found):
        return True
    lines = [part.data for part in run.now.slices.by_instance[name].parts]
    return any(b" %s\0" % chosen in data or b" %s/" % chosen in data for data in lines)


def _nowhere(name: str, chosen: bytes) -> Problem:
    """A path that is neither here nor there is a slip of the pen, and no difference."""
    return Problem(
        message=f"{printable(chosen)!r} is neither in the repository for {name} nor on it",
        hint="paths are those of the instance: docroot/index.html, config/web.conf",
        exit_code=ExitCode.USAGE,
    )


def _kind(here: Side | None, there: Side | None) -> str:
    if here is None:
        return words.EXTRA
    if there is None:
        return words.MISSING
    return words.CHANGED


def _not_in_diffs(path: bytes, here: Side | None, there: Side | None) -> Iterator[str]:
    """What no diff can tell."""
    name = printable(path)
    if there is not None and there.kind == "o":
        yield f"{name}: on the instance it is neither a file, a folder nor a link, or it cannot be read"
    elif here is not None and here.kind == "d" and there is not None:
        if there.kind != "d":
            yield f"{name} is a folder in the repository, and none on the instance"
        elif here.mode != there.mode:
            yield f"{name}: the folder's mode is {here.mode:o} in the repository and {there.mode:o} on the instance"
    elif here is not None and there is not None and there.kind == "d":
        yield f"{name} is a folder on the instance, and none in the repository"
