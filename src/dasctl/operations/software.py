"""The releases of software on one node: asking for them, bringing them, switching `current`. What the commands share.

What must not live here: which nodes, which order, domain.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dasctl.core import releases, requests, verdicts
from dasctl.core.domain import Domain
from dasctl.core.requests import Deltas, Want
from dasctl.core.slices import Part
from dasctl.core.stamps import Standing
from dasctl.core.verdicts import Verdict
from dasctl.errors import DasctlError, ProtocolError
from dasctl.operations.acknowledging import Acknowledging
from dasctl.operations.conversation import Conversation, Course
from dasctl.operations.looking import epoch_of
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import Current
from dasctl.operations.sync import sync_options
from dasctl.operations.synchronising import Synchronisation
from dasctl.operations.weighing import Sending, Weights
from dasctl.remote import words


@dataclass(frozen=True, slots=True, kw_only=True)
class OnNode:
    """What a node said of its releases. `current`: what the link says, `path`: where that is, None where it is no folder;
    `parts`: name to digest; `servers`: those that run with a release, name to what it was called; `folders`: what was found
    of folders that are somebody else's.
    """

    epoch: int | None
    standing: Standing | None
    current: str | None
    path: str | None
    parts: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]  # release to files and bytes
    servers: Mapping[str, str]
    left: Sequence[str]
    free: int
    interrupted: bool
    folders: Mapping[str, Mapping[str, Any]]

    @property
    def versions(self) -> list[str]:
        """What was installed there."""
        found = (releases.version_in(name) for name in self.parts)
        return [version for version in found if version is not None]


async def ask(
    ctx: Context,
    domain: Domain,
    node: str,
    link: Link,
    *,
    finish: bool = False,
    folders: Sequence[str] = (),
) -> OnNode:
    """What the node has. `finish`: what was interrupted is finished first, and a place that this history does not know is
    refused. `folders`: absolute paths of which the digests are asked.
    """
    header = requests.envelope(
        words.SOFTWARE, domain, node, epoch_of(ctx),
        instances=[{"name": words.SOFTWARE, "finish": finish, "folders": list(folders)}],
    )  # fmt: skip
    reply = await link.ask(header, silence_s=ctx.patience_s)
    (verdict,) = verdicts.read_all(reply.header, [words.SOFTWARE], node)
    _raise_bad(verdict, node)
    try:
        there = _read(verdict)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"node {node}: an answer that does not fit the protocol: {error!r}") from error
    if finish and _is_unknown(ctx, there):
        raise verdicts.unknown_revision(verdict, node)
    return there


def _is_unknown(ctx: Context, there: OnNode) -> bool:
    """Whether another copy of the domain has been there since, with the same authority as this one."""
    if there.standing is None or there.epoch != ctx.history.epoch():
        return False
    return ctx.history.find(there.standing) is None


def _raise_bad(verdict: Verdict, node: str) -> None:
    if verdict.verdict == words.REFUSED:
        raise verdicts.refusal(verdict, node)
    if verdict.verdict == words.STANDS:
        raise verdicts.unknown_revision(verdict, node) if verdict.at is not None else _moved(node)
    if verdict.verdict not in (words.DONE, words.UNCHANGED):
        raise verdicts.failure(verdict, node)


def _moved(node: str) -> DasctlError:
    return ProtocolError(
        f"node {node}: its releases changed while the command ran", hint="run the command again"
    )


def _read(verdict: Verdict) -> OnNode:
    more = verdict.more
    return OnNode(
        epoch=verdict.at.epoch if verdict.at is not None else None,
        standing=verdict.at.standing if verdict.at is not None else None,
        current=_text(more["current"]) if more["current"] is not None else None,
        path=_text(more["path"]) if more["path"] is not None else None,
        parts=verdict.parts,
        sizes={_text(version): (int(files), int(size)) for version, files, size in more["releases"]},
        servers={_text(row["name"]): _text(row["release"]) for row in more["servers"]},
        left=[_text(name) for name in more["left"]],
        free=int(more["free"]),
        interrupted=bool(more["interrupted"]),
        folders={_text(row["folder"]): dict(row) for row in more["folders"]},
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80}")
    return value


async def switch(
    ctx: Context, domain: Domain, node: str, link: Link, to: str, *, was: str | None, at: Standing | None
) -> bool:
    """Let `current` say `to`, where it says `was` (or `to` already: False). `at`: where the node said that it stands."""
    item = requests.guarded(words.SOFTWARE, at, None, **{"to": to, "from": was})
    header = requests.envelope(words.SWITCH, domain, node, ctx.history.epoch(), instances=[item])
    reply = await link.ask(header, silence_s=ctx.patience_s)
    (verdict,) = verdicts.read_all(reply.header, [words.SOFTWARE], node)
    _raise_bad(verdict, node)
    return verdict.verdict == words.DONE


@dataclass(kw_only=True)
class Bringing:
    """One run over many nodes that makes their releases what they shall be. What is sent is made once for all of them."""

    ctx: Context
    now: Current
    paths: Mapping[str, bytes] = field(default_factory=dict)  # of contents that are working files still

    def __post_init__(self) -> None:
        ctx = self.ctx
        self._manifests: dict[str, bytes] = {}
        kept = ctx.releases.manifests() if ctx.releases is not None else ()
        for data in kept:
            part = releases.part_from(data)
            if part is not None:
                self._manifests[part.digest] = data
        self._streams = Sending(ctx.objects, Weights(ctx.objects, self.paths))
        self._deltas = Deltas(self._manifests.get)

    def parts(self, there: OnNode) -> list[Part]:
        """The releases that the node has."""
        return releases.known_parts(there.parts, self._manifests)

    async def bring(
        self, node: str, link: Link, there: OnNode, parts: Sequence[Part], new: Part | None = None
    ) -> Course:
        """Let the node have exactly `parts`. `new` is the one among them that comes. Raises DasctlError."""
        for part in parts:
            if part.data:
                self._manifests[part.digest] = part.data
        want = Want(
            slice=releases.slice_of(parts), expect=there.standing, parts=dict(there.parts), trusted=False,
            software=True,
        )  # fmt: skip
        course = Course(want=want)
        talk = Conversation(run=self._run(), node=node, link=link, courses={words.SOFTWARE: course})
        if new is not None:
            domain, version = self.now.domain, releases.version_in(new.name) or ""
            others = {part.name: part for part in parts if part.data and part.name != new.name}
            order = releases.nearest_first(domain, version, (name.partition("/")[2] for name in others))
            near = [others[releases.part_name(other)] for other in order]
            talk.ancestors.update(releases.made_of(new, near))
        await talk.held()
        if course.error is not None:
            raise course.error
        return course

    def _run(self) -> Synchronisation:
        domain = self.now.domain
        return Synchronisation(
            ctx=self.ctx, now=self.now, options=sync_options(domain, together=False, yes=True),
            streams=self._streams, deltas=self._deltas, acknowledging=Acknowledging(self.ctx.history), expected={},
        )  # fmt: skip
