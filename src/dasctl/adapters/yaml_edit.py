"""Edits of the text of `domain.yaml` that leave every other line as it is, byte for byte.

What lives here: which splices make an edit. What must not: files, the meaning of entries, where values stand
(`yaml_spans.py`), lines and comments (`yaml_lines.py`), how values are written (`yaml_notation.py`).

An edit is first reduced to the smallest ones (a changed property of an instance, not the instance), then each is
spliced into the text at the marks that the parser gives. The result is read again and compared with what was wanted
(`edits.edited`), so a splice that would hit something else (an anchor, a notation that is not foreseen) is found, not
written.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml

from dasctl.adapters.yaml_lines import (
    behind_colon,
    behind_comments,
    behind_own_comments,
    column,
    insert_line,
    line_end,
    line_start,
    newline,
    next_line,
)
from dasctl.adapters.yaml_notation import INDENT, entry, flow, value_of
from dasctl.adapters.yaml_spans import Span, spans
from dasctl.adapters.yaml_text import parsed
from dasctl.core.domain import FILE
from dasctl.core.edits import Drop, Edit, Put, edited
from dasctl.core.faults import Path
from dasctl.errors import DasctlError, InvalidDomain, OperationFailed

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


# The splices.


def _spliced_together(text: str, edits: Sequence[Edit], wanted: Any, *, file: str) -> tuple[str, list[Edit]]:
    """The first of `edits` and those that do not get into each other's way, and what is left: a text of 1,000 instances
    takes a tenth of a second to read, too long to be read for each of 1,000 edits.
    """
    try:
        root = spans(text)
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


def _spliced(text: str, root: Span, edit: Edit, wanted: Any, *, file: str) -> str:
    holder: Span | None = None
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


def _is_merged(place: Span) -> bool:
    return place.kind == "map" and place.find("<<") is not None


def _at(data: Any, path: Path) -> Any:
    for name in path:
        data = data[name]
    return data


def _nested(path: Path, value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _add(text: str, place: Span, holder: Span | None, key: Span | None, name: str, value: Any) -> str:
    """Add an entry behind the last one of `place`, in the manner of that one."""
    if place.entries:
        return _add_flow(text, place, name, value) if place.flow else _add_block(text, place, name, value)
    if holder is not None and key is not None and not holder.flow and holder.find(key.text) is not None:
        if column(text, key.start) == 0:  # a section: its entries go below it
            rest = text[: place.start].rstrip(" ") + text[place.end :] if place.end > place.start else text
            lines = entry(name, value, " " * INDENT, block=None, newline=newline(text))
            return insert_line(rest, behind_comments(rest, key.end, INDENT), lines)
        colon = behind_colon(text, key.end)
        if place.kind != "map":
            tail = text[place.end :] if place.end > place.start else text[colon:]
            return f"{text[:colon]} {{{flow(name, value)}}}{tail}"
    if place.flow:
        return text[: place.start + 1] + flow(name, value) + text[place.end - 1 :]
    return text[: place.start] + f" {{{flow(name, value)}}}" + text[place.end :]


def _add_block(text: str, place: Span, name: str, value: Any) -> str:
    last_key, last = place.entries[-1]
    beginning = column(text, place.entries[0][0].start)
    block: bool | None = None
    if last.kind == "map" and last.children and isinstance(value, dict):
        block = not last.flow
    end = behind_comments(text, max(last.end, last_key.end), beginning)
    return insert_line(text, end, entry(name, value, " " * beginning, block=block, newline=newline(text)))


def _add_flow(text: str, place: Span, name: str, value: Any) -> str:
    last_key, last = place.entries[-1]
    end = max(last.end, last_key.end)
    line, ending = line_start(text, last_key.start), line_end(text, end)
    rest = text[end:ending].lstrip(" \t")
    if not text[line : last_key.start].strip() and rest.removeprefix(",").lstrip(" \t")[:1] in ("", "#"):
        comma = "," if rest.startswith(",") else ""  # some put one behind the last entry, too
        place_of_it = behind_comments(text, ending, last_key.start - line)
        return (
            text[:end] + ("" if comma else ",") + text[end:place_of_it] + newline(text)
            + text[line : last_key.start] + flow(name, value) + comma + text[place_of_it:]
        )  # fmt: skip
    return f"{text[:end]}, {flow(name, value)}{text[end:]}"


def _replace(text: str, place: Span, number: int, value: Any) -> str:
    """Give an entry another value, on its own line where the old one was a block."""
    key, old = place.entries[number]
    new = value_of(value)
    if old.kind == "scalar" and old.end == old.start:
        colon = behind_colon(text, key.end)
        return f"{text[:colon]} {new}{text[colon:]}"
    if old.flow or old.kind == "alias" or (old.kind == "scalar" and "\n" not in text[old.start : old.end]):
        return text[: old.start] + new + text[old.end :]
    colon = behind_colon(text, key.end)
    if old.kind == "scalar":
        return f"{text[:colon]} {new}{text[old.end :]}"
    # What is noted behind the key and above the first entry stays; what is noted inside of entries goes with them.
    first = old.children[0].start
    begin = max(line_end(text, colon), line_start(text, first) - len(newline(text)))
    end = line_end(text, behind_own_comments(text, old.end, column(text, first)))
    return f"{text[:colon]} {new}{text[colon:begin]}{text[end:]}"


def _drop(text: str, place: Span, key: Span | None, number: int) -> str:
    """Remove an entry: its lines where it has them for itself. A mapping that becomes empty is written `{}`."""
    entries = place.entries
    (first, value), only = entries[number], len(entries) == 1
    end = max(value.end, first.end)
    start_line, end_line = line_start(text, first.start), line_end(text, end)
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
    if not place.flow:
        end = behind_own_comments(text, end, first.start - start_line)
    result = text[:start_line] + text[next_line(text, end) :]
    if not place.flow and only and key is not None:
        colon = behind_colon(text, key.end)
        if colon <= start_line:
            return f"{text[:colon]} {{}}{result[colon:]}"
    return result
