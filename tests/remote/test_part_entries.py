"""A part that is checked against one that is known is judged as if it were checked alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.remote.conversation import Tree

from dasctl.remote import messages

PATHS = st.lists(st.sampled_from([b"a", b"b", b"a.b", b"-", b"c d"]), min_size=1, max_size=3).map(b"/".join)
BAD = [
    b"f 644 1 1 " + b"a" * 64 + b" lib/a/../x", b"f 644 1 1 " + b"a" * 64 + b" config/x", b"d 755 0 1 - ", b"x",
    b"f 644 1 1 " + b"A" * 64 + b" lib/a", b"f 644 1 1 a lib/a", b"l 777 0 1 /etc lib/l",
    b"f 99999 1 1 " + b"a" * 64 + b" lib/a",
    b"f 644 1 1 " + b"a" * 64 + b" lib", b"f 644 -1 1 " + b"a" * 64 + b" lib/a", b"",
]  # fmt: skip


def lines_of(files: list[tuple[bytes, bytes]]) -> list[bytes]:
    tree = Tree()
    for path, data in files:
        where = b"lib/" + path
        if not any(other.startswith(where + b"/") for other in tree.entries):
            tree.without(where).file(where, data)
    data = next(data for name, _digest, data in tree.parts() if name == "lib")
    return data[:-1].split(b"\0")


def verdict(data: bytes, known: bytes) -> bool:
    try:
        messages.part_entries("lib", data, known)
    except messages.BadMessage:
        return False
    return True


FILES = st.lists(st.tuples(PATHS, st.sampled_from([b"1", b"22"])), max_size=8)
EDITS = st.lists(
    st.tuples(st.sampled_from(["drop", "swap", "double", "bad"]), st.integers(0, 20), st.integers(0, 20)),
    max_size=2,
)


@settings(max_examples=300, deadline=None)
@given(FILES, FILES, EDITS)
def test_what_is_known_makes_no_difference(
    before: list[tuple[bytes, bytes]], after: list[tuple[bytes, bytes]], edits: list[tuple[str, int, int]]
) -> None:
    known = b"".join(line + b"\0" for line in lines_of(before))
    lines = lines_of(after)
    assert verdict(b"".join(line + b"\0" for line in lines), known)
    for what, one, other in edits:
        one, other = one % max(len(lines), 1), other % max(len(lines), 1)
        if what == "bad":
            lines.insert(one, BAD[other % len(BAD)])
        elif not lines:
            continue
        elif what == "drop":
            del lines[one]
        elif what == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines.insert(other, lines[one])
    data = b"".join(line + b"\0" for line in lines)
    assert verdict(data, known) == verdict(data, b"")


def test_a_whole_part_is_judged_as_one_that_is_compared_with_another() -> None:
    """Both ways of checking refuse each bad line, wherever it stands, and a part that lacks a folder or its order."""
    good = lines_of([(b"a/x", b"1"), (b"b", b"22"), (b"c d/y", b"1")])
    other = b"".join(line + b"\0" for line in lines_of([(b"z", b"333")]))
    assert verdict(b"".join(line + b"\0" for line in good), b"")
    wrong = [[*good[:at], bad, *good[at:]] for bad in BAD for at in range(len(good) + 1)]
    wrong += [good[:at] + good[at + 1 :] for at in range(len(good)) if good[at][:1] == b"d"]
    wrong += [
        good[1:] + good[:1],
        [good[0], *reversed(good[1:])],
        [*good, good[-1]],
        [good[0].replace(b"d", b"f", 1)],
    ]
    for lines in wrong:
        data = b"".join(line + b"\0" for line in lines)
        assert not verdict(data, b"") and not verdict(data, other), lines
