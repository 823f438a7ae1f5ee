"""Two states of one part: what both have in common is told by their bytes, and changes lead from one to the other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasctl.remote import manifest, state
from dasctl.remote.manifest import Entry, ManifestError

NAMES = st.sampled_from([b"a", b"b", b"a b", b"a-b", b"a.b", b"\xff", b"- x"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
PARTS = st.dictionaries(
    PATHS, st.tuples(st.integers(0, 12), st.sampled_from([b"1" * 64, b"2" * 64])), max_size=12
)


def part_of(files: dict[bytes, tuple[int, bytes]]) -> bytes:
    entries = [Entry(path, "f", 0o644, size, 5, digest) for path, (size, digest) in files.items()]
    return manifest.encode(sorted(entries, key=lambda entry: manifest.order(entry.path)))


@settings(max_examples=500, deadline=None)
@given(PARTS, PARTS)
def test_changes_lead_from_one_part_to_the_other(
    one: dict[bytes, tuple[int, bytes]], other: dict[bytes, tuple[int, bytes]]
) -> None:
    before, after = part_of(one), part_of({**one, **other})
    fewer = part_of({path: value for path, value in one.items() if path not in other})
    for old in (before, after, fewer, b""):
        for new in (before, after, fewer, b""):
            assert manifest.apply(old, manifest.changes(old, new)) == new


@settings(max_examples=500, deadline=None)
@given(PARTS, PARTS)
def test_what_is_trimmed_is_common_and_whole_lines(
    one: dict[bytes, tuple[int, bytes]], other: dict[bytes, tuple[int, bytes]]
) -> None:
    old, new = part_of(one), part_of({**one, **other})
    start, old_end, end = manifest.trimmed(old, new)
    assert old[:start] == new[:start]
    assert old[old_end:] == new[end:]
    assert start <= old_end
    assert start <= end
    for place, data in ((start, old), (start, new), (old_end, old), (end, new)):
        assert place == 0 or data[place - 1 : place] == b"\0"
    if old == new:
        assert start == old_end == end == len(old)


@settings(max_examples=300, deadline=None)
@given(PARTS, PATHS)
def test_a_line_is_found_where_it_stands(files: dict[bytes, tuple[int, bytes]], path: bytes) -> None:
    data = part_of(files)
    start, end = manifest.position(data, path)
    if path in files:
        assert data[start : end - 1].split(b" ", 5)[5] == path
    else:
        more = part_of({**files, path: (1, b"3" * 64)})
        assert start == end
        assert more[:start] == data[:start]
        assert more.endswith(data[start:])


@settings(max_examples=300, deadline=None)
@given(PARTS, PARTS)
def test_lines_follow_from_those_before(
    one: dict[bytes, tuple[int, bytes]], other: dict[bytes, tuple[int, bytes]]
) -> None:
    before = {"lib": part_of(one), "docroot": part_of(other)}
    for after in ({**before, "lib": part_of({**one, **other})}, {"docroot": before["docroot"]}, before):
        found = state.lines_after(state.lines_of(before.values()), before, after)
        assert list(found.items()) == list(state.lines_of(after.values()).items())


@pytest.mark.parametrize("delta", [b"-lib/c\0", b"?lib/a\0", b"+f 1 lib/a\0", b"-lib/a"])
def test_changes_that_do_not_fit_are_refused(delta: bytes) -> None:
    base = part_of({b"lib/a": (1, b"1" * 64), b"lib/d": (1, b"1" * 64)})
    with pytest.raises(ManifestError):
        manifest.apply(base, delta)
