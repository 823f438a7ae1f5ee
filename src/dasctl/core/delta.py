"""Deltas of large contents: instructions that make a new content of an old one, exact to the byte (docs/protocol.md).

What lives here: finding what both have in common. What must not: files, packing, the judgement whether a delta is worth
it; how long a run is equal (`equal_runs.py`), and the form of the instructions (`delta_form.py`).

Both contents lie side by side, so nothing is guessed and nothing is asked. First the common beginning and end, by
large comparisons. Between them a walk along a *diagonal* (places of both that belong together, as long as nothing
moves): after a mismatch it goes on where the bytes are equal again, which is what a changed time stamp in an archive
needs. Where the diagonal is lost, *anchors* find the next one: places that the content itself chooses, because a
pattern matches there, in both alike; near ones first, then those of the whole old content, which also fill what
is left over. All of it takes time in proportion to the sizes, whatever the contents are: searches that
repeat themselves have a budget.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from dasctl.core.delta_form import Copy, encoded
from dasctl.core.equal_runs import Content, equal_before, equal_from

RUN = 16  # equal bytes on the diagonal that are worth a copy
STAMP = 64  # bytes that may differ before the diagonal counts as lost, at the first look
STAMP_WINDOW = 160  # bytes of such a look; it doubles where there are many stamps, as in a table …
LARGEST_WINDOW = 8 << 10  # … up to
SECOND_LOOK = 4 << 10  # bytes further along the same diagonal, before it is given up
SECOND_RUN = 32
LARGEST_TAIL = 4 << 20  # bytes before the end that are looked at along the diagonal of the ends
CREDIT = 2 << 10  # bytes: how long a diagonal on which little is equal is followed

BLOCK = 32  # bytes that make an anchor
NEAR = (16 << 10, 128 << 10, 1 << 20)  # bytes of both in which the next diagonal is looked for
NEAR_DENSEST = 32  # bytes: anchors are taken no closer than this on average, whatever the content is
FAR_DENSEST = 256
CHUNK = 64 << 10  # bytes in which that is counted
BUDGET = 4  # how many times both contents may be searched near by
LEFT_OVER = 64 << 10  # bytes: less is not looked for in the whole old content …
LEFT_OVER_SHARE = 64  # … nor less than this part of the new one

MOST_COPIES = 1_000_000  # the helper takes 2**20 instructions

# Three classes of 40 byte values, tried out so that in text, numbers, archives and random bytes alike three of them in a
# row stand every 60 to 300 bytes, and four every 500 to 2,000. No value is in two of them: a run of one byte never matches.
_CLASSES = tuple(
    b"[" + b"".join(rb"\x%02x" % byte for byte in bytes.fromhex(values)) + b"]"
    for values in (
        "01060f131a1f202e32333445474956575c5e6171777c81878a8f909fa3aab3b8bcc6d0d6dae6e9ec",
        "000a0c22292f30393b3e4c4f525b5d6e70737a8386898b8c91a1a8a9adb6b9babbd1d5d9e0e1f0f2",
        "020d1118191e262a2d314041425558595a6063677e7f808e92979eb5b7bdc7d2d8e4e7ebf8fbfdfe",
    )
)
_NEAR = re.compile(b"".join(_CLASSES))
_FAR = re.compile(b"".join((*_CLASSES, _CLASSES[0])))
_RUN = re.compile(rb"\0{%d,}" % RUN)
_SECOND_RUN = re.compile(rb"\0{%d,}" % SECOND_RUN)


def delta(old: Content | memoryview | bytearray, new: Content | memoryview | bytearray) -> bytes:
    """The instructions that make `new` of `old`. What is neither bytes nor mapped memory is copied first."""
    wanted = _sliceable(new)
    return encoded(_copies(_sliceable(old), wanted), wanted)


def _sliceable(content: Content | memoryview | bytearray) -> Content:
    return content if isinstance(content, bytes | mmap.mmap) else bytes(content)


def _copies(old: Content, new: Content) -> list[Copy]:
    """What of `new` is in `old`, in order, without overlaps in `new`."""
    most = min(len(old), len(new))
    prefix = equal_from(old, 0, new, 0, most)
    suffix = equal_before(old, len(old), new, len(new), most - prefix)
    end = len(new) - suffix
    found = [Copy(0, 0, prefix)]
    if prefix < end:
        anchors = _Anchors(old, new)
        found += _Walk(old, new, suffix, anchors).copies(prefix)
        found = _filled(found, old, new, end, anchors)
    found.append(Copy(len(old) - suffix, end, suffix))
    least = 1
    while len(found) > MOST_COPIES:
        found, least = [copy for copy in found if copy.size >= least], 2 * least
    return [copy for copy in found if copy.size]


def _filled(found: Sequence[Copy], old: Content, new: Content, end: int, anchors: _Anchors) -> list[Copy]:
    """The same with what the whole old content has of the rest, where that is enough to be worth a look."""
    ends = [copy.new for copy in found[1:]] + [end]
    gaps = [(copy, copy.new + copy.size, stop) for copy, stop in zip(found, ends, strict=True)]
    left = sum(stop - start for _, start, stop in gaps)
    if left < _worth_a_search(new):
        return list(found)
    filled: list[Copy] = []
    for copy, start, stop in gaps:
        filled.append(copy)
        if stop - start >= BLOCK:
            filled += anchors.fill(start, stop)
    return filled


def _worth_a_search(new: Content) -> int:
    """Bytes: where less of `new` is left, the whole old content is not searched for it."""
    return max(LEFT_OVER, len(new) // LEFT_OVER_SHARE)


class _Walk:
    """The way through `new` up to the common suffix, along diagonals."""

    def __init__(self, old: Content, new: Content, suffix: int, anchors: _Anchors) -> None:
        self._old = old
        self._new = new
        self._end = len(new) - suffix
        self._old_end = len(old) - suffix
        self._ends_seen = False
        self._anchors = anchors
        self._found: list[Copy] = []
        self._window = STAMP_WINDOW
        self._credit = CREDIT

    def copies(self, start: int) -> list[Copy]:
        """What is found from `start` on, where the two differ."""
        i = j = start
        while j < self._end:
            here = self._after_stamp(i, j) or self._further_along(i, j)
            if here is None:
                here = self._another(i, j)
                if here is None:
                    break
                self._credit, self._window = CREDIT, STAMP_WINDOW
            i, j = here
            size = equal_from(self._old, i, self._new, j, min(len(self._old) - i, self._end - j))
            self._add(i, j, size)
            i, j = i + size, j + size
        return self._found

    def _another(self, i: int, j: int) -> tuple[int, int] | None:
        """The next diagonal, from `j` on: near by, that of the ends, or anywhere."""
        anchor = self._anchors.near(i, j, self._end)
        if anchor is None:
            ends = self._along_ends(j)
            if ends is not None:
                return ends
            anchor = self._anchors.far(j, self._end)
        return None if anchor is None else (anchor.old, anchor.new)

    def _along_ends(self, j: int) -> tuple[int, int] | None:
        """What is equal from `j` on where the ends of both lie side by side: a table at the end, full of stamps, has no
        anchors. Looked at once, up to LARGEST_TAIL before the end.
        """
        start = max(j, self._end - LARGEST_TAIL, self._end - self._old_end)
        if self._ends_seen or start > j + NEAR[1]:
            return None
        self._ends_seen = True
        shift = self._old_end - self._end
        for at in range(start, self._end, SECOND_LOOK):
            run = _SECOND_RUN.search(self._differences(at + shift, at, SECOND_LOOK))
            if run is not None:
                return at + shift + run.start(), at + run.start()
        return None

    def _after_stamp(self, i: int, j: int) -> tuple[int, int] | None:
        """Both contents differ at (i, j): where they are equal again after a few bytes, if they are.

        Looks at a window; what comes after several stamps in it is added at once.
        """
        differs = self._differences(i, j, self._window)
        at, runs = 0, 0
        for run in _RUN.finditer(differs):
            start, stop = run.span()
            if start - at > STAMP or not self._affords(start - at, stop - start):
                break
            self._add(i + start, j + start, stop - start)
            at, runs = stop, runs + 1
        if not runs:
            return None
        many = runs > 1 and at > len(differs) // 2
        self._window = min(2 * self._window, LARGEST_WINDOW) if many else STAMP_WINDOW
        return i + at, j + at

    def _affords(self, stamp: int, run: int) -> bool:
        """Whether the diagonal is still followed: what is equal on it outweighs what differs."""
        self._credit -= 3 * stamp + 8
        if self._credit < 0:
            return False
        self._credit = min(CREDIT, self._credit + run)
        return True

    def _further_along(self, i: int, j: int) -> tuple[int, int] | None:
        """The same with a longer look, for a record that was changed as a whole and kept its size."""
        if self._credit < 0:
            return None
        run = _SECOND_RUN.search(self._differences(i, j, SECOND_LOOK))
        if run is None or not self._affords(run.start() // 8, run.end() - run.start()):
            return None
        return i + run.start(), j + run.start()

    def _differences(self, i: int, j: int, size: int) -> bytes:
        """Bytes that are 0 where the two are equal, from (i, j) on."""
        a, b = self._old[i : i + size], self._new[j : min(j + size, self._end)]
        size = min(len(a), len(b))
        return (int.from_bytes(a[:size], "little") ^ int.from_bytes(b[:size], "little")).to_bytes(
            size, "little"
        )

    def _add(self, i: int, j: int, size: int) -> None:
        if not self._found:
            self._found.append(Copy(i, j, size))
            return
        last = self._found[-1]
        if (last.old + last.size, last.new + last.size) == (i, j):
            self._found[-1] = Copy(last.old, last.new, last.size + size)
        else:
            self._found.append(Copy(i, j, size))


class _Anchors:
    """Where a place of `new` is in `old`. The index of the whole `old` is made when it is first needed."""

    def __init__(self, old: Content, new: Content) -> None:
        self._old = old
        self._new = new
        self._index: dict[bytes, int] | None = None
        self._budget = BUDGET * (len(old) + len(new)) + 2 * sum(NEAR)

    def near(self, i: int, j: int, end: int) -> Copy | None:
        """What `old` has of `new` from about `j` on, near `i`. The size is what is equal at least."""
        for size in NEAR:
            if self._budget < 0:
                break
            self._budget -= 2 * size
            found = self._first(self._near(i, size), _NEAR, j, min(j + size, end), j)
            if found is not None:
                return found
            if i + size >= len(self._old) and j + size >= end:
                break
        return None

    def far(self, j: int, end: int) -> Copy | None:
        """The same anywhere in `old`, where enough is left to be worth an index."""
        if self._index is None and end - j < _worth_a_search(self._new):
            return None
        return self._first(self._far(), _FAR, j, end, j)

    def fill(self, start: int, stop: int) -> Iterator[Copy]:
        """What `old` has anywhere of `new` between `start` and `stop`, in order."""
        while stop - start >= BLOCK:
            found = self._first(self._far(), _FAR, start, stop, start)
            if found is None:
                return
            more = min(len(self._old) - found.old, stop - found.new)
            size = equal_from(self._old, found.old, self._new, found.new, more)
            yield found._replace(size=size)
            start = found.new + size

    def _first(
        self, index: dict[bytes, int], pattern: re.Pattern[bytes], j: int, stop: int, least: int
    ) -> Copy | None:
        """The first place of `new` from `j` on that `index` knows, extended backwards down to `least`."""
        if not index:
            return None
        for place, block in _blocks(pattern, self._new, j, stop):
            at = index.get(block)
            if at is not None:
                before = equal_before(self._old, at, self._new, place, min(at, place - least))
                return Copy(at - before, place - before, before + BLOCK)
        return None

    def _near(self, i: int, size: int) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for place, block in _blocks(_NEAR, self._old, i, min(i + size, len(self._old))):
            found.setdefault(block, place)
        return found

    def _far(self) -> dict[bytes, int]:
        if self._index is None:
            self._index = {}
            for place, block in _blocks(_FAR, self._old, 0, len(self._old)):
                self._index.setdefault(block, place)
        return self._index


def _blocks(
    pattern: re.Pattern[bytes], content: Content, start: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    """(place, bytes there) of the anchors between `start` and `stop`; a bounded number in each chunk."""
    most = CHUNK // (NEAR_DENSEST if pattern is _NEAR else FAR_DENSEST)
    for chunk in range(start, stop - BLOCK + 1, CHUNK):
        matches = pattern.finditer(content, chunk, min(chunk + CHUNK, stop))
        for match in islice(matches, most):
            place = match.start()
            if place + BLOCK <= stop:
                yield place, content[place : place + BLOCK]
