"""Servers that a switch is about to stop, written down before, so that whoever finishes the switch starts them.

What must not live here: the text of it (`core/begun_switches.py`), stopping and starting (`upgrading.py`).
"""

from __future__ import annotations

from dataclasses import replace

from dasctl.core.begun_switches import Begun, BegunSwitches, decoded
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Context, Rollouts


def begun_on(ctx: Context, node: str) -> Begun | None:
    """The switch that was begun on `node` and came to no end. Raises FormatTooNew, OperationFailed."""
    return _read(_kept(ctx)).nodes.get(node)


def note(ctx: Context, node: str, begun: Begun) -> None:
    """Write it down; it survives a kill. Raises OperationFailed: then nothing must be stopped."""
    kept = _kept(ctx)
    known = _read(kept)
    kept.write(replace(known, nodes={**known.nodes, node: begun}).encoded())


def forget(ctx: Context, node: str) -> None:
    """All servers run again. Raises OperationFailed."""
    kept = _kept(ctx)
    known = _read(kept)
    nodes = {name: begun for name, begun in known.nodes.items() if name != node}
    if not nodes:
        kept.clear()
    elif node in known.nodes:
        kept.write(replace(known, nodes=nodes).encoded())


def _kept(ctx: Context) -> Rollouts:
    if ctx.switches is None:
        raise OperationFailed("a switch needs a domain folder that it can be noted in")
    return ctx.switches


def _read(kept: Rollouts) -> BegunSwitches:
    data = kept.read()
    return BegunSwitches() if data is None else decoded(data)
