"""The way of one node through a batch of a rolling change: which steps its instances take, in their order.

    look; stage the files of what runs; drain, stop, synchronise, start, undrain
    what needs no restart is synchronised as it runs, and looked at again

What lives here: the order, and the transitions. What must not: who is in the batch (`rolling.py`), the judgements
(`core/ways.py`). What is staged shortens the time between stop and start: contents travel while the server still serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dasctl.core import requests, verdicts
from dasctl.core.config_id import config_id
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, REFUSED, UNCHANGED, UNREACHABLE, Problem, Result
from dasctl.core.rollout import Ordered, State
from dasctl.core.stamps import Standing
from dasctl.core.ways import Way, touches, way_of
from dasctl.errors import DasctlError, ExitCode
from dasctl.operations.chronicle import Chronicle
from dasctl.operations.commanding import Answer, command
from dasctl.operations.draining import command_of, put_aside
from dasctl.operations.looking import Seen, seen_of, utc_text
from dasctl.operations.ports import Acknowledged, Context, Event, Link
from dasctl.operations.staging import staged_ahead
from dasctl.operations.synchronising import Synchronisation
from dasctl.remote import words

ALIVE = (words.RUNNING, words.STARTING)
TOLD = (State.DRAINING, State.UNDRAINING)  # the phases that nobody else tells of


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the nodes of a batch share. `run`: None where nothing is synchronised."""

    ctx: Context
    domain: Domain
    ordered: Ordered
    chronicle: Chronicle
    expected: Mapping[str, Acknowledged]
    run: Synchronisation | None
    barred: Mapping[str, str]  # who must not be started, and why (`max-skew`)

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """One result per instance; nothing raised but for the link, and where what was done cannot be written down."""
        visit = Visit(batch=self, node=node, link=link)
        await visit.carried_out(instances)
        return [visit.result(name) for name in instances]


