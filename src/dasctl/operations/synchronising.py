"""One run of a synchronisation over many nodes: what all of them share.

What lives here: the values of the run, and the way of one node through it. What must not: the conversation with a node
(`conversation.py`), what a result says (`synchronised.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dasctl.core.outcome import Result
from dasctl.core.reloading import wants_reload
from dasctl.core.requests import Deltas, SyncOptions, Want
from dasctl.core.stamps import Standing
from dasctl.operations.acknowledging import Acknowledging
from dasctl.operations.conversation import Conversation, Course
from dasctl.operations.ports import Acknowledged, Context, Link
from dasctl.operations.recording import Current
from dasctl.operations.synchronised import result_of
from dasctl.operations.weighing import Sending
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.operations.barrier import Barrier
    from dasctl.operations.commanding import Answer


@dataclass(kw_only=True)
class Synchronisation:
    """One run over many nodes. `streams` and `deltas` are made once for all of them."""

    ctx: Context
    now: Current
    options: SyncOptions
    streams: Sending
    deltas: Deltas
    acknowledging: Acknowledging
    expected: Mapping[str, Acknowledged]
    override: Mapping[str, Standing | None] = field(
        default_factory=dict
    )  # take-over: where they said they stand
    reload: bool = True  # running servers whose config says how take over what has changed
    barrier: Barrier | None = None  # where all commit together
    failed: frozenset[str] = frozenset()  # instances that failed last: they may have staged something
    recording: asyncio.Future[None] | None = None  # the revision is recorded meanwhile

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """Bring `instances` of `node` to the current revision; one result each, nothing raised but for the link."""
        started = self.ctx.clock.monotonic()
        courses = {name: Course(want=self.first_want(name)) for name in instances}
        conversation = Conversation(run=self, node=node, link=link, courses=courses)
        await conversation.held()
        if self.barrier is not None:
            await conversation.commit_with_all(self.barrier)
        self._acknowledge(courses)
        reloads = await self._reload(node, link, courses)
        seconds = self.ctx.clock.monotonic() - started
        return [
            result_of(self, node, link, name, course, reloads.get(name), seconds)
            for name, course in courses.items()
        ]

    async def recorded(self) -> None:
        """Return when the revision and its contents are kept: before that no node may commit. Raises what `record` does."""
        if self.recording is not None:
            await asyncio.shield(self.recording)

    def first_want(self, name: str) -> Want:
        """What to ask of an instance at first: what it shall be, and where we believe it stands."""
        known = self.expected.get(name)
        wanted = self.now.slices.by_instance[name]
        if name in self.override:
            return Want(slice=wanted, expect=self.override[name], parts={}, trusted=False)
        if known is None:
            return Want(slice=wanted, expect=None, parts={}, trusted=False)
        trusted = bool(known.parts) and not self.options.full and name not in self.failed
        return Want(slice=wanted, expect=known.standing, parts=dict(known.parts), trusted=trusted)

    async def _reload(self, node: str, link: Link, courses: Mapping[str, Course]) -> dict[str, Answer]:
        """Let running servers take over what has changed and needs no restart; one more trip where there are such."""
        if self.options.dry_run or not self.reload:
            return {}
        names = [name for name, course in courses.items() if self._reloads(name, course)]
        if not names:
            return {}
        from dasctl.operations.commanding import command

        standing = self.now.revision.standing
        return await command(
            self.ctx, self.now.domain, node, link, words.RELOAD, names,
            expected=dict.fromkeys(names, standing),
        )  # fmt: skip

    def _reloads(self, name: str, course: Course) -> bool:
        if not course.settled or course.error is not None or course.verdict is None:
            return False
        domain, said = self.now.domain, course.verdict.more
        is_new = name not in self.expected  # and cannot be running
        return not is_new and wants_reload(
            domain.configs[domain.config_of(name)],
            said.get("changes") or (),
            unnamed=int(said.get("more") or 0),
        )

    def _acknowledge(self, courses: Mapping[str, Course]) -> None:
        if self.options.dry_run or self.options.partial:
            return
        confirmed: dict[str, Acknowledged] = {}
        parts: dict[str, bytes] = {}
        for name, course in courses.items():
            if course.error is None and course.settled and self._is_news(name, course):
                wanted = course.want.slice
                confirmed[name] = Acknowledged(
                    standing=self.now.revision.standing,
                    parts=wanted.listing,
                    when=self.ctx.clock.now(),
                    node=self.now.domain.instances[name].node,
                )
                parts.update({part.digest: part.data for part in wanted.parts})
        if confirmed:
            self.acknowledging.add(confirmed, parts)

    def _is_news(self, name: str, course: Course) -> bool:
        known = self.expected.get(name)
        return (
            known is None
            or known.standing != self.now.revision.standing
            or known.parts != course.want.slice.listing
        )


def more_of(course: Course) -> Mapping[str, Any]:
    """What the helper said last about an instance."""
    return course.verdict.more if course.verdict is not None else {}
