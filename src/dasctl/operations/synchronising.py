"""The conversation that brings the instances of one node to a revision.

One trip where the node stands where the DAS remembers it; another where it stands elsewhere in the DAS's chain, or has to
be sent contents. What is decided from an answer is decided in `core`; here is the order of things only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dasctl.core import requests, verdicts
from dasctl.core.outcome import Problem, Result, status_of_error
from dasctl.core.reloading import wants_reload
from dasctl.core.requests import Deltas, SyncOptions, Want
from dasctl.core.stamps import Standing
from dasctl.core.verdicts import Verdict
from dasctl.errors import DasctlError, ProtocolError, RepositoryError
from dasctl.operations.commanding import Answer, command
from dasctl.operations.contents import ContentStreams
from dasctl.operations.ports import Acknowledged, Context, Event, Link, Reply
from dasctl.operations.recording import Current
from dasctl.remote import words

MAX_TRIPS = 6  # for one instance: expected, elsewhere, contents, and as much again for a node that was changed meanwhile


@dataclass(kw_only=True)
class _Course:
    """How far one instance has come in this conversation."""

    want: Want
    verdict: Verdict | None = None
    error: DasctlError | None = None
    sent: int = 0  # bytes of manifests and contents that went to the node for it
    needs: tuple[str, ...] = ()
    again: bool = True  # a sync request has to be sent (again)

    @property
    def settled(self) -> bool:
        return self.error is not None or not (self.again or self.needs)


@dataclass(kw_only=True)
class Synchronisation:
    """One run over many nodes: what all of them share. `courses` of a node live in `node`."""

    ctx: Context
    now: Current
    options: SyncOptions
    streams: ContentStreams
    deltas: Deltas
    expected: Mapping[str, Acknowledged]
    override: Mapping[str, Standing | None] = field(
        default_factory=dict
    )  # take-over: where they said they stand

    reload: bool = True  # running servers whose config says how take over what has changed

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """Bring `instances` of `node` to the current revision; one result each, nothing raised but for the link."""
        started = self.ctx.clock.monotonic()
        courses = {name: _Course(want=self._first_want(name)) for name in instances}
        for _ in range(MAX_TRIPS):
            feeding = [c for c in courses.values() if c.needs and c.error is None]
            asking = [c for c in courses.values() if c.again and c.error is None and not c.needs]
            if feeding:
                await self._feed(node, link, feeding)
            elif asking:
                await self._ask(node, link, asking)
            else:
                break
        self._acknowledge(courses)
        reloads = await self._reload(node, link, courses)
        seconds = self.ctx.clock.monotonic() - started
        return [
            self._result(node, link, name, course, reloads.get(name), seconds)
            for name, course in courses.items()
        ]

    async def _reload(self, node: str, link: Link, courses: Mapping[str, _Course]) -> dict[str, Answer]:
        """Let running servers take over what has changed and needs no restart; one more trip where there are such."""
        if self.options.dry_run or not self.reload:
            return {}
        configs, domain = self.now.domain.configs, self.now.domain
        names = [
            name
            for name, course in courses.items()
            if course.error is None
            and course.settled
            and name in self.expected  # a new one cannot be running
            and course.verdict is not None
            and wants_reload(configs[domain.config_of(name)], course.verdict.more.get("changes") or ())
        ]
        if not names:
            return {}
        standing = self.now.revision.standing
        return await command(
            self.ctx, domain, node, link, words.RELOAD, names, expected=dict.fromkeys(names, standing)
        )

    def _first_want(self, name: str) -> Want:
        known = self.expected.get(name)
        wanted = self.now.slices.by_instance[name]
        if name in self.override:
            return Want(slice=wanted, expect=self.override[name], parts={}, trusted=False)
        if known is None:
            return Want(slice=wanted, expect=None, parts={}, trusted=False)
        return Want(
            slice=wanted, expect=known.standing, parts=dict(known.parts), trusted=not self.options.full
        )

    async def _ask(self, node: str, link: Link, courses: Sequence[_Course]) -> None:
        self._tell("comparing", node, courses)
        request = requests.sync(
            self.now.domain,
            node,
            [c.want for c in courses],
            self.now.revision,
            self.options,
            self.deltas,
        )
        courses[0].sent += len(request.body)
        reply = await link.ask(
            request.header, request.body,
            then=self._stream(node, courses, request.unasked, request.sizes),
            on_event=lambda event: self._on_event(node, event), silence_s=self.ctx.patience_s,
        )  # fmt: skip
        self._judge(node, courses, reply)

    async def _feed(self, node: str, link: Link, courses: Sequence[_Course]) -> None:
        wanted = tuple(dict.fromkeys(digest for course in courses for digest in course.needs))
        reply = await link.ask(
            requests.envelope(words.CONTENTS, self.now.domain, node, self.now.revision.epoch),
            then=self._stream(node, courses, wanted, self._sizes(courses, wanted)),
            on_event=lambda event: self._on_event(node, event),
            silence_s=self.ctx.patience_s,
        )
        self._judge(node, courses, reply)

    async def _stream(
        self, node: str, courses: Sequence[_Course], wanted: Sequence[str], sizes: Mapping[str, int]
    ) -> AsyncIterator[bytes]:
        total = sum(sizes.get(digest, 0) for digest in wanted)
        course = courses[0]

        def on_sent(raw: int) -> None:
            if total:
                self._tell("sending", node, courses, sent=raw, total=total)

        async for batch in self.streams.frames(wanted, on_sent):
            if wanted:
                course.sent += len(batch)
            yield batch

    def _sizes(self, courses: Sequence[_Course], wanted: Sequence[str]) -> dict[str, int]:
        missing = {digest.encode() for digest in wanted}
        sizes: dict[str, int] = {}
        for course in courses:
            for part in course.want.slice.parts:
                for line in part.data.split(b"\0"):
                    if line[:1] == b"f":
                        _, _, size, _, digest, _ = line.split(b" ", 5)
                        if digest in missing:
                            sizes[digest.decode()] = int(size)
        return sizes

    def _judge(self, node: str, courses: Sequence[_Course], reply: Reply) -> None:
        rows = verdicts.read_all(reply.header, [c.want.slice.instance for c in courses], node)
        for course, verdict in zip(courses, rows, strict=True):
            course.verdict, course.again, course.needs = verdict, False, ()
            try:
                self._step(node, course, verdict)
            except DasctlError as error:
                course.error = error

    def _step(self, node: str, course: _Course, verdict: Verdict) -> None:
        match verdict.verdict:
            case words.DONE | words.UNCHANGED:
                self._confirmed(node, verdict)
            case words.NEEDS:
                course.needs = self._needed(node, course, verdict)
            case words.STANDS:
                course.want = self._elsewhere(node, course.want, verdict)
                course.again = True
            case words.REFUSED:
                raise verdicts.refusal(verdict, node)
            case _:
                raise verdicts.failure(verdict, node)

    def _confirmed(self, node: str, verdict: Verdict) -> None:
        """Believe only a node that says itself that it stands where it was led."""
        if self.options.dry_run or self.options.partial:
            return
        if verdict.at is None or verdict.at.standing != self.now.revision.standing:
            raise ProtocolError(
                f"node {node}: said that {verdict.name} is synchronised, but not that it stands at revision "
                f"{self.now.revision.number}",
                hint="synchronise again; if it stays so, look at the node's .dasctl folder of that instance",
            )

    def _needed(self, node: str, course: _Course, verdict: Verdict) -> tuple[str, ...]:
        needs = tuple(str(digest) for digest in verdict.more.get("contents") or ())
        # The instance's own slice counts, not the whole repository: a node is sent nothing that is another's.
        own = self._sizes([course], needs)
        unknown = [digest for digest in needs if digest not in own]
        if unknown or not needs:
            raise ProtocolError(
                f"node {node}: asked for contents that are not in the slice of {verdict.name}"
            )
        moving = [self.streams.changed[digest] for digest in needs if digest in self.streams.changed]
        if moving:
            raise ContentsMoved(moving)
        return needs

    def _elsewhere(self, node: str, want: Want, verdict: Verdict) -> Want:
        """What to ask next of an instance that stands elsewhere than expected. The chain must know the place."""
        if verdict.at is None:
            return replace(want, expect=None, parts={}, trusted=False)
        standing = verdict.at.standing
        if (
            standing != want.expect
            and self.ctx.history.find(standing) is None
            and not self._taking_over(verdict)
        ):
            raise verdicts.unknown_revision(verdict, node)
        missing = set(verdict.more.get("missing") or ())
        parts = {} if missing else verdict.parts
        # It has just said what it has: where we know those parts too, what is new goes along with the question.
        return replace(want, expect=standing, parts=parts, trusted=not self.options.full)

    def _taking_over(self, verdict: Verdict) -> bool:
        return verdict.name in self.override

    def _acknowledge(self, courses: Mapping[str, _Course]) -> None:
        if self.options.dry_run or self.options.partial:
            return
        confirmed: dict[str, Acknowledged] = {}
        parts: dict[str, bytes] = {}
        for name, course in courses.items():
            if course.error is None and course.settled:
                wanted = course.want.slice
                known = self.expected.get(name)
                if (
                    known is None
                    or known.standing != self.now.revision.standing
                    or known.parts != wanted.listing
                ):
                    confirmed[name] = Acknowledged(
                        standing=self.now.revision.standing,
                        parts=wanted.listing,
                        when=self.ctx.clock.now(),
                        node=self.now.domain.instances[name].node,
                    )
                    parts.update({part.digest: part.data for part in wanted.parts})
        if confirmed:
            self.ctx.history.acknowledge(confirmed, parts)

    def _result(
        self, node: str, link: Link, name: str, course: _Course, reload: Answer | None, seconds: float
    ) -> Result:
        error = course.error if reload is None or course.error else reload.error
        if error is None and not course.settled:
            error = ProtocolError(f"{name} on node {node}: no end after {MAX_TRIPS} trips")
        more: Mapping[str, Any] = course.verdict.more if course.verdict is not None else {}
        at = course.verdict.at if course.verdict is not None else None
        revision = at.standing.revision if at is not None else None  # where it stood, and stands still …
        if error is None and not (self.options.dry_run or self.options.partial):
            revision = self.now.revision.number  # … unless it was brought here
        if error is None:
            status = "unchanged" if more.get("verdict") == words.UNCHANGED else "synchronised"
        else:
            status = status_of_error(error)
        self.ctx.on_event(Event(phase="failed" if error else "done", node=node, instance=name))
        return Result(
            status=status, instance=name, node=node,
            fields=fields(revision, more, course.sent, link.round_trips, seconds),
            error=Problem.of(error) if error else None,
            note="reloaded" if reload is not None and reload.done else "",
        )  # fmt: skip

    def _on_event(self, node: str, event: Mapping[str, Any]) -> None:
        if event.get("event") == "phase":
            self.ctx.on_event(
                Event(phase=str(event.get("phase")), node=node, instance=str(event.get("name")))
            )

    def _tell(
        self, phase: str, node: str, courses: Sequence[_Course], *, sent: int = 0, total: int = 0
    ) -> None:
        for course in courses:
            self.ctx.on_event(
                Event(phase=phase, node=node, instance=course.want.slice.instance, sent=sent, total=total)
            )


class ContentsMoved(RepositoryError):
    """Files were changed while they were being sent; looking at the repository again may settle it."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        names = ", ".join(path.decode("utf-8", "backslashreplace") for path in paths[:5])
        super().__init__(f"changed while being sent: {names}", hint="run the command again when they rest")


def fields(
    revision: int | None, more: Mapping[str, Any], sent: int, round_trips: int, seconds: float
) -> dict[str, Any]:
    """The columns of a synchronisation's result, from what the helper said (`more`)."""
    row: dict[str, Any] = {
        "revision": revision,
        "files_changed": int(more.get("changed") or 0) + int(more.get("touched") or 0),
        "files_deleted": int(more.get("deleted") or 0),
        "bytes_sent": sent,
        "deviations": list(more.get("deviations") or ()),
        "round_trips": round_trips,
        "seconds": round(seconds, 3),
    }
    for key in ("changes", "problems"):
        if more.get(key):
            row[key] = more[key]
    return row


def failed_fields(result: Result) -> Result:
    """The same result with the columns of a synchronisation, for a node that never came so far."""
    if result.fields:
        return result
    return replace(result, fields=fields(None, {}, 0, 0, 0.0))
