"""Where a file with a given content lies: the same answer by a search and by the table."""

from __future__ import annotations

import pytest

from dasctl.core.contents import FEW, Contents
from dasctl.remote.manifest import Entry, encode

A, B, C, D = (letter * 64 for letter in "abcd")
TREES = [
    encode(
        [
            Entry(b"docroot", "d", 0o755, 0, 1, b"-"),
            # A link's target and a path that look like digests.
            Entry(b"docroot/link", "l", 0o777, 0, 1, b"a " + A.encode() + b" b"),
            Entry(b"docroot/odd " + B.encode() + b" name", "f", 0o644, 1, 1, C.encode()),
            Entry(b"docroot/\xff 1 2 3 4", "f", 0o644, 7, -5, B.encode()),
        ]
    ),
    b"",
    encode([Entry(b"lib", "d", 0o755, 0, 1, b"-"), Entry(b"lib/x", "f", 0o644, 1, 1, A.encode())]),
]
KNOWN = {
    A: b"lib/x", B: b"docroot/\xff 1 2 3 4", C: b"docroot/odd " + B.encode() + b" name", D: b".dasctl/definitions/a",
}  # fmt: skip


def contents() -> Contents:
    return Contents(TREES, {D: b".dasctl/definitions/a"})


@pytest.mark.parametrize("digest", [A, B, C, D])
def test_found_by_a_search(digest: str) -> None:
    assert contents()[digest] == KNOWN[digest]


def test_found_by_the_table() -> None:
    found = contents()
    assert dict(found) == KNOWN and len(found) == 4
    assert {digest: found[digest] for digest in KNOWN} == KNOWN


def test_many_questions_are_answered_alike() -> None:
    found = contents()
    for _ in range(FEW):
        assert {digest: found[digest] for digest in KNOWN} == KNOWN


@pytest.mark.parametrize("digest", ["e" * 64, "", "-", "0", "\u00e4", "docroot"])
def test_what_is_not_there(digest: str) -> None:
    assert digest not in contents()
    with pytest.raises(KeyError):
        contents()[digest]
