"""`delete-instance`: the server must not run; its folder on the node goes, then its entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dasctl.core.domain import Domain
from dasctl.core.edits import Drop, Edit
from dasctl.core.outcome import UNREACHABLE, Outcome, Problem, Result, status_of_error, summed_up
from dasctl.operations.commanding import command
from dasctl.operations.delete_cluster import without_target
from dasctl.operations.editing import edited, known
from dasctl.operations.fanout import Work, on_nodes
from dasctl.operations.ports import Context, Link
from dasctl.remote import words

GONE = "if the machine is gone for good: dasctl delete-server-config"


async def delete_instance(ctx: Context, name: str, *, keep_files: bool = False) -> Outcome:
    """Remove the instance's folder on its node (`keep_files`: only what dasctl keeps there), then its entry."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        known("instance", name, domain.instances)
        node = domain.instances[name].node
        (row,) = await on_nodes(ctx, domain, {node: [name]}, _remover(ctx, domain, keep_files))
        if row.error is not None:
            failed = Result(status=row.status, instance=name, node=node, error=_advised(row, row.error))
            return summed_up("delete-instance", [failed])
        outcome = edited(ctx, "delete-instance", entry_dropped(domain, name), row)
        ctx.history.forget(name)
        return outcome


def _advised(row: Result, problem: Problem) -> Problem:
    """The problem, with what to do where its node never comes back."""
    if row.status != UNREACHABLE:
        return problem
    gone = f"{GONE} {row.instance}"
    return replace(problem, hint=f"{problem.hint} ({gone})" if problem.hint else gone)


def _remover(ctx: Context, domain: Domain, keep_files: bool) -> Work:
    async def remove(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        known_places = ctx.history.acknowledged(instances)
        answers = await command(
            ctx, domain, node, link, words.REMOVE, instances,
            expected={name: place.standing for name, place in known_places.items()},
            more={"keep_files": keep_files},
        )  # fmt: skip
        rows = []
        for name, answer in answers.items():
            status = status_of_error(answer.error) if answer.error else "deleted"
            error = Problem.of(answer.error) if answer.error else None
            rows.append(Result(status=status, instance=name, node=node, error=error))
        return rows

    return remove


def entry_dropped(domain: Domain, name: str) -> list[Edit]:
    """The edits that take an instance out of domain.yaml."""
    return [Drop(path=("instances", name)), *without_target(domain, name)]
