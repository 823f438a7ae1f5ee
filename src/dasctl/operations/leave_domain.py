"""`leave-domain`: the opposite of a join: stopped, entry removed on the DAS, files removed."""

from __future__ import annotations

from pathlib import Path

from dasctl.core.members import NoEntry
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.errors import DasctlError, NodeUnreachable, UsageError
from dasctl.operations.local import Place, asked_locally, place_of
from dasctl.operations.member_ports import DasConversation, Outside
from dasctl.operations.membership import is_away
from dasctl.remote import words


async def leave_domain(
    outside: Outside,
    name: str | None = None,
    *,
    node_dir: Path | None = None,
    keep_files: bool = False,
    force: bool = False,
) -> Outcome:
    """Leave. Nothing is stopped or removed before the DAS has answered, unless `force` is given."""
    place = place_of(outside, name, node_dir)
    note, revision, begun = "", None, False
    try:
        if place.coordinates is None:
            raise UsageError(f"nothing in {place.node_dir} says where the DAS is", hint=_by_hand(place.name))
        async with outside.das.open(place.coordinates) as das:
            await das.ask({"request": "hello"})
            begun = True
            await _stopped(outside, place)
            note, revision = await _entry_removed(das, place)
    except DasctlError as error:
        if not (force and (is_away(error) or place.coordinates is None)):
            raise _explained(error, place, begun) from error
        await _stopped(outside, place)
        note = f"the DAS was not asked ({error.message}); {_by_hand(place.name)}"
    await _files_removed(outside, place, keep_files)
    row = Result(status="left", instance=place.name, node=place.node, note=note)
    return summed_up("leave-domain", [row], revision=revision, changed=True)


async def _stopped(outside: Outside, place: Place) -> None:
    if place.standing is not None:
        await asked_locally(outside, place, words.STOP, kill=False, grace=None)


async def _entry_removed(das: DasConversation, place: Place) -> tuple[str, int | None]:
    """A note, and the revision that the DAS recorded."""
    try:
        reply = await das.ask({"request": "leave", "instance": place.name, "node": place.node})
    except NoEntry:
        return f"the DAS has no entry of {place.name} any more", None
    outcome = reply.get("outcome")
    revision = outcome.get("revision") if isinstance(outcome, dict) else None
    return "", revision if isinstance(revision, int) else None


async def _files_removed(outside: Outside, place: Place, keep_files: bool) -> None:
    """The instance's folder (`keep_files`: only what dasctl keeps there), and its mention beside it."""
    dirs = outside.node_dirs
    if place.standing is not None:
        await asked_locally(outside, place, words.REMOVE, keep_files=keep_files)
    if place.coordinates is not None:
        left = place.coordinates.without_instance(place.name)
        if left.instances:
            dirs.save(place.node_dir, left)
            return
    dirs.clear(place.node_dir)


def _explained(error: DasctlError, place: Place, begun: bool) -> DasctlError:
    if not isinstance(error, NodeUnreachable) or not is_away(error):
        return error
    message = error.message if begun else f"nothing was changed: {error.message}"
    again = "run the command again: it goes on. " if begun else ""
    return NodeUnreachable(message, hint=f"{again}--force leaves without the DAS; {_by_hand(place.name)}")


def _by_hand(name: str) -> str:
    return f"the entry of a server that left while the DAS was away is removed there: dasctl delete-server-config {name}"
