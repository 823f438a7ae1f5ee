"""`set`: values of domain.yaml by dotted names, all of them as one revision, or none. Nothing is done on nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dasctl.core.assigning import Change, assigned, edits_of
from dasctl.core.definition import definition
from dasctl.core.domain import FILE, Domain
from dasctl.core.dotted import DottedError
from dasctl.core.dotted_values import text_of
from dasctl.core.edits import Edit
from dasctl.core.outcome import UNCHANGED, Outcome, Result, summed_up
from dasctl.core.slices import Part, Slice
from dasctl.core.targets import fold
from dasctl.core.unified import Side, file_diff
from dasctl.errors import InvalidDomain, UsageError
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current, edited

NAMED = 3  # changes in a revision's summary; the others are counted
LONGEST = 60  # characters of a value in a summary
RELEVANT = ("start", "env", "properties")  # what a server is started with (remote/definition.py)


async def set(
    ctx: Context, assignments: Sequence[str], *, unset: Sequence[str] = (), dry_run: bool = False
) -> Outcome:
    """NAME=VALUE words, and names to remove. Raises UsageError, InvalidDomain; nothing is changed then."""
    given = [_split(word) for word in assignments]
    if not given and not unset:
        raise UsageError("nothing to set", hint="give NAME=VALUE, or --unset NAME")
    if dry_run:
        return _thought_of(ctx, *_judged(ctx, given, unset))
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        changes, edits = _judged(ctx, given, unset)
        if not edits:
            return summed_up("set", _rows(changes))
        ctx.store.edited(edits)  # judged before anything is recorded
        before, now = edited(ctx, edits, summary=_summary(changes))
    notes, data = _told(before, now)
    return summed_up(
        "set", _rows(changes), revision=now.revision.number, notes=notes, warnings=now.warnings, data=data
    )


def _split(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise UsageError(f"not a setting: {word!r}", hint="write NAME=VALUE; `--unset NAME` removes one")
    return name.strip(), value


def _judged(
    ctx: Context, given: Sequence[tuple[str, str]], unset: Sequence[str]
) -> tuple[Sequence[Change], Sequence[Edit]]:
    domain, written = ctx.store.load(), ctx.store.written()
    try:
        found = assigned(domain, written.data, given, unset)
    except DottedError as error:
        raise UsageError(error.message, hint=error.hint) from error
    if found.faults:
        raise InvalidDomain(
            "these are not values that can stand there, so nothing is changed",
            faults=tuple(f"{FILE}:{written.line(fault.path)}: {fault}" for fault in found.faults),
            hint="`docs/domain-yaml.md` says what each key takes",
        )
    return found.changes, edits_of(found.changes, written.data)


def _rows(changes: Sequence[Change]) -> Sequence[Result]:
    return [_row(change) for change in changes]


def _row(change: Change) -> Result:
    status = UNCHANGED if not change.changes else "removed" if change.after is None else "set"
    before = change.before.value if change.before is not None else None
    return Result(status=status, fields={"name": change.place.name, "value": change.after, "before": before})


def _thought_of(ctx: Context, changes: Sequence[Change], edits: Sequence[Edit]) -> Outcome:
    before, after = ctx.store.edited(()), ctx.store.edited(edits)
    diff = file_diff(FILE.encode(), _side(before), _side(after)).decode("utf-8", "surrogateescape")
    return summed_up("set", _rows(changes), data={"dry_run": True, "diff": diff})


def _side(text: bytes) -> Side:
    return Side(kind="f", mode=0o644, size=len(text), data=text)


def _summary(changes: Sequence[Change]) -> str:
    """`set nodes.n1.port=22, removed nodes.n1.user`"""
    made = [change for change in changes if change.changes]
    words = [_said(change) for change in made[:NAMED]]
    if len(made) > NAMED:
        words.append(f"{len(made) - NAMED} more")
    return ", ".join(words)


def _said(change: Change) -> str:
    if change.after is None:
        return f"removed {change.place.name}"
    text = text_of(change.after)
    return f"set {change.place.name}={text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'}"


def _told(before: Current, now: Current) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What is still to be done so that servers follow."""
    old, new = before.slices.by_instance, now.slices.by_instance
    sync = [name for name in new if name not in old or _differ(old[name], new[name])]
    restart = [name for name in sync if _starts_with(before.domain, name) != _starts_with(now.domain, name)]
    notes = []
    if sync:
        notes.append(f"no node has it yet: `dasctl sync-domain` brings it to {fold(sync)}")
    if restart:
        notes.append(f"those of them that run need a restart then: {fold(restart)}")
    return tuple(notes), {"sync": sync, "restart": restart}


def _differ(old: Slice, new: Slice) -> bool:
    """Whether an instance would be given anything. That an edit touches the folder `config` is no news to anybody."""
    before = {part.name: part for part in old.parts}
    return before.keys() != {part.name for part in new.parts} or any(
        part.digest != before[part.name].digest and _files(part) != _files(before[part.name])
        for part in new.parts
    )


def _files(part: Part) -> list[bytes]:
    return [line for line in part.data.split(b"\0") if not line.startswith(b"d ")]


def _starts_with(domain: Domain, instance: str) -> object:
    if instance not in domain.instances:
        return None
    document = json.loads(definition(domain, instance))
    return [document[key] for key in RELEVANT]
