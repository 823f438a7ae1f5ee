"""Deltas of contents: what is made of the instructions is the new content, whatever both are; and they are small."""

from __future__ import annotations

import io
import json
import mmap
import random
import time
import zipfile
import zlib
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasctl.core.delta import delta


def ops(instructions: bytes) -> tuple[array[int], array[int], array[int], bytes, int]:
    """The instructions as docs/protocol.md has them: seeks, copies, inserts, inserted bytes, size of the result."""
    line, _, rest = instructions.partition(b"\n")
    header = json.loads(line)
    assert header["format"] == 1
    count = header["ops"]
    seeks, copies, inserts = array("q"), array("I"), array("I")
    seeks.frombytes(rest[: 8 * count])
    copies.frombytes(rest[8 * count : 12 * count])
    inserts.frombytes(rest[12 * count : 16 * count])
    return seeks, copies, inserts, rest[16 * count :], header["size"]


def applied(base: bytes, instructions: bytes) -> bytes:
    """What the instructions make of `base`; they must fit exactly."""
    seeks, copies, inserts, inserted, size = ops(instructions)
    made, at, taken = bytearray(), 0, 0
    for seek, copy, insert in zip(seeks, copies, inserts, strict=True):
        at += seek
        assert 0 <= at <= at + copy <= len(base)
        made += base[at : at + copy]
        at += copy
        made += inserted[taken : taken + insert]
        taken += insert
    assert taken == len(inserted)
    assert len(made) == size
    return bytes(made)


def check(old: bytes, new: bytes) -> bytes:
    """The instructions, tried out; the helper's own reading of them gives the same in tests/remote."""
    instructions = delta(old, new)
    assert applied(old, instructions) == new
    return instructions


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def words(seed: int, count: int) -> bytes:
    chance = random.Random(seed)
    return b" ".join(b"word%d" % chance.randrange(2_000) for _ in range(count))


PLAIN = [
    ("both empty", b"", b""),
    ("old empty", b"", b"abc"),
    ("new empty", b"abc", b""),
    ("equal", b"abc" * 1_000, b"abc" * 1_000),
    ("one byte", b"a", b"b"),
    ("a prefix", b"a" * 500, b"a" * 300),
    ("longer", b"a" * 300, b"a" * 500),
    ("period of two", b"ab" * 5_000, b"ba" * 4_999),
    ("zeros with a mark", bytes(70_000) + b"x" + bytes(70_000), bytes(10_000) + b"y" + bytes(130_000)),
    ("unrelated", noise(1, 40_000), noise(2, 50_000)),
]


@pytest.mark.parametrize(("old", "new"), [case[1:] for case in PLAIN], ids=[case[0] for case in PLAIN])
def test_plain_cases(old: bytes, new: bytes) -> None:
    check(old, new)


def test_equal_contents_are_one_copy() -> None:
    seeks, copies, inserts, inserted, _ = ops(check(noise(1, 100_000), noise(1, 100_000)))
    assert (list(seeks), list(copies), list(inserts), inserted) == ([0], [100_000], [0], b"")


def test_an_insertion_costs_its_own_bytes() -> None:
    old, new = noise(1, 300_000), noise(2, 5_000)
    made = check(old, old[:150_000] + new + old[150_000:])
    assert ops(made)[3] == new


@pytest.mark.parametrize("make", [noise, words])
@pytest.mark.parametrize("at", [0, 1, 77_777, 150_000])
def test_several_edits_cost_little(make: object, at: int) -> None:
    old = make(1, 200_000)  # type: ignore[operator]
    new = old[:at] + b"inserted" + old[at : at + 30_000] + old[at + 30_100 :] + b"at the end"
    new = new[:100_000] + b"!" + new[100_001:]
    assert len(check(old, new)) < 700


def test_swapped_halves_cost_next_to_nothing() -> None:
    old = noise(3, 3_000_000)
    assert len(check(old, old[1_700_000:] + old[:1_700_000])) < 300


def test_a_far_block_used_again_is_copied() -> None:
    old, fresh = noise(4, 4_000_000), noise(5, 20_000)
    new = old[:3_500_000] + fresh + old[100_000:400_000] + old[3_500_000:]
    assert len(check(old, new)) < len(fresh) + 1_000


def archive(seconds: int, changed: tuple[int, ...] = (), entries: int = 500) -> bytes:
    """A .war whose entries all bear the time of the build, and of which some classes are others."""
    chance = random.Random(7)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for number in range(entries):
            data = b" ".join(b"method%d" % chance.randrange(5_000) for _ in range(chance.randint(300, 3_000)))
            if number in changed:
                data = data[:900] + b" and a new line of code " + data[900:]
            entry = zipfile.ZipInfo(f"WEB-INF/classes/shop/Class{number}.class", time.gmtime(seconds)[:6])
            made.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def test_a_rebuilt_archive_costs_its_changed_classes_and_a_little() -> None:
    old, new = archive(1_600_000_000), archive(1_600_003_600, changed=(3, 250, 499))
    made = check(old, new)
    assert len(zlib.compress(made)) < len(new) // 50
    assert len(ops(made)[3]) < 40_000


@pytest.mark.parametrize(
    ("description", "old", "new"),
    [
        ("each 17th byte differs", bytes(2_000_000), b"".join([bytes(16) + b"x"] * 100_000)),
        ("pattern matches everywhere", b"\x06\x00\x02\x06" * 300_000, b"?" + b"\x06\x00\x02\x06" * 290_000 + b"?"),
        ("zeros and ones", bytes(random.Random(1).choices(b"01", k=800_000)), b"1" * 400_000 + b"01" * 200_000),
        ("random", noise(1, 3_000_000), noise(2, 3_000_000)),
    ],
)  # fmt: skip
def test_hostile_contents_take_bounded_time(description: str, old: bytes, new: bytes) -> None:
    started = time.process_time()
    check(old, new)
    assert time.process_time() - started < 20, description  # seconds; quadratic would be hours


def test_mapped_files_and_views_are_taken(tmp_path: Path) -> None:
    old, new = noise(1, 50_000), noise(1, 50_000)[:20_000] + b"more"
    (tmp_path / "old").write_bytes(old)
    with (
        (tmp_path / "old").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        assert applied(old, delta(mapped, new)) == new
    assert delta(memoryview(old), bytearray(new)) == delta(old, new)


pieces = st.one_of(
    st.binary(max_size=200),
    st.builds(noise, st.integers(0, 5), st.integers(0, 5_000)),
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(0, 3_000)),
)
edits = st.tuples(
    st.sampled_from(["insert", "delete", "replace", "move", "double"]),
    st.floats(0, 1),
    st.floats(0, 1),
    pieces,
)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(pieces, max_size=6), changes=st.lists(edits, max_size=6))
def test_any_edits_of_any_content(parts: list[bytes], changes: list[tuple[str, float, float, bytes]]) -> None:
    old = new = b"".join(parts)
    for kind, at, to, more in changes:
        start, stop = sorted((int(at * len(new)), int(to * len(new))))
        cut = new[start:stop]
        new = {
            "insert": new[:start] + more + new[start:],
            "delete": new[:start] + new[stop:],
            "replace": new[:start] + more[: stop - start] + new[stop:],
            "move": cut + new[:start] + new[stop:],
            "double": new + cut,
        }[kind]
    check(old, new)


@settings(max_examples=100, deadline=None)
@given(old=st.binary(max_size=300), new=st.binary(max_size=300))
def test_any_two_contents(old: bytes, new: bytes) -> None:
    check(old, new)
