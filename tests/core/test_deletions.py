"""What an instance would lose, and when that is worth a question."""

from __future__ import annotations

import pytest

from dasctl.core.deletions import Loss, Losses, chosen_by, told
from dasctl.core.slices import Part
from dasctl.remote.manifest import Entry, digest_of, encode, order


def part(name: str, *files: str, content: str = "") -> Part:
    """A part with these files; each has a content of its own, or `content`."""
    entries = [Entry(name.encode(), "d", 0o755, 0, 1, b"-")]
    for file in files:
        digest = digest_of((content or file.rpartition("/")[2]).encode()).encode()
        entries.append(Entry(f"{name}/{file}".encode(), "f", 0o644, 1, 1, digest))
    data = encode(sorted(entries, key=lambda entry: order(entry.path)))
    return Part(name=name, digest=digest_of(data), data=data)


def numbered(count: int, stem: str = "p") -> list[str]:
    return [f"{stem}{number}" for number in range(count)]


CONFIG = part("config", "domain.yaml", "a")
LIB = part("lib", *numbered(10, "l"))


def loss(
    old: list[Part], new: list[Part], deployed: tuple[str, ...] = (), **chosen: tuple[str, ...]
) -> Loss | None:
    kept = {each.digest: each.data for each in old}
    words = {"only": None, "exclude": None, "keep": ()} | chosen
    return Losses(kept_part=kept.get).of(
        {each.name: each.digest for each in old}, new, deployed=deployed, chosen=chosen_by(**words)
    )  # fmt: skip


DOCROOT = part("docroot", *numbered(300))
CASES = [
    ("nothing differs", [CONFIG, DOCROOT], [CONFIG, DOCROOT], None),
    ("a file came", [LIB], [part("lib", *numbered(11, "l"))], None),
    ("contents changed in place", [DOCROOT], [part("docroot", *numbered(300), content="new")], None),
    ("half, and no more", [part("docroot", *numbered(400))], [part("docroot", *numbered(200))], False),
    ("more than half", [part("docroot", *numbered(400))], [part("docroot", *numbered(199))], True),
    ("a hundred", [part("docroot", *numbered(101))], [part("docroot", "p0")], False),
    ("more than a hundred", [part("docroot", *numbered(102))], [part("docroot", "p0")], True),
    ("more than half of an area, not of the instance",
     [LIB, DOCROOT, part("config", *numbered(300, "c"))],
     [LIB, part("docroot", "p1"), part("config", *numbered(300, "c"))], False),
    ("an empty area", [CONFIG, LIB, DOCROOT], [CONFIG, part("lib"), DOCROOT], True),
    ("an area that is gone", [CONFIG, LIB, DOCROOT], [CONFIG, DOCROOT], True),
    ("an empty area that had nothing", [CONFIG, part("lib"), DOCROOT], [CONFIG, DOCROOT], None),
    ("config with dasctl's own part alone", [CONFIG, DOCROOT], [part("config", "domain.yaml"), DOCROOT], True),
    ("a folder was renamed",
     [DOCROOT], [part("docroot", *(f"new/{name}" for name in numbered(300)))], False),
    ("an area was renamed", [DOCROOT, LIB], [part("lib", *numbered(10, "l"), *numbered(300))], False),
    ("renamed and changed", [DOCROOT],
     [part("docroot", *(f"new/{name}" for name in numbered(300)), content="x")], True),
    ("one came of three hundred that were alike",
     [part("docroot", *numbered(300), content="same")], [part("docroot", "other", content="same")], True),
]  # fmt: skip


@pytest.mark.parametrize(("case", "old", "new", "is_mass"), CASES, ids=[case[0] for case in CASES])
def test_what_is_a_mass_deletion(case: str, old: list[Part], new: list[Part], is_mass: bool | None) -> None:
    found = loss(old, new)
    assert (None if found is None else found.is_mass) is is_mass


def test_numbers_and_areas() -> None:
    found = loss([CONFIG, LIB, DOCROOT], [CONFIG, LIB])
    assert found == Loss(files=312, deleted=300, areas=("docroot",), moved=0)
    assert str(found) == "300 of 312 files would be deleted (all of docroot)"


def test_an_application_is_missed_only_where_it_is_deployed() -> None:
    old, new = [part("applications/hello", "h"), DOCROOT], [DOCROOT]
    undeployed, missing = loss(old, new), loss(old, new, deployed=("applications/hello",))
    assert undeployed is not None and not undeployed.is_mass
    assert missing is not None and missing.areas == ("applications/hello",)


def test_what_moved_may_look_like_a_mass_deletion_to_the_node() -> None:
    found = loss([DOCROOT], [part("docroot", *(f"new/{name}" for name in numbered(300)))])
    assert found == Loss(files=300, deleted=0, moved=300) and found.looks_like_it
    assert not Loss(files=300, deleted=3, moved=20).looks_like_it


def test_only_what_is_chosen_counts() -> None:
    assert loss([LIB, DOCROOT], [LIB], only=("^lib/",)) is None
    assert loss([LIB, DOCROOT], [LIB], exclude=("^docroot/",)) is None
    assert loss([LIB, DOCROOT], [LIB], keep=("p[0-9]*$",)) is None
    found = loss([LIB, DOCROOT], [LIB], keep=("p[1-9]*$",))
    assert found is not None and 0 < found.deleted < 100


def test_what_is_not_known_any_more_is_not_counted() -> None:
    assert Losses(kept_part=lambda digest: None).of({"docroot": "gone"}, [], deployed=()) is None


def test_links_count_as_files() -> None:
    data = encode([Entry(b"lib", "d", 0o755, 0, 1, b"-"), Entry(b"lib/a b", "l", 0o777, 0, 1, b"x y")])
    found = loss([Part(name="lib", digest=digest_of(data), data=data)], [])
    assert found is not None and (found.files, found.deleted, found.areas) == (1, 1, ("lib",))


def test_the_same_loss_is_told_once() -> None:
    same, other = Loss(files=2000, deleted=1900), Loss(files=10, deleted=10, areas=("lib", "docroot"))
    assert told({"web1": same, "db": other, "web2": same}) == (
        "web[1-2]: 1,900 of 2,000 files would be deleted",
        "db: 10 of 10 files would be deleted (all of lib, docroot)",
    )
