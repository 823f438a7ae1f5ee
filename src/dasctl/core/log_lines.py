"""Lines of logs from many instances: read from the wire, and equal ones made one.

What lives here: values in, values out. What must not: waiting for them; how they are shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dasctl.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a log, without its end. `file` is its path below the instance's folder; `cut`: it went on."""

    instance: str
    node: str
    file: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A line, and the instances that said it at the same time, in their order."""

    instances: tuple[str, ...]
    line: Line


def read(rows: Any, node: str, asked: Sequence[str]) -> list[Line]:
    """The lines in an answer of `node`. Raises ProtocolError where they are none, or another instance's."""
    if not isinstance(rows, list):
        raise _unfit(node, rows)
    known = frozenset(asked)
    return [_line(row, node, known) for row in rows]


def _line(row: Any, node: str, known: frozenset[str]) -> Line:
    match row:
        case [str(name), str(file), str(text), bool(cut)] if name in known:
            return Line(instance=name, node=node, file=file, text=text, cut=cut)
    raise _unfit(node, row)


def problems(rows: Any, node: str) -> list[Mapping[str, Any]]:
    """The problems in an answer: each has at least `path` and `message`."""
    found = rows or []
    if not isinstance(found, list) or not all(_is_problem(row) for row in found):
        raise _unfit(node, rows)
    return found


def _is_problem(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("path", "message"))


def _unfit(node: str, value: Any) -> ProtocolError:
    return ProtocolError(f"node {node}: an answer that does not fit the protocol: {value!r:.80}")


def folded(lines: Iterable[Line], order: Mapping[str, int]) -> list[Said]:
    """The lines by instance in `order`; where others have the same line next, it is said once, by all of them.

    Each instance's own lines stay in their order.
    """
    queues: dict[str, deque[Line]] = {}
    for line in lines:
        queues.setdefault(line.instance, deque()).append(line)
    names = sorted(queues, key=lambda name: order[name])
    heads: dict[tuple[str, str, bool], list[str]] = {}
    for name in names:
        heads.setdefault(_key(queues[name][0]), []).append(name)
    said = []
    for first in names:
        while queues[first]:
            line = queues[first][0]
            members = heads.pop(_key(line))
            for name in members:
                queues[name].popleft()
                if queues[name]:
                    heads.setdefault(_key(queues[name][0]), []).append(name)
            said.append(Said(instances=tuple(sorted(members, key=lambda name: order[name])), line=line))
    return said


def _key(line: Line) -> tuple[str, str, bool]:
    return line.file, line.text, line.cut
