"""The conversation that brings the instances of one node to a revision.

One trip where the node stands where the DAS remembers it; another where it stands elsewhere in the DAS's chain, or has to
be sent contents; one more where all nodes commit together. What is decided from an answer is decided in `core`; here is
the order of things only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dasctl.core import requests, sending, verdicts
from dasctl.core.requests import UNASKED_LIMIT, Want
from dasctl.core.sending import Plan, Progress
from dasctl.core.verdicts import Verdict
from dasctl.errors import DasctlError, LinkLost, NodeError, NotChanged, ProtocolError, RepositoryError
from dasctl.operations.contents import END
from dasctl.operations.ports import Event, Link, Reply
from dasctl.operations.weighing import Order
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.operations.barrier import Barrier
    from dasctl.operations.synchronising import Synchronisation

MAX_TRIPS = 6  # for one instance: expected, elsewhere, contents, and as much again for a node that was changed meanwhile


@dataclass(kw_only=True)
class Course:
    """How far one instance has come in this conversation."""

    want: Want
    verdict: Verdict | None = None
    error: DasctlError | None = None
    sent: int = 0  # bytes of manifests and contents that went to the node for it
    needs: Mapping[str, int] = field(default_factory=dict)  # SHA-256 to bytes of it that the node has
    plan: Plan = ()  # of a dry run: what would travel
    again: bool = True  # a sync request has to be sent (again)

    @property
    def settled(self) -> bool:
        return self.error is not None or not (self.again or self.needs)

    @property
    def staged(self) -> bool:
        return self.error is None and self.verdict is not None and self.verdict.verdict == words.STAGED


@dataclass(kw_only=True)
class Conversation:
    """With one node, about some of its instances."""

    run: Synchronisation
    node: str
    link: Link
    courses: Mapping[str, Course]
    ancestors: dict[str, str] = field(
        default_factory=dict
    )  # what the node has, that new contents were made of
    tried: set[str] = field(
        default_factory=set
    )  # contents of which a delta was sent: next time they go whole

    async def held(self) -> None:
        """Until each instance is settled: changed, staged, or failed."""
        for _ in range(MAX_TRIPS):
            feeding = [c for c in self.courses.values() if c.needs and c.error is None]
            asking = [c for c in self.courses.values() if c.again and c.error is None and not c.needs]
            if feeding:
                await self._feed(feeding)
            elif asking:
                await self._ask(asking)
            else:
                break
        for name, course in self.courses.items():
            if not course.settled:
                course.error = ProtocolError(f"{name} on node {self.node}: no end after {MAX_TRIPS} trips")

    async def commit_with_all(self, barrier: Barrier) -> None:
        """Wait for the other nodes, and commit with them, or not at all."""
        from dasctl.operations.barrier import Decision

        bad = [name for name, course in self.courses.items() if course.error is not None]
        if bad:
            barrier.fails(self.node, bad)
        self._tell("staged", [c for c in self.courses.values() if c.error is None])
        if await barrier.staged(self.node) is Decision.COMMIT:
            await self._commit([c for c in self.courses.values() if c.staged])
            return
        for course in self.courses.values():
            if course.error is None and not self._stood_there(course):
                course.error = NotChanged(
                    f"not changed: {barrier.culprits} could not stage",
                    hint="what is staged stays for the next synchronisation; without --together each node commits by itself",
                )

    def _stood_there(self, course: Course) -> bool:
        """It was at the revision before, so there is nothing that did not happen to it."""
        return course.verdict is not None and course.verdict.verdict == words.UNCHANGED

    async def _commit(self, courses: Sequence[Course]) -> None:
        if not courses:
            return
        self._tell("committing", courses)
        run = self.run
        try:
            reply = await self.link.ask(
                requests.envelope(words.COMMIT, run.now.domain, self.node, run.now.revision.epoch),
                on_event=self._on_event, silence_s=run.ctx.patience_s,
            )  # fmt: skip
        except NodeError as error:
            raise LinkLost(
                f"{error.message}\nit was told to commit, and did not say whether it has; the other nodes commit",
                hint="synchronise again: it finishes what was begun",
            ) from error
        self._judge(courses, reply)

    async def _ask(self, courses: Sequence[Course]) -> None:
        self._tell("comparing", courses)
        run = self.run
        request = requests.sync(
            run.now.domain, self.node, [c.want for c in courses], run.now.revision, run.options, run.deltas
        )
        self.ancestors.update(request.ancestors)
        courses[0].sent += len(request.body)
        reply = await self.link.ask(
            request.header, request.body, then=self._stream(courses, partial(self._unasked, request.unasked)),
            on_event=self._on_event, silence_s=run.ctx.patience_s,
        )  # fmt: skip
        self._judge(courses, reply)
        if any(course.again for course in courses):
            self.tried.clear()  # what came with a request that was turned away was dropped
        if run.options.dry_run:
            await self._weigh(courses)

    async def _unasked(self, contents: Mapping[str, int]) -> Plan:
        plan = await self._plan(contents)
        return plan if sending.total(plan) <= UNASKED_LIMIT else ()

    async def _plan(
        self,
        contents: Mapping[str, int],
        offsets: Mapping[str, int] | None = None,
        *,
        as_they_are: bool = False,
    ) -> Plan:
        ancestors = {d: self.ancestors[d] for d in contents if d in self.ancestors and d not in self.tried}
        return await self.run.streams.plan(
            Order(contents=contents, ancestors=ancestors, offsets=offsets or {}, as_they_are=as_they_are)
        )

    async def _as_they_are(self, sizes: Mapping[str, int]) -> bool:
        """Whether contents of these sizes are not packed on this line."""
        from dasctl.core import lines  # of use where contents are asked for

        ends = lines.Ends(das=self.run.ctx.boot(), node=self.link.greeting.get("boot"))
        if not lines.may_go_as_they_are(ends, sum(sizes.values())):
            return False
        return lines.is_short(await self.link.measure())

    async def _feed(self, courses: Sequence[Course]) -> None:
        run = self.run
        offsets = sending.offsets(course.needs for course in courses)
        sizes = {digest: size for c in courses for digest, size in self._sizes(c, c.needs).items()}
        needed = {digest: sizes[digest] for digest in offsets}
        plain = await self._as_they_are(needed)
        reply = await self.link.ask(
            requests.envelope(words.CONTENTS, run.now.domain, self.node, run.now.revision.epoch),
            then=self._stream(
                courses, partial(self._plan, needed, offsets, as_they_are=plain), may_spread=True
            ),
            on_event=self._on_event, silence_s=run.ctx.patience_s,
        )  # fmt: skip
        self._judge(courses, reply)

    async def _stream(
        self, courses: Sequence[Course], planned: Callable[[], Awaitable[Plan]], *, may_spread: bool = False
    ) -> AsyncIterator[bytes]:
        """The frames of what is `planned` and the end; `may_spread`: over several channels, where that helps.

        A node commits at an end at the earliest, so there is none before the revision is recorded. It looks at what it has
        meanwhile.
        """
        await self.run.recorded()
        plan = await planned()
        self.tried.update(item.digest for item in plan if item.base is not None)
        first, size = courses[0], sending.total(plan)

        def on_sent(progress: Progress) -> None:
            self._tell_sent(courses, progress, size, len(plan))

        if may_spread:
            from dasctl.operations import further

            frames = further.frames(self, courses, plan, on_sent)
        else:
            frames = self.run.streams.frames(plan, on_sent)
        async for block in frames:
            first.sent += len(block)
            yield block
        yield END

    def _sizes(self, course: Course, wanted: Iterable[str]) -> dict[str, int]:
        """The raw sizes of those contents that are in the instance's own slice, and no others."""
        return self.run.deltas.sizes(course.want.slice, wanted)

    def _judge(self, courses: Sequence[Course], reply: Reply) -> None:
        rows = verdicts.read_all(reply.header, [c.want.slice.instance for c in courses], self.node)
        for course, verdict in zip(courses, rows, strict=True):
            course.verdict, course.again, course.needs = verdict, False, {}
            try:
                self._step(course, verdict)
            except DasctlError as error:
                course.error = error

    def _step(self, course: Course, verdict: Verdict) -> None:
        match verdict.verdict:
            case words.DONE | words.UNCHANGED:
                self._confirmed(verdict)
            case words.STAGED if self.run.barrier is not None:
                pass
            case words.NEEDS:
                course.needs = self._needed(course, verdict)
            case words.STANDS:
                course.want = self._elsewhere(course.want, verdict)
                course.again = True
            case words.REFUSED:
                raise verdicts.refusal(verdict, self.node)
            case _:
                raise verdicts.failure(verdict, self.node)

    def _confirmed(self, verdict: Verdict) -> None:
        """Believe only a node that says itself that it stands where it was led."""
        run = self.run
        if run.options.dry_run or run.options.partial:
            return
        if verdict.at is None or verdict.at.standing != run.now.revision.standing:
            raise ProtocolError(
                f"node {self.node}: said that {verdict.name} is synchronised, but not that it stands at revision "
                f"{run.now.revision.number}",
                hint="synchronise again; if it stays so, look at the node's .dasctl folder of that instance",
            )

    def _needed(self, course: Course, verdict: Verdict) -> dict[str, int]:
        needs = verdict.needs
        # The instance's own slice counts, not the whole repository: a node is sent nothing that is another's.
        if not needs or len(self._sizes(course, needs)) != len(needs):
            raise ProtocolError(
                f"node {self.node}: asked for contents that are not in the slice of {verdict.name}"
            )
        changed = self.run.streams.changed
        moving = [changed[digest] for digest in needs if digest in changed]
        if moving:
            raise ContentsMoved(moving)
        return needs

    def _elsewhere(self, want: Want, verdict: Verdict) -> Want:
        """What to ask next of an instance that stands elsewhere than expected. The chain must know the place."""
        run = self.run
        if verdict.at is None:
            return replace(want, expect=None, parts={}, trusted=False)
        standing = verdict.at.standing
        taking_over = verdict.name in run.override
        known = standing == want.expect or verdicts.is_known(run.ctx.history, verdict.at)
        if not known and not taking_over:
            raise verdicts.unknown_revision(verdict, self.node)
        missing = set(verdict.more.get("missing") or ())
        parts = {} if missing else verdict.parts
        # It has just said what it has: where we know those parts too, what is new goes along with the question.
        return replace(want, expect=standing, parts=parts, trusted=not run.options.full)

    async def _weigh(self, courses: Sequence[Course]) -> None:
        """What a real run would send to each instance; what two of them need is counted at the first."""
        counted: set[str] = set()
        for course in courses:
            if course.error is None and course.verdict is not None and course.settled:
                needs = {d: have for d, have in course.verdict.needs.items() if d not in counted}
                counted.update(needs)
                course.plan = await self._plan(self._sizes(course, needs), needs)

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "phase":
            self.run.ctx.on_event(
                Event(phase=str(event.get("phase")), node=self.node, instance=str(event.get("name")))
            )

    def _tell(self, phase: str, courses: Sequence[Course]) -> None:
        for course in courses:
            self.run.ctx.on_event(Event(phase=phase, node=self.node, instance=course.want.slice.instance))

    def _tell_sent(self, courses: Sequence[Course], progress: Progress, size: int, files: int) -> None:
        for course in courses:
            self.run.ctx.on_event(
                Event(
                    phase="sending",
                    node=self.node,
                    instance=course.want.slice.instance,
                    sent=progress.sent,
                    total=size,
                    files=progress.files,
                    files_total=files,
                )
            )


class ContentsMoved(RepositoryError):
    """Files were changed before they could be sent; looking at the repository again may settle it."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        names = ", ".join(path.decode("utf-8", "backslashreplace") for path in paths[:5])
        super().__init__(f"changed while being sent: {names}", hint="run the command again when they rest")
