"""What differs between two states of the repository, and how it is told in a line."""

from __future__ import annotations

import random

import pytest

from dasctl.core.changes import Change, between, summary
from dasctl.remote.manifest import Entry, digest_of, encode, order


def file(path: str, content: str = "a", *, mode: int = 0o644, mtime: int = 1) -> Entry:
    digest = digest_of(content.encode()).encode()
    return Entry(path.encode(), "f", mode, len(content), mtime, digest)


def folder(path: str, *, mtime: int = 1) -> Entry:
    return Entry(path.encode(), "d", 0o755, 0, mtime, b"-")


def parts(*trees: list[Entry]) -> dict[str, bytes]:
    data = [encode(sorted(tree, key=lambda entry: order(entry.path))) for tree in trees]
    return {digest_of(one): one for one in data}


DOCROOT = [folder("docroot"), file("docroot/a"), file("docroot/b"), file("docroot/c")]

TOLD = [
    ("nothing", DOCROOT, DOCROOT, ""),
    ("a content", DOCROOT, [*DOCROOT[:3], file("docroot/c", "new")], "1 file changed in docroot"),
    (
        "of every kind",
        DOCROOT,
        [folder("docroot", mtime=9), file("docroot/b", "new"), file("docroot/c"), file("docroot/d")],
        "1 file changed, 1 new and 1 deleted in docroot",
    ),
    (
        "modtimes",
        DOCROOT,
        [*DOCROOT[:2], file("docroot/b", mtime=2), file("docroot/c", mtime=3)],
        "2 files touched in docroot",
    ),
    ("a mode", DOCROOT, [*DOCROOT[:3], file("docroot/c", mode=0o600)], "1 file touched in docroot"),
    ("a folder's time", DOCROOT, [folder("docroot", mtime=2), *DOCROOT[1:]], "1 folder touched in docroot"),
    ("a new folder", DOCROOT, [*DOCROOT, folder("docroot/x")], "1 folder new in docroot"),
    (
        "kind",
        DOCROOT,
        [*DOCROOT[:3], folder("docroot/c"), file("docroot/c/x")],
        "1 file new in docroot",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), [row[1:] for row in TOLD], ids=[row[0] for row in TOLD])
def test_what_is_told(old: list[Entry], new: list[Entry], told: str) -> None:
    assert summary(between(parts(old), parts(new))) == told


def test_areas_that_come_and_go_and_domain_yaml() -> None:
    hello = [folder("applications/hello"), file("applications/hello/app.py")]
    old = parts(DOCROOT, [folder("applications")], [file("config/domain.yaml")], [folder("lib")])
    new = parts(
        [*DOCROOT[:3], file("docroot/c", "new")], [folder("applications", mtime=2)], hello,
        [file("config/domain.yaml", "b")],
    )  # fmt: skip
    told = "applications/hello new, config/domain.yaml edited, 1 file changed in docroot, lib deleted"
    assert summary(between(old, new)) == told


def test_many_areas_are_counted() -> None:
    trees = [[folder(f"applications/a{number}")] for number in range(9)]
    told = summary(between({}, parts(*trees)))
    assert told.startswith("applications/a0 new, ") and told.endswith(", 4 more areas")


def test_changes_lead_from_one_to_the_other() -> None:
    chance = random.Random(5)
    for _ in range(50):
        trees = [
            {
                path: file(path, str(chance.randrange(3)), mtime=chance.randrange(2))
                for path in chance.sample(PATHS, 5)
            }
            for _ in range(2)
        ]
        old, new = (
            {f"docroot/{path}": entry._replace(path=b"docroot/" + entry.path) for path, entry in tree.items()}
            for tree in trees
        )
        found = between(parts([folder("docroot"), *old.values()]), parts([folder("docroot"), *new.values()]))
        result = {entry.path: entry for entry in old.values()}
        for change in found:
            assert result.pop(change.path, None) == change.old
            if change.new is not None:
                result[change.path] = change.new
        assert result == {entry.path: entry for entry in new.values()}
        assert [change.path for change in found] == sorted((change.path for change in found), key=order)


PATHS = [f"p{number}" for number in range(8)]


def test_what_a_change_is() -> None:
    one = file("a")
    link = Entry(b"a", "l", 0o777, 0, 1, b"b")
    for old, new, what in (
        (None, one, "new"), (one, None, "deleted"), (one, link, "kind"), (one, file("a", "b"), "changed"),
        (link, link._replace(digest=b"c"), "changed"), (one, one._replace(mode=0o600), "mode"),
        (one, one._replace(mtime=2), "modtime"),
    ):  # fmt: skip
        assert Change(path=b"a", old=old, new=new).what == what
