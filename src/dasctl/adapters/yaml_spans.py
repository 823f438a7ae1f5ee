"""Where each value of a YAML text stands in it, as offsets.

What lives here: the parser's marks, made into spans. What must not: what is written there (`yaml_edit.py`), lines and
comments, of which the parser says nothing (`yaml_lines.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from dasctl.core.scalars import scalar


@dataclass(slots=True)
class Span:
    """A value in the text: `start` and `end` are offsets, `end` behind its last character (not behind comments)."""

    kind: str  # "scalar", "map", "seq", "alias"
    start: int
    end: int
    flow: bool = False
    text: str = ""
    plain: bool = False
    children: list[Span] = field(default_factory=list)

    @property
    def entries(self) -> list[tuple[Span, Span]]:
        return list(zip(self.children[::2], self.children[1::2], strict=True))

    @property
    def empty(self) -> bool:
        """Whether there is no entry: `{}`, `null`, nothing at all."""
        if self.kind == "map":
            return not self.children
        return self.kind == "scalar" and self.plain and scalar(self.text) is None

    def find(self, name: str) -> int | None:
        """The position of the entry called `name`."""
        found = [
            number
            for number, (key, _) in enumerate(self.entries)
            if key.kind == "scalar" and key.text == name
        ]
        return found[-1] if found else None


def spans(text: str) -> Span:
    """The root mapping of `text`."""
    stack = [Span("seq", 0, 0)]
    for event in yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
        start, end = _offsets(event)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            stack.append(Span(kind, start, end, flow=bool(event.flow_style)))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            # A block ends where the next token begins; its last value ends where its text does.
            done.end = end if done.flow else max((child.end for child in done.children), default=done.start)
            stack[-1].children.append(done)
        elif isinstance(event, yaml.ScalarEvent):
            end = start + len(text[start:end].rstrip())  # a block scalar ends behind blank lines
            stack[-1].children.append(Span("scalar", start, end, text=event.value, plain=not event.style))
        elif isinstance(event, yaml.AliasEvent):
            stack[-1].children.append(Span("alias", start, end))
    return stack[0].children[0]


def _offsets(event: Any) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index
