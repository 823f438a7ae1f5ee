"""Edits of the text of `domain.yaml` that leave every other line as it is, byte for byte.

What lives here: where an entry stands in the text, what is written there. What must not: files, the meaning of entries.

An edit is first reduced to the smallest ones (a changed property of an instance, not the instance), then each is
spliced into the text at the marks that the parser gives. ruamel.yaml writes the new values; it is imported only here.
The result is read again and compared with what was wanted (`edits.edited`), so a splice that would hit something else
(an anchor, a notation that is not foreseen) is found, not written.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import yaml

from dasctl.adapters.yaml_text import parsed
from dasctl.core.domain import FILE
from dasctl.core.edits import Drop, Edit, Put, edited
from dasctl.core.faults import Path
from dasctl.core.scalars import scalar
from dasctl.errors import DasctlError, InvalidDomain, OperationFailed

WIDTH = 110  # columns; an entry that is longer as a flow mapping is written as a block
INDENT = 2
LONGEST_KEY = 1000  # characters; YAML lets a key on one line have 1,024
ROUNDS = 3  # an entry with an anchor changes its aliases, too: the next round writes those out


def edit_text(text: str, edits: Sequence[Edit], *, file: str = FILE) -> str:
    """`text` after `edits`. InvalidDomain where it is not YAML, OperationFailed where it cannot be edited in place."""
    before = parsed(text, file=file).data
    try:
        wanted = edited(before, edits)
    except (KeyError, TypeError) as error:
        raise OperationFailed(f"{file} has no entry to change: {error}") from error
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    result = text.removeprefix("\ufeff")
    for _ in range(ROUNDS):
        now = _data(result, file)
        if _same(now, wanted):
            return mark + result
        left = list(_smallest(now, wanted, ()))
        while left:
            result, left = _spliced_together(result, left, wanted, file=file)
    if not _same(_data(result, file), wanted):
        raise _by_hand(file)
    return mark + result


def _data(text: str, file: str) -> Any:
    """The plain data of a text that was edited; one that cannot be read any more shows that it could not be edited."""
    try:
        return parsed(text, file=file).data
    except InvalidDomain as error:
        raise _by_hand(file) from error


def _by_hand(file: str) -> DasctlError:
    return OperationFailed(
        f"{file} is written in a way that cannot be changed in place (an anchor that is used elsewhere?): nothing changed",
        hint="make this change by hand; `dasctl verify-domain` checks it",
    )


def _same(one: Any, other: Any) -> bool:
    """Equal values of equal types (True is not 1), and no key with nothing behind it counts as an empty mapping."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


def _smallest(old: Any, new: Any, path: Path) -> Iterator[Edit]:
    """The smallest edits that make the mapping `new` of `old`: what goes first, so that its place is free."""
    for key in old:
        if key not in new:
            yield Drop(path=(*path, key))
    for key, value in new.items():
        if key in old and isinstance(old[key], dict) and isinstance(value, dict) and old[key] and value:
            yield from _smallest(old[key], value, (*path, key))
        elif key in old and old[key] is None and isinstance(value, dict):
            # `instances:` with nothing behind it: entries go below it, one by one.
            yield from (Put(path=(*path, key, name), value=entry) for name, entry in value.items())
        elif key in old and old[key] == {} and isinstance(value, dict):
            yield from (Put(path=(*path, key, name), value=entry) for name, entry in value.items())
        elif key not in old or not _same(old[key], value):
            yield Put(path=(*path, key), value=value)


# Where things stand.


@dataclass(slots=True)
class _Span:
    """A value in the text: `start` and `end` are offsets, `end` behind its last character (not behind comments)."""

    kind: str  # "scalar", "map", "seq", "alias"
    start: int
    end: int
    flow: bool = False
    text: str = ""
    plain: bool = False
    children: list[_Span] = field(default_factory=list)

    @property
    def entries(self) -> list[tuple[_Span, _Span]]:
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


def _spans(text: str) -> _Span:
    """The root mapping of `text`."""
    stack = [_Span("seq", 0, 0)]
    for event in yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
        start, end = _offsets(event)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            stack.append(_Span(kind, start, end, flow=bool(event.flow_style)))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            # A block ends where the next token begins; its last value ends where its text does.
            done.end = end if done.flow else max((child.end for child in done.children), default=done.start)
            stack[-1].children.append(done)
        elif isinstance(event, yaml.ScalarEvent):
            end = start + len(text[start:end].rstrip())  # a block scalar ends behind blank lines
            stack[-1].children.append(_Span("scalar", start, end, text=event.value, plain=not event.style))
        elif isinstance(event, yaml.AliasEvent):
            stack[-1].children.append(_Span("alias", start, end))
    return stack[0].children[0]


def _offsets(event: Any) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index


# The splices.


