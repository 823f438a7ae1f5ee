"""The state of the domain as it is now, as a revision: what every command that changes nodes begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dasctl.core import areas, slices
from dasctl.core.config_id import config_id
from dasctl.core.definition import definition
from dasctl.core.domain import FILE, Criterion, Domain
from dasctl.core.slices import Scan, Slices
from dasctl.core.stamps import Acknowledged, Revision
from dasctl.errors import RepositoryError
from dasctl.operations.ports import Context
from dasctl.remote.paths import printable

if TYPE_CHECKING:
    from dasctl.core.edits import Edit

EDITED_IN_PLACE = "files edited in place"
FIRST_SEEN = "the domain as it was first seen"
LOOKS = 3  # at a repository whose files change while they are kept
NAMED = 5  # of them in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """The domain, what each instance needs of it, and the revision that says so. `new`: recorded just now."""

    domain: Domain
    slices: Slices
    revision: Revision
    new: bool
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # links that lead out: the repository holds what no node gets


def current(
    ctx: Context,
    *,
    domain: Domain | None = None,
    criterion: Criterion | None = None,
    summary: str = EDITED_IN_PLACE,
    record: bool = True,
    publish: bool = True,
) -> Current:
    """Look at the repository; record a new revision if anything differs from the last one.

    The caller holds the lock, unless `record` is False: then a new revision is only thought of (`--dry-run`). `domain` is
    what the caller has loaded already, and goes on with. Without `publish` nothing at all is written.
    """
    given, domain = domain, domain or ctx.store.load()
    criterion = criterion or domain.domain.criterion
    moved: Mapping[str, bytes] = {}
    for _ in range(LOOKS):
        scan = ctx.repository.scan(domain, criterion=criterion)
        if (loaded := ctx.store.load()) != domain:  # it was edited meanwhile, and the scan is of the new one
            moved = {"": areas.DEFINITION}
            domain = _as_given(given, loaded)
            continue
        found = slices_in(ctx, domain, scan, publish=publish)
        head = ctx.history.head()
        now = _compared(ctx, domain, found, head, summary)
        if not (now.new and record):
            return now
        from dasctl.operations.keeping import keep_contents, needed  # of use to those alone who record

        moved = keep_contents(ctx, found, head)
        if not moved:
            revision = _summed_up(ctx, now.revision, found, head)
            recorded = ctx.history.record(revision, found.repository, keep=domain.domain.revisions)
            ctx.objects.collect(partial(needed, ctx, found))
            return replace(now, revision=recorded)
        criterion = "hash"
    names = ", ".join(printable(path) for path in sorted(moved.values())[:NAMED])
    raise RepositoryError(
        f"changed each time while they were read: {names}",
        hint="run the command again when they rest, or exclude them under domain: exclude: in config/domain.yaml",
    )


def _as_given(given: Domain | None, loaded: Domain) -> Domain:
    if given is not None:
        raise RepositoryError(
            f"{FILE} was changed while the command looked at the repository", hint="run the command again"
        )
    return loaded


def _compared(ctx: Context, domain: Domain, found: Slices, head: Revision | None, summary: str) -> Current:
    """What was found: the revision `head`, or the new one that it makes, not recorded yet."""
    membership, epoch = config_id(domain), ctx.history.epoch()
    told = {"warnings": told_of(found, refused=False), "refused": told_of(found, refused=True)}
    if head is not None and (head.state, head.config_id, head.epoch) == (found.state, membership, epoch):
        return Current(domain=domain, slices=found, revision=head, new=False, **told)
    revision = Revision(
        number=head.number + 1 if head else 1, epoch=epoch, config_id=membership, who=ctx.who.user,
        host=ctx.who.host, when=ctx.clock.now(), command=ctx.who.command,
        summary=FIRST_SEEN if head is None and summary == EDITED_IN_PLACE else summary, state=found.state,
    )  # fmt: skip
    revision = revision.sealed(head.digest if head else "")
    return Current(domain=domain, slices=found, revision=revision, new=True, **told)


def _summed_up(ctx: Context, revision: Revision, found: Slices, head: Revision | None) -> Revision:
    """What was edited in place is told as what changed, where the last revision is kept."""
    if head is None or revision.summary != EDITED_IN_PLACE:
        return revision
    from dasctl.core import changes

    before = ctx.history.parts_of(head.number)
    told = changes.summary(changes.between(before, found.repository)) if before is not None else ""
    return replace(revision, summary=told or EDITED_IN_PLACE)


def told_of(found: Slices, *, refused: bool) -> tuple[str, ...]:
    """What is not synchronised, a line each: what is refused, or the rest."""
    return tuple(
        f"{printable(problem.path)}: {problem.message}"
        for problem in found.problems
        if problem.refused == refused
    )


def slices_of(ctx: Context, domain: Domain, *, criterion: Criterion, publish: bool = True) -> Slices:
    """What each instance of `domain` needs, from the repository as it is now."""
    return slices_in(ctx, domain, ctx.repository.scan(domain, criterion=criterion), publish=publish)


def slices_in(ctx: Context, domain: Domain, scan: Scan, *, publish: bool = True) -> Slices:
    """The same from a scan."""
    definitions = {name: definition(domain, name) for name in domain.instances}
    return slices.build(domain, scan, ctx.repository.publish(definitions, write=publish))


def edit(ctx: Context, edits: Sequence[Edit], *, summary: str) -> Current:
    """Change domain.yaml and record that as a revision, or do neither. The caller holds the lock."""
    return edited(ctx, edits, summary=summary)[1]


def edited(ctx: Context, edits: Sequence[Edit], *, summary: str) -> tuple[Current, Current]:
    """The same; the domain before and after it.

    What was edited in place before is a revision of its own, so that history does not lay it at this command's door.
    """
    before = current(ctx)
    with ctx.store.undoable() as undo:
        try:
            ctx.store.edit(edits)
            return before, current(ctx, summary=summary)
        except BaseException:  # the disk is full, say
            if ctx.history.head() == before.revision:
                undo()
            raise


def remembered(ctx: Context, domain: Domain, instances: Sequence[str]) -> dict[str, Acknowledged]:
    """What these instances confirmed last on the nodes that they are on now."""
    return {
        name: known
        for name, known in ctx.history.acknowledged(instances).items()
        if known.node in ("", domain.instances[name].node)
    }


def left_behind(ctx: Context, domain: Domain, instances: Sequence[str]) -> tuple[str, ...]:
    """A warning for each instance that confirmed last on another node, where nobody looks after it any more."""
    return tuple(
        f"{name} was on node {known.node} before: its folder there, and its server if it runs, are left as they are"
        for name, known in ctx.history.acknowledged(instances).items()
        if known.node not in ("", domain.instances[name].node)
    )
