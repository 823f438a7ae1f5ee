"""`diff`: what differs between two revisions, or between one and the repository as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dasctl.core import areas, changes
from dasctl.core.changes import Change
from dasctl.core.outcome import DIFFERENT, UNCHANGED, Outcome, Result, differing, summed_up
from dasctl.core.unified import MOST_TEXT, Side, file_diff, quoted
from dasctl.errors import UsageError
from dasctl.operations.past import content, past
from dasctl.operations.ports import Context
from dasctl.operations.recording import current
from dasctl.remote import words
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import from_printable, printable

COMMAND = "diff"
PIECE = 1 << 20


async def diff(
    ctx: Context, *, one: int, other: int | None = None, paths: Sequence[str] = (), here: Path | None = None
) -> Outcome:
    """One result per path that differs, with its `diff`; what has no text (modes, modtimes, folders) is told in a line.

    `here`: the folder from which paths may be given. Changes, locks and records nothing.
    """
    old = _of_revision(ctx, one)
    new = _of_revision(ctx, other) if other is not None else _as_it_is(ctx)
    found = changes.between(old.parts, new.parts)
    chosen = [_chosen(_meant(ctx, path, here), path, found, (old, new)) for path in paths]
    if chosen:
        found = [change for change in found if any(_is_within(change.path, path) for path in chosen)]
    unknown = tuple(
        f"config/domain.yaml is not compared: revision {number} is of an earlier release, which did not keep its text"
        for number, state in ((one, old), (other, new))
        if not state.has(areas.DEFINITION)
    )
    rows = [_row(change, old, new) for change in found if not _is_noise(change, found)]
    outcome = summed_up(COMMAND, rows, revision=other, changed=True, warnings=(*new.warnings, *unknown))
    outcome = replace(outcome, data={"from": one, "to": other})
    return differing(outcome) if rows else replace(outcome, status=UNCHANGED)


@dataclass(frozen=True, kw_only=True)
class _State:
    """A state of the repository, and where its contents are: in objects, or in the working files."""

    ctx: Context
    parts: Mapping[str, bytes]
    working: bool
    warnings: tuple[str, ...] = ()

    def has(self, path: bytes) -> bool:
        """Whether there is such a file or folder."""
        return any(b" " + path + b"\0" in data or b" " + path + b"/" in data for data in self.parts.values())

    def side(self, entry: Entry | None) -> Side | None:
        if entry is None or entry.kind not in "fl":
            return None
        if entry.kind == "l":
            return Side(kind="l", mode=entry.mode, size=len(entry.digest), data=entry.digest)
        digest = entry.digest.decode("ascii")
        data = b"".join(self._content(entry, digest)) if entry.size <= MOST_TEXT else None
        return Side(kind="f", mode=entry.mode, size=entry.size, data=data, sha256=digest)

    def _content(self, entry: Entry, digest: str) -> Iterator[bytes]:
        if self.working and not self.ctx.objects.has(digest):
            yield from self.ctx.repository.read(entry.path, piece=PIECE)
        else:
            yield from content(self.ctx, digest)


def _of_revision(ctx: Context, number: int) -> _State:
    return _State(ctx=ctx, parts=past(ctx, number).parts, working=False)


def _as_it_is(ctx: Context) -> _State:
    now = current(ctx, record=False, publish=False)
    return _State(ctx=ctx, parts=now.slices.repository, working=True, warnings=(*now.warnings, *now.refused))


def _meant(ctx: Context, text: str, here: Path | None) -> list[bytes]:
    """What a word may mean: a path from where the operator stands, or from the repository's root. Raises UsageError."""
    absolute = (here or ctx.store.root) / text
    words_for = [str(absolute.relative_to(ctx.store.root))] if absolute.is_relative_to(ctx.store.root) else []
    words_for += [text.removeprefix("./").rstrip("/")]
    found = [word for word in dict.fromkeys(words_for) if word.partition("/")[0] in words.AREAS]
    if not found:
        raise UsageError(
            f"{text!r} is no path of the repository",
            hint="paths begin with config, applications, lib or docroot",
        )
    return [from_printable(word) for word in found]


def _chosen(meant: Sequence[bytes], text: str, found: Sequence[Change], states: Sequence[_State]) -> bytes:
    """The first that is somewhere. A path that is in neither is a mistake, and no answer of "nothing differs"."""
    for path in meant:
        if any(_is_within(change.path, path) for change in found) or any(state.has(path) for state in states):
            return path
    raise UsageError(f"{text!r} is in neither of the two", hint="`dasctl explain` says where a file is")


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _is_noise(change: Change, found: Sequence[Change]) -> bool:
    """A folder's modtime, where something in it came or went: that tells itself."""
    if change.kind != "d" or change.what != changes.MODTIME:
        return False
    inside = change.path + b"/"
    below = (other for other in found if other.path.startswith(inside) and other.what != changes.MODTIME)
    return any(b"/" not in other.path[len(inside) :] for other in below)


def _row(change: Change, old: _State, new: _State) -> Result:
    before, after = old.side(change.old), new.side(change.new)
    text = file_diff(change.path, before, after)
    line = _told(change) if not text or _kinds_of_folder(change) else b""
    return Result(
        status=DIFFERENT,
        fields={"path": printable(change.path), "kind": change.what, "diff": printable(line + text)},
    )


def _kinds_of_folder(change: Change) -> bool:
    return change.what == changes.KIND and "d" in (
        change.old.kind if change.old else "",
        change.new.kind if change.new else "",
    )


def _told(change: Change) -> bytes:
    """What a unified diff has no words for, in one line that `patch` skips."""
    name, old, new = quoted(change.path), change.old, change.new
    match change.what:
        case changes.NEW:
            return b"New folder %s\n" % name
        case changes.DELETED:
            return b"Deleted folder %s\n" % name
        case changes.KIND:
            return b"%s is no %s any more\n" % (name, b"folder" if old and old.kind == "d" else b"file")
        case changes.MODE:
            assert old is not None and new is not None  # both are there where a mode differs
            return b"Mode of folder %s: %o to %o\n" % (name, old.mode, new.mode)
        case _:
            assert old is not None and new is not None  # both are there where a modtime differs
            times = (_moment(old.mtime), _moment(new.mtime))
            return b"Modtime alone of %s: %s to %s\n" % (name, *(time.encode() for time in times))


def _moment(mtime: int) -> str:
    """A modtime in ns, in words and to the last digit."""
    from datetime import UTC, datetime

    seconds, rest = divmod(mtime, 1_000_000_000)
    try:
        told = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{mtime} ns"
    return f"{told}.{rest:09d}Z"