def _spliced_together(text: str, edits: Sequence[Edit], wanted: Any, *, file: str) -> tuple[str, list[Edit]]:
    """The first of `edits` and those that do not get into each other's way, and what is left: a text of 1,000 instances
    takes a tenth of a second to read, too long to be read for each of 1,000 edits.
    """
    try:
        root = _spans(text)
    except yaml.YAMLError as error:
        raise _by_hand(file) from error
    patches: list[tuple[int, int, str]] = []  # from, to, what is there instead; in the text's order
    holders: set[Path] = set()
    left: list[Edit] = []
    for edit in edits:
        patch = _patch(text, _spliced(text, root, edit, wanted, file=file))
        place = bisect(patches, patch)
        touches = any(
            patch[0] <= end and start <= patch[1] for start, end, _ in patches[max(0, place - 1) : place + 1]
        )
        if touches or edit.path[:-1] in holders:
            left.append(edit)
        else:
            holders.add(edit.path[:-1])
            patches.insert(place, patch)
    for start, end, new in reversed(patches):
        text = text[:start] + new + text[end:]
    return text, left


def _patch(old: str, new: str) -> tuple[int, int, str]:
    """What makes `new` of `old`: from, to, what is there instead."""
    most = min(len(old), len(new))
    start = _longest(lambda size: old[:size] == new[:size], most)
    end = _longest(lambda size: size == 0 or old[-size:] == new[-size:], most - start)
    return start, len(old) - end, new[start : len(new) - end]


def _longest(agree: Callable[[int], bool], most: int) -> int:
    """The largest size at which two texts agree; they agree at all smaller ones, too."""
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        low, most = (middle, most) if agree(middle) else (low, middle - 1)
    return low


def _spliced(text: str, root: _Span, edit: Edit, wanted: Any, *, file: str) -> str:
    holder: _Span | None = None
    key, place = None, root
    for depth, name in enumerate(edit.path):
        if place.kind == "alias" or (
            _is_merged(place) and place.find(name) is None and isinstance(edit, Drop)
        ):
            # What is shared cannot be changed for one: it is written out.
            if holder is None or key is None or (number := holder.find(key.text)) is None:
                raise _by_hand(file)
            return _replace(text, holder, number, _at(wanted, edit.path[:depth]))
        if place.kind != "map" and not place.empty:
            raise _by_hand(file)
        number = place.find(name) if place.kind == "map" else None
        if number is None:
            if isinstance(edit, Drop):
                return text  # gone with what was written out above it; the comparison at the end judges
            return _add(text, place, holder, key, name, _nested(edit.path[depth + 1 :], edit.value))
        if depth == len(edit.path) - 1:
            if isinstance(edit, Drop):
                return _drop(text, place, key, number)
            return _replace(text, place, number, edit.value)
        holder = place
        key, place = place.entries[number]
    return text


def _is_merged(place: _Span) -> bool:
    return place.kind == "map" and place.find("<<") is not None


def _at(data: Any, path: Path) -> Any:
    for name in path:
        data = data[name]
    return data