@dataclass(kw_only=True)
class Visit:
    """One node's instances of one batch. `errors`: who failed, and why; `columns`: what is told of each."""

    batch: Batch
    node: str
    link: Link
    errors: dict[str, Problem] = field(default_factory=dict)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)  # bytes that were staged
    standing: dict[str, Standing | None] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)  # when its first step began: the clock's seconds
    lacking: Mapping[str, Problem] = field(default_factory=dict)  # who must not be started: no release

    async def carried_out(self, instances: Sequence[str]) -> None:
        """All steps of all instances, as far as each comes."""
        self.standing = {name: self._expected(name) for name in instances}
        seen = await self._look(instances)
        alive = [name for name in self._going(instances) if seen[name].state in ALIVE]
        changes = await self._stage(alive)
        ways = {name: self._way(seen[name], changes.get(name, {}), name) for name in self._going(instances)}
        for name in ways:
            self._chronicle.note(name, ran=name in alive)
        self.lacking = await self._without_release(self._going(ways))
        await self._in_place(_those(ways, Way.IN_PLACE, Way.FILES))
        await self._through(_those(ways, Way.RESTART), _those(ways, Way.START))

    # -- what is known before anything is done

    def _expected(self, name: str) -> Standing | None:
        known = self.batch.expected.get(name)
        return known.standing if known is not None else None

    async def _look(self, names: Sequence[str]) -> dict[str, Seen]:
        batch = self.batch
        header = requests.envelope(
            words.LOOK, batch.domain, self.node, batch.ctx.history.epoch(),
            instances=[{"name": name} for name in names], probe=True,
        )  # fmt: skip
        reply = await self.link.ask(header, silence_s=batch.ctx.patience_s)
        found = {
            v.name: seen_of(batch.domain, self.node, v)
            for v in verdicts.read_all(reply.header, names, self.node)
        }
        for name, view in found.items():
            stands = view.at.standing.revision if view.at is not None else None
            self.columns[name] = {**self.columns.get(name, {}), "revision": stands, "state": view.state}
            if view.error is not None:
                self._fail(name, view.error)
        return found

    async def _stage(self, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Let the node stage what `names` lack; what the helper says of each."""
        if self.batch.run is None or not names:
            return {}
        told: dict[str, Mapping[str, Any]] = {}
        for name, course in (await staged_ahead(self.batch.run, self.node, self.link, names)).items():
            self.sent[name] = course.sent
            if course.error is not None:
                self._fail(name, course.error)
            elif course.verdict is not None:
                told[name] = course.verdict.more
        return told

    def _way(self, seen: Seen, said: Mapping[str, Any], name: str) -> Way:
        domain = self.batch.domain
        return way_of(
            self.batch.ordered, state=seen.state, ran=self._chronicle.rollout.of(name).ran,
            outdated=bool(seen.more.get("requires_restart")),
            touched=touches(
                domain.configs[domain.config_of(name)], said.get("changes") or (), unnamed=int(said.get("more") or 0)
            ),
        )  # fmt: skip

    async def _without_release(self, names: Sequence[str]) -> Mapping[str, Problem]:
        from dasctl.operations.lacking import lacking  # of use to few domains

        return await lacking(self.batch.ctx, self.batch.domain, self.node, self.link, names)

    # -- the two ways

    async def _in_place(self, names: Sequence[str]) -> None:
        """Synchronise as it runs; what the node then says must be restarted is."""
        await self._synchronise(names, reload=self.batch.ordered.reload)
        left = self._going(names)
        outdated: list[str] = []
        if self.batch.ordered.restart == "needed" and left:
            seen = await self._look(left)
            outdated = [name for name in self._going(left) if seen[name].more.get("requires_restart")]
        await self._through(outdated, (), synchronised=True)
        await self._finish([name for name in self._going(left) if name not in outdated])

    async def _through(
        self, running: Sequence[str], down: Sequence[str], *, synchronised: bool = False
    ) -> None:
        """Drain and stop those that run; then all of them: synchronise, start, undrain."""
        self._bar((*running, *down))
        await self._drain(self._going(running))
        await self._stop(self._going(running))
        names = self._going((*running, *down))
        broken = [] if synchronised else await self._synchronise(names, keep_going=running)
        names = [*self._going(names), *broken]
        await self._start(names)
        await self._finish([name for name in names if self._state(name) is State.READY], broken)

    # -- the steps

    def _bar(self, names: Sequence[str]) -> None:
        """Nothing is stopped that must not be started again."""
        for name in names:
            if name in self.batch.barred:
                hint = "bring the nodes nearer to each other with upgrade-node, or raise domain: max-skew"
                self._fail(name, Problem(message=f"not started: {self.batch.barred[name]}", hint=hint))
            elif name in self.lacking:
                why = self.lacking[name]
                self._fail(name, replace(why, message=f"not started: {why.message}"))

    async def _drain(self, names: Sequence[str]) -> None:
        drained = [name for name in names if command_of(self.batch.domain, name, "drain") is not None]
        for name in drained:
            self._move(name, State.DRAINING, drained=True)
        failed = {name: error for name, error in (await self._aside(drained, "drain")).items() if error}
        if not failed:
            return
        # Half out is not out: it serves on, so it is put back.
        back = await self._aside(list(failed), "undrain")
        for name, error in failed.items():
            self._fail(name, error, drained=back.get(name) is not None)

    async def _aside(self, names: Sequence[str], which: Any) -> dict[str, DasctlError | None]:
        batch = self.batch
        return await put_aside(batch.ctx, batch.domain, self.node, self.link, names, which) if names else {}

    async def _stop(self, names: Sequence[str]) -> None:
        for name in names:
            self._move(name, State.STOPPING)
        answers = await self._command(words.STOP, names, {"kill": self.batch.ordered.kill, "grace": None})
        for name, answer in answers.items():
            if answer.error is not None:
                self._fail(name, answer.error)

    async def _synchronise(
        self, names: Sequence[str], *, reload: bool = False, keep_going: Sequence[str] = ()
    ) -> list[str]:
        """Bring the files. Who of `keep_going` fails at it has its old files, is returned, and shall not stay down."""
        run = self.batch.run
        if run is None or not names:
            return []
        for name in names:
            self._move(name, State.SYNCHRONISING)
        # What is staged need not be sent once more: they are asked what they lack.
        run = replace(run, reload=reload, failed=frozenset(names))
        broken: list[str] = []
        for row in await run.node(self.node, self.link, names):
            name = str(row.instance)
            self.columns[name] |= row.fields
            self.columns[name]["bytes_sent"] = row.fields.get("bytes_sent", 0) + self.sent.pop(name, 0)
            self.statuses[name] = row.status
            if row.error is None:
                self.standing[name] = run.now.revision.standing
            elif name in keep_going:
                broken.append(name)
                self.errors[name] = row.error
            else:
                self._fail(name, row.error)
        return broken

    async def _start(self, names: Sequence[str]) -> None:
        for name in names:
            self._move(name, State.STARTING)
        more = {"wait": True}
        answers = await self._command(words.START, names, more, membership=config_id(self.batch.domain))
        for name, answer in answers.items():
            if answer.error is not None:
                self.columns[name]["state"] = str(answer.more("state") or words.SERVER_FAILED)
                self._fail(name, self.errors.get(name, answer.error))
                continue
            self._move(name, State.READY)
            self.columns[name] |= {
                "state": words.RUNNING,
                "pid": answer.more("pid"),
                "since": utc_text(answer.more("since")),
            }
            self.statuses[name] = "restarted" if self._chronicle.rollout.of(name).ran else "started"

    async def _finish(self, names: Sequence[str], broken: Sequence[str] = ()) -> None:
        """Put back what is out of the load balancer, and be done."""
        started = {name for name in names if self._state(name) is State.READY}
        wanted = [name for name in names if name in started or self._chronicle.rollout.of(name).drained]
        wanted = [name for name in wanted if command_of(self.batch.domain, name, "undrain") is not None]
        for name in wanted:
            self._move(name, State.UNDRAINING)
        failed = await self._aside(wanted, "undrain")
        for name in names:
            error = failed.get(name) or (self.errors.get(name) if name in broken else None)
            if error is not None:
                self._fail(name, error, drained=failed.get(name) is not None)
            else:
                self._move(name, State.DONE, drained=False)

    async def _command(
        self, op: str, names: Sequence[str], more: Mapping[str, Any], *, membership: int | None = None
    ) -> dict[str, Answer]:
        if not names:
            return {}
        return await command(
            self.batch.ctx, self.batch.domain, self.node, self.link, op, names,
            expected={name: self.standing[name] for name in names}, config_id=membership, more=more,
        )  # fmt: skip

    # -- what became of them

    @property
    def _chronicle(self) -> Chronicle:
        return self.batch.chronicle

    def _state(self, name: str) -> State:
        return self._chronicle.rollout.of(name).state

    def _going(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self.errors]

    def _move(self, name: str, state: State, *, drained: bool | None = None) -> None:
        self.began.setdefault(name, self.batch.ctx.clock.monotonic())
        self._chronicle.move(name, state, drained=drained)
        if state is State.DONE:
            self._time(name)
        if state in TOLD:
            self.batch.ctx.on_event(Event(phase=state.value, node=self.node, instance=name))

    def _fail(self, name: str, error: DasctlError | Problem, *, drained: bool | None = None) -> None:
        problem = error if isinstance(error, Problem) else Problem.of(error)
        self.errors[name] = problem
        self._time(name)
        self._chronicle.move(name, State.FAILED, drained=drained, message=problem.message)

    def _time(self, name: str) -> None:
        """How long its change took, from its first step to now; what was staged before, while it served, does not count."""
        if name in self.began:
            taken = self.batch.ctx.clock.monotonic() - self.began[name]
            self.columns.setdefault(name, {"revision": None})["seconds"] = round(taken, 3)

    def result(self, name: str) -> Result:
        """The row of one instance."""
        problem = self.errors.get(name)
        columns = {**self.columns.get(name, {"revision": None}), "round_trips": self.link.round_trips}
        status = self.statuses.get(name, UNCHANGED) if problem is None else status_of(problem)
        return Result(status=status, instance=name, node=self.node, fields=columns, error=problem)


def status_of(problem: Problem) -> str:
    """The status of a result with this problem."""
    known = {ExitCode.REFUSED: REFUSED, ExitCode.UNREACHABLE: UNREACHABLE}
    return known.get(problem.exit_code, FAILED)


def _those(ways: Mapping[str, Way], *wanted: Way) -> list[str]:
    return [name for name, way in ways.items() if way in wanted]
