"""What the commands on a node share: which instance is meant, and requests to a helper of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dasctl.core import verdicts
from dasctl.core.coordinates import Coordinates
from dasctl.core.domain import Node
from dasctl.core.faults import did_you_mean
from dasctl.core.verdicts import Verdict
from dasctl.errors import OperationFailed, UsageError
from dasctl.operations.member_ports import Outside
from dasctl.operations.ports import Event
from dasctl.remote import words

THIS_MACHINE = Node(host="localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An instance on this machine. `coordinates` None: the DAS alone has filled the directory."""

    node_dir: Path
    name: str
    coordinates: Coordinates | None
    standing: Mapping[str, Any] | None  # its state.json; None: never synchronised

    @property
    def node(self) -> str:
        return self.coordinates.node if self.coordinates is not None else "local"


def place_of(outside: Outside, name: str | None, node_dir: Path | None) -> Place:
    """The instance that is meant. Raises UsageError where that is not clear, or there is none."""
    dirs = outside.node_dirs
    folder = dirs.find(node_dir)
    coordinates = dirs.load(folder)
    here = dirs.instances(folder)
    known = tuple(dict.fromkeys((*(coordinates.instances if coordinates is not None else ()), *here)))
    if name is None:
        name = dirs.instance_here(folder) or _only_one(known, folder)
    elif name not in known:
        raise UsageError(
            f"no instance named '{name}' in {folder}{did_you_mean(name, known)}",
            hint="dasctl join-domain makes one; --node-dir names another directory",
        )
    return Place(node_dir=folder, name=name, coordinates=coordinates, standing=dirs.standing(folder, name))


def _only_one(names: tuple[str, ...], folder: Path) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError(f"no instance in {folder}", hint="dasctl join-domain makes one")
    raise UsageError(f"several instances in {folder}: {', '.join(names)}", hint="say which one")


async def asked_locally(outside: Outside, place: Place, op: str, **more: Any) -> Verdict:
    """Ask a helper of this machine to do `op`; its verdict about the instance, or the error that it amounts to."""
    if place.standing is None:
        raise OperationFailed(
            f"{place.name} has never been synchronised: there is nothing in {place.node_dir / place.name}",
            hint="dasctl sync-local-instance, or dasctl sync-instance on the DAS",
        )
    header = {
        "op": op, "dir": str(place.node_dir), "domain": place.standing["domain"],
        "name": place.coordinates.domain_name if place.coordinates is not None else "",
        "epoch": place.standing.get("epoch", 0), "local": True,
        "instances": [{"name": place.name, "expect": None, "lead": None, "config_id": None, **more}],
    }  # fmt: skip
    async with outside.local_links.open(place.node, THIS_MACHINE) as link:
        reply = await link.ask(header, on_event=lambda event: _on_event(outside, place, event))
    (verdict,) = verdicts.read_all(reply.header, [place.name], place.node)
    match verdict.verdict:
        case words.DONE | words.UNCHANGED:
            return verdict
        case words.REFUSED:
            raise verdicts.refusal(verdict, place.node)
        case _:
            raise verdicts.failure(verdict, place.node)


def _on_event(outside: Outside, place: Place, event: Mapping[str, Any]) -> None:
    if event.get("event") == "phase":
        outside.on_event(Event(phase=str(event.get("phase")), node=place.node, instance=place.name))
