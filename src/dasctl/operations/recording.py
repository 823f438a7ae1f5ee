"""The state of the domain as it is now, as a revision: what every command that changes nodes begins with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dasctl.core import areas, slices
from dasctl.core.config_id import config_id
from dasctl.core.definition import definition
from dasctl.core.domain import FILE, Criterion, Domain
from dasctl.core.slices import Scan, Slices
from dasctl.core.stamps import Acknowledged, Revision
from dasctl.errors import HistoryError, RepositoryError
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
    """The domain, what each instance needs of it, and the revision that says so. `new`: recorded just now.

    `record`: it is not yet. To be called once, in any thread; before it has returned, no node may commit this revision.
    Raises FilesMoved, HistoryError, RepositoryError.
    """

    domain: Domain
    slices: Slices
    revision: Revision
    new: bool
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # links that lead out: the repository holds what no node gets
    record: Callable[[], None] | None = None


class FilesMoved(RepositoryError):
    """Files were changed before they could be kept; looking at the repository again may settle it."""

    def __init__(self, paths: Collection[bytes]) -> None:
        self.paths = paths
        names = ", ".join(printable(path) for path in sorted(paths)[:NAMED])
        super().__init__(
            f"changed each time while they were read: {names}",
            hint="run the command again when they rest, or exclude them under domain: exclude: in config/domain.yaml",
        )


def current(
    ctx: Context,
    *,
    domain: Domain | None = None,
    criterion: Criterion | None = None,
    summary: str = EDITED_IN_PLACE,
    record: bool = True,
    publish: bool = True,
    ahead: bool = False,
) -> Current:
    """Look at the repository; record a new revision if anything differs from the last one.

    The caller holds the lock, unless `record` is False: then a new revision is only thought of (`--dry-run`). `domain` is
    what the caller has loaded already, and goes on with. Without `publish` nothing at all is written. `ahead`: the caller
    goes on before the revision is recorded, and sees to it that it is (`Current.record`).
    """
    given, domain = domain, domain or ctx.store.load()
    criterion = criterion or domain.domain.criterion
    moved: Collection[bytes] = ()
    for _ in range(LOOKS):
        scan = ctx.repository.scan(domain, criterion=criterion)
        if (loaded := ctx.store.load()) != domain:  # it was edited meanwhile, and the scan is of the new one
            moved = (areas.DEFINITION,)
            domain = _as_given(given, loaded)
            continue
        found = slices_in(ctx, domain, scan, publish=publish)
        head = ctx.history.head()
        now = _compared(ctx, domain, found, head, summary)
        if not (now.new and record):
            return now
        now = replace(now, revision=ctx.history.foreseen(_summed_up(ctx, now.revision, found, head)))
        if ahead:
            return replace(now, record=partial(_record, ctx, now, head))
        try:
            _record(ctx, now, head)
        except FilesMoved as error:
            moved, criterion = error.paths, "hash"
        else:
            return now
    raise FilesMoved(moved)


def _record(ctx: Context, now: Current, head: Revision | None) -> None:
    """Keep the contents, then record the revision. Raises FilesMoved; HistoryError where it became another one."""
    from dasctl.operations.keeping import keep_contents, needed  # of use to those alone who record

    moved = keep_contents(ctx, now.slices, head)
    if moved:
        raise FilesMoved(moved.values())
    recorded = ctx.history.record(now.revision, now.slices.repository, keep=now.domain.domain.revisions)
    if recorded.standing != now.revision.standing:
        raise HistoryError(
            f"revision {now.revision.number} became {recorded.number}: the history was changed by somebody else",
            hint="run the command again",
        )
    ctx.objects.collect(partial(needed, ctx, now.slices))


def _as_given(given: Domain | None, loaded: Domain) -> Domain:
    if given is not None:
        raise RepositoryError(
            f"{FILE} was changed while the command looked at the repository", hint="run the command again"
        )
    return loaded


def _compared(ctx: Context, domain: Domain, found: Slices, head: Revision | None, summary: str) -> Current:
    """What was found: the revision `head`, or the new one that it makes, not recorded yet."""
    membership, epoch = config_id(domain), ctx.history.epoch()
    told = partial(
        Current, domain=domain, slices=found,
        warnings=told_of(found, refused=False), refused=told_of(found, refused=True),
    )  # fmt: skip
    if head is not None and (head.state, head.config_id, head.epoch) == (found.state, membership, epoch):
        return told(revision=head, new=False)
    revision = Revision(
        number=head.number + 1 if head else 1, epoch=epoch, config_id=membership, who=ctx.who.user,
        host=ctx.who.host, when=ctx.clock.now(), command=ctx.who.command,
        summary=FIRST_SEEN if head is None and summary == EDITED_IN_PLACE else summary, state=found.state,
    )  # fmt: skip
    revision = revision.sealed(head.digest if head else "")
    return told(revision=revision, new=True)


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
