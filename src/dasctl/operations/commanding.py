"""Requests about servers that lead to no other revision: start, stop, reload, remove; under the guard, like everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dasctl.core import requests, verdicts
from dasctl.core.domain import Domain
from dasctl.core.stamps import Acknowledged, Standing
from dasctl.core.verdicts import Verdict
from dasctl.errors import DasctlError
from dasctl.operations.ports import Context, Event, Link
from dasctl.remote import words

TRIPS = 3  # as expected; elsewhere in the chain; and once more for one that moved meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one instance: its verdict, or the error that it amounts to."""

    verdict: Verdict | None
    error: DasctlError | None = None

    @property
    def elsewhere(self) -> bool:
        """It stands at another revision of this history than was expected."""
        return self.error is None and self.verdict is not None and self.verdict.verdict == words.STANDS

    @property
    def done(self) -> bool:
        return self.error is None and self.verdict is not None and self.verdict.verdict == words.DONE

    @property
    def unchanged(self) -> bool:
        return self.verdict is not None and self.verdict.verdict == words.UNCHANGED

    def more(self, key: str) -> Any:
        return self.verdict.more.get(key) if self.verdict is not None else None


async def command(
    ctx: Context,
    domain: Domain,
    node: str,
    link: Link,
    op: str,
    instances: Sequence[str],
    *,
    expected: Mapping[str, Standing | None],
    config_id: int | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Answer]:
    """Ask `op` for `instances` of `node`; where one stands elsewhere in this history, ask again expecting that."""
    places = {name: expected.get(name) for name in instances}
    answers: dict[str, Answer] = {}
    left = list(instances)
    for _ in range(TRIPS):
        header = requests.envelope(
            op, domain, node, ctx.history.epoch(),
            instances=[requests.guarded(name, places[name], config_id, **(more or {})) for name in left],
        )  # fmt: skip
        reply = await link.ask(
            header, on_event=lambda event: _on_event(ctx, node, event), silence_s=ctx.patience_s
        )
        for verdict in verdicts.read_all(reply.header, left, node):
            answers[verdict.name] = _judged(ctx, node, verdict)
        left = [name for name in left if answers[name].elsewhere]
        if not left:
            break
        places.update({name: _standing(answers[name]) for name in left})
        _remember(ctx, node, {name: place for name in left if (place := places[name]) is not None})
    return answers


def _judged(ctx: Context, node: str, verdict: Verdict) -> Answer:
    match verdict.verdict:
        case words.STANDS if verdict.at is not None and not verdicts.is_known(ctx.history, verdict.at):
            return Answer(verdict=verdict, error=verdicts.unknown_revision(verdict, node))
        case words.REFUSED:
            return Answer(verdict=verdict, error=verdicts.refusal(verdict, node))
        case words.FAILED:
            return Answer(verdict=verdict, error=verdicts.failure(verdict, node))
        case _:
            return Answer(verdict=verdict)


def _standing(answer: Answer) -> Standing | None:
    assert answer.verdict is not None
    return answer.verdict.at.standing if answer.verdict.at is not None else None


def _remember(ctx: Context, node: str, places: Mapping[str, Standing]) -> None:
    """Places that this history never had, and goes on from because it came out of a backup: the request that follows tells
    the node of the higher epoch, and then nothing but this says that they were lower ones.
    """
    confirmed = {
        name: Acknowledged(standing=place, parts=(), when=ctx.clock.now(), node=node)
        for name, place in places.items()
        if ctx.history.find(place) is None
    }
    if confirmed:
        ctx.history.acknowledge(confirmed, {})


def _on_event(ctx: Context, node: str, event: Mapping[str, Any]) -> None:
    # That all is done is known where the node's last step is (`fanout.py`).
    if event.get("event") == "phase" and event.get("phase") != "done":
        ctx.on_event(Event(phase=str(event.get("phase")), node=node, instance=str(event.get("name"))))