def _nested(path: Path, value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _add(text: str, place: _Span, holder: _Span | None, key: _Span | None, name: str, value: Any) -> str:
    """Add an entry behind the last one of `place`, in the manner of that one."""
    if place.entries:
        return _add_flow(text, place, name, value) if place.flow else _add_block(text, place, name, value)
    if holder is not None and key is not None and not holder.flow and holder.find(key.text) is not None:
        if _column(text, key.start) == 0:  # a section: its entries go below it
            rest = text[: place.start].rstrip(" ") + text[place.end :] if place.end > place.start else text
            indent = " " * INDENT
            return _insert_line(
                rest, key.end, _entry(name, value, indent, block=None, newline=_newline(text))
            )
        colon = _behind_colon(text, key)
        if place.kind != "map":
            tail = text[place.end :] if place.end > place.start else text[colon:]
            return f"{text[:colon]} {{{_flow(name, value)}}}{tail}"
    if place.flow:
        return text[: place.start + 1] + _flow(name, value) + text[place.end - 1 :]
    return text[: place.start] + f" {{{_flow(name, value)}}}" + text[place.end :]


def _add_block(text: str, place: _Span, name: str, value: Any) -> str:
    last_key, last = place.entries[-1]
    indent = " " * _column(text, place.entries[0][0].start)
    block: bool | None = None
    if last.kind == "map" and last.children and isinstance(value, dict):
        block = not last.flow
    end = max(last.end, last_key.end)
    return _insert_line(text, end, _entry(name, value, indent, block=block, newline=_newline(text)))


def _add_flow(text: str, place: _Span, name: str, value: Any) -> str:
    last_key, last = place.entries[-1]
    end = max(last.end, last_key.end)
    line = _line_start(text, last_key.start)
    if not text[line : last_key.start].strip() and not text[end : _line_end(text, end)].strip():
        indent = text[line : last_key.start]
        return f"{text[:end]},{_newline(text)}{indent}{_flow(name, value)}{text[end:]}"
    return f"{text[:end]}, {_flow(name, value)}{text[end:]}"


def _replace(text: str, place: _Span, number: int, value: Any) -> str:
    """Give an entry another value, on its own line where the old one was a block."""
    key, old = place.entries[number]
    new = _value(value)
    if old.kind == "scalar" and old.end == old.start:
        colon = _behind_colon(text, key)
        return f"{text[:colon]} {new}{text[colon:]}"
    if old.flow or old.kind == "alias" or (old.kind == "scalar" and "\n" not in text[old.start : old.end]):
        return text[: old.start] + new + text[old.end :]
    colon = _behind_colon(text, key)
    comment = text[colon : _line_end(text, colon)] if old.kind != "scalar" and not old.flow else ""
    return f"{text[:colon]} {new}{comment}{text[old.end :]}"


def _drop(text: str, place: _Span, key: _Span | None, number: int) -> str:
    """Remove an entry: its lines where it has them for itself. A mapping that becomes empty is written `{}`."""
    entries = place.entries
    (first, value), only = entries[number], len(entries) == 1
    end = max(value.end, first.end)
    start_line, end_line = _line_start(text, first.start), _line_end(text, end)
    if place.flow:
        rest = text[end:end_line].strip()
        own_lines = not text[start_line : first.start].strip() and (
            rest in ("", ",") or rest.startswith((",#", ", #", "#"))
        )
        if not own_lines:
            if only:
                rest = text[end : place.end].lstrip(" ")
                return (
                    text[: first.start].rstrip(" ") + rest.removeprefix(",").lstrip(" ") + text[place.end :]
                )
            if number + 1 < len(entries):
                return text[: first.start] + text[entries[number + 1][0].start :]
            before = entries[number - 1]
            return text[: max(before[1].end, before[0].end)] + text[end:]
    result = text[:start_line] + text[_next_line(text, end) :]
    if not place.flow and only and key is not None:
        colon = _behind_colon(text, key)
        if colon <= start_line:
            return f"{text[:colon]} {{}}{result[colon:]}"
    return result


# Lines.


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_end(text: str, position: int) -> int:
    """The offset of the line's end, before its newline."""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    return end - 1 if end > position and text[end - 1] == "\r" else end


def _next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _column(text: str, position: int) -> int:
    return position - _line_start(text, position)


def _behind_colon(text: str, key: _Span) -> int:
    return text.index(":", key.end) + 1


def _insert_line(text: str, position: int, lines: str) -> str:
    """Insert whole lines behind the line of `position`. The file's last line may lack its newline, and then keeps to it."""
    following = _next_line(text, position)
    newline = _newline(text)
    if following == len(text) and not text.endswith("\n"):
        return text + newline + lines.removesuffix(newline)
    return text[:following] + lines + text[following:]


# Notation.


def _entry(name: str, value: Any, indent: str, *, block: bool | None, newline: str) -> str:
    """The lines of an entry. `block` None: a flow mapping if it fits into one line."""
    line = indent + _flow(name, value)
    if not isinstance(value, dict) or not value or block is False or (block is None and len(line) <= WIDTH):
        return line + newline
    inner = indent + " " * INDENT
    lines = [f"{indent}{_value(name)}:", *(inner + _flow(key, item) for key, item in value.items())]
    return newline.join(lines) + newline


def _flow(name: str, value: Any) -> str:
    """`name: value` in one line."""
    return _written({name: value})[1:-1]


def _value(value: Any) -> str:
    # Not in a list: a mapping with one key would lose its braces there.
    return _written({"v": value})[1:-1].removeprefix("v:").strip(" ")


def _written(value: Any) -> str:
    """`value` as one line of flow YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.emitter import Emitter
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    class LongKeys(Emitter):
        MAX_SIMPLE_KEY_LENGTH = (
            LONGEST_KEY  # its own are `? KEY` from 128 on, which is not how an entry is written here
        )

    def guarded(item: Any) -> Any:
        if isinstance(item, dict):
            return {guarded(key): guarded(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [guarded(inner) for inner in item]
        if isinstance(item, float) and scalar(repr(item)) != item:
            raise OperationFailed(f"the number {item!r} cannot be written")
        if isinstance(item, str) and _needs_quotes(item):
            return DoubleQuotedScalarString(item)
        return item

    writer = YAML()
    writer.Emitter = LongKeys
    writer.default_flow_style = True
    writer.width = 1_000_000
    writer.allow_unicode = True
    out = StringIO()
    writer.dump(guarded(value), out)
    return out.getvalue().strip("\n")


def _needs_quotes(text: str) -> bool:
    """Whether a text must be quoted although it need not be in ruamel's eyes: our scalars, and YAML 1.1's, differ."""
    return (
        not isinstance(scalar(text), str)
        or text.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false", "null")
        or (text[:1].isdigit() and any(char in text for char in ":_"))
        or text in ("<<", "=")
        or text[:1] in "?:-"
        or any(
            ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or ord(char) in (0x2028, 0x2029, 0xFEFF)
            for char in text
        )
    )
