"""One suite for both kinds of objects; below it, what only files on a disk can get wrong."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dasctl.adapters import object_deltas
from dasctl.adapters import objects as objects_module
from dasctl.adapters.memory_objects import MemoryObjects
from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.adapters.objects import FolderObjects
from dasctl.core import packing
from dasctl.core.exchange import PIECE, Piece
from dasctl.errors import HistoryError, ObjectLost
from dasctl.operations.ports import Objects
from tests.core.test_delta import applied, noise, words


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(kw_only=True)
class Domain:
    """Objects, and the working files that they are made of."""

    objects: Objects
    put: Callable[[bytes, bytes], None]
    remove: Callable[[bytes], None]
    lose: Callable[[str], None]
    damage: Callable[[str], None]

    def keep(self, *contents: bytes) -> list[str]:
        """Keep these, each as a working file of its own; their digests."""
        wanted = {}
        for number, data in enumerate(contents):
            path = b"docroot/%d \xff\n" % number
            self.put(path, data)
            wanted[sha(data)] = path
        assert self.objects.keep(wanted) == {}
        return [sha(data) for data in contents]


@pytest.fixture(params=["folder", "memory"])
def domain(request: pytest.FixtureRequest, tmp_path: Path) -> Domain:
    return on_disk(tmp_path) if request.param == "folder" else in_memory()


def on_disk(root: Path) -> Domain:
    def place(path: bytes) -> Path:
        return root / os.fsdecode(path)

    def put(path: bytes, data: bytes) -> None:
        place(path).parent.mkdir(parents=True, exist_ok=True)
        place(path).write_bytes(data)

    def damage(digest: str) -> None:
        data = bytearray(file_of(root, digest).read_bytes())
        data[-1] ^= 1
        file_of(root, digest).write_bytes(data)

    return Domain(
        objects=FolderObjects(root), put=put, remove=lambda path: place(path).unlink(),
        lose=lambda digest: file_of(root, digest).unlink(), damage=damage,
    )  # fmt: skip


def in_memory() -> Domain:
    repository = MemoryRepository()
    objects = MemoryObjects(repository)

    def damage(digest: str) -> None:
        objects.kept[digest] = objects.kept[digest][:-1] + b"?"

    return Domain(
        objects=objects, put=repository.put_file, remove=repository.remove,
        lose=lambda digest: objects.kept.pop(digest), damage=damage,  # type: ignore[arg-type, return-value]
    )  # fmt: skip


def file_of(root: Path, digest: str) -> Path:
    return root / ".dasctl" / "objects" / digest[:2] / digest


def again(domain: Domain, root: Path) -> Domain:
    """The same as another command sees it: what is damaged was not seen by this process yet."""
    if isinstance(domain.objects, FolderObjects):
        domain.objects = FolderObjects(root)
    return domain


def raw(pieces: Iterable[Piece]) -> bytes:
    """The content; each piece must be what it says."""
    made = []
    for piece in pieces:
        data = zlib.decompress(piece.data) if piece.packed else piece.data
        assert len(data) == piece.raw <= PIECE
        made.append(data)
    return b"".join(made)


CONTENTS = [
    ("empty", b""),
    ("one byte", b"x"),
    ("text", words(1, 900)),
    ("noise", noise(1, 5_000)),
    ("a piece", bytes(PIECE)),
    ("a piece and a byte", noise(2, PIECE + 1)),
    ("large text", words(2, 200_000)),
    ("large noise", noise(3, 3 * PIECE)),
    ("both", words(3, 60_000) + noise(4, 2 * PIECE) + words(5, 60_000)),
    ("what looks like an object", b"DASCTL-OBJECT-1 00000000000000000001\nhello"),
    ("what looks like a large one", b"DASCTL-OBJECT-1 " + noise(6, PIECE + 5)),
]


@pytest.mark.parametrize("data", [case[1] for case in CONTENTS], ids=[case[0] for case in CONTENTS])
def test_what_is_kept_comes_back(domain: Domain, data: bytes, tmp_path: Path) -> None:
    (digest,) = domain.keep(data)
    for _ in range(2):
        pieces = list(domain.objects.pieces(digest))
        assert raw(pieces) == data
        assert domain.objects.packed_size(digest) == sum(len(piece.data) for piece in pieces)
        assert len(pieces) == max(-(-len(data) // PIECE), 1)
        assert all(piece.raw == PIECE for piece in pieces[:-1])
        domain = again(domain, tmp_path)


def test_pieces_begin_at_an_offset(domain: Domain) -> None:
    data = words(1, 200_000)
    (digest,) = domain.keep(data)
    for offset in range(0, len(data), PIECE):
        assert raw(domain.objects.pieces(digest, offset=offset)) == data[offset:]


@pytest.mark.parametrize("data", [case[1] for case in CONTENTS], ids=[case[0] for case in CONTENTS])
def test_pieces_as_they_are(domain: Domain, data: bytes, tmp_path: Path) -> None:
    """Of the command that kept them, of another one, and without the working file."""
    (digest,) = domain.keep(data)
    for turn in range(4):
        pieces = list(domain.objects.pieces(digest, as_they_are=True))
        assert not any(piece.packed for piece in pieces)
        assert raw(pieces) == data
        assert len(pieces) == max(-(-len(data) // PIECE), 1)
        assert all(piece.raw == PIECE for piece in pieces[:-1])
        for offset in range(0, len(data), PIECE):
            assert raw(domain.objects.pieces(digest, offset=offset, as_they_are=True)) == data[offset:]
        if turn == 1:
            domain.remove(b"docroot/0 \xff\n")
        domain = again(domain, tmp_path)


def test_a_working_file_that_has_changed_is_not_sent_for_what_it_was(domain: Domain) -> None:
    contents = [words(1, 900), noise(1, 2 * PIECE)]
    digests = domain.keep(*contents)
    for number, data in enumerate(contents):
        domain.put(b"docroot/%d \xff\n" % number, data[:-1] + b"?")
    for digest, data in zip(digests, contents, strict=True):
        assert raw(domain.objects.pieces(digest, as_they_are=True)) == data


@pytest.mark.parametrize("fault", ["lose", "damage"])
@pytest.mark.parametrize("data", [words(1, 900), noise(1, 2 * PIECE)], ids=["small", "large"])
def test_what_is_lost_is_not_sent_as_it_is(domain: Domain, fault: str, data: bytes, tmp_path: Path) -> None:
    (digest,) = domain.keep(data)
    getattr(domain, fault)(digest)
    domain = again(domain, tmp_path)
    domain.remove(b"docroot/0 \xff\n")
    with pytest.raises(ObjectLost, match=digest):
        list(domain.objects.pieces(digest, as_they_are=True))


def test_has(domain: Domain) -> None:
    (digest,) = domain.keep(b"hello")
    assert domain.objects.has(digest)
    assert not domain.objects.has(sha(b"other"))


def test_a_file_that_holds_another_content_is_told(domain: Domain) -> None:
    domain.put(b"docroot/a", b"new")
    domain.put(b"docroot/b", b"right")
    wanted = {sha(b"old"): b"docroot/a", sha(b"right"): b"docroot/b", sha(b"gone"): b"docroot/none"}
    assert domain.objects.keep(wanted) == {sha(b"old"): b"docroot/a", sha(b"gone"): b"docroot/none"}
    assert not domain.objects.has(sha(b"old"))
    assert domain.objects.has(sha(b"right"))


def test_what_is_kept_needs_its_file_no_more(domain: Domain) -> None:
    (digest,) = domain.keep(b"hello")
    domain.remove(b"docroot/0 \xff\n")
    assert domain.objects.keep({digest: b"docroot/0 \xff\n"}) == {}
    assert raw(domain.objects.pieces(digest)) == b"hello"


def test_many_small_and_some_large(domain: Domain) -> None:
    contents = [b"%d " % number * (number % 40) + b"%d" % number for number in range(700)]
    contents += [noise(1, 600_000), words(1, 100_000)]
    for digest, data in zip(domain.keep(*contents), contents, strict=True):
        assert raw(domain.objects.pieces(digest)) == data


@pytest.mark.parametrize("fault", ["lose", "damage"])
@pytest.mark.parametrize(
    "data", [words(1, 90_000), noise(1, 600_000), b"small"], ids=["text", "noise", "small"]
)
def test_what_is_lost_is_made_anew_from_the_working_file(
    domain: Domain, fault: str, data: bytes, tmp_path: Path
) -> None:
    (digest,) = domain.keep(data)
    getattr(domain, fault)(digest)
    domain = again(domain, tmp_path)
    assert domain.objects.keep({digest: b"docroot/0 \xff\n"}) == {}
    assert raw(domain.objects.pieces(digest)) == data
    assert domain.objects.check([digest]) == {}


@pytest.mark.parametrize("fault", ["lose", "damage"])
def test_what_no_file_holds_is_lost(domain: Domain, fault: str, tmp_path: Path) -> None:
    digest, other = domain.keep(b"hello" * 100_000, b"other")
    getattr(domain, fault)(digest)
    domain.put(b"docroot/0 \xff\n", b"another content")
    domain = again(domain, tmp_path)
    with pytest.raises(ObjectLost, match=digest):
        list(domain.objects.pieces(digest))
    assert list(domain.objects.check([digest, other])) == [digest]


def test_one_that_was_never_kept_is_lost(domain: Domain) -> None:
    with pytest.raises(ObjectLost):
        domain.objects.packed_size(sha(b"never"))
    with pytest.raises(ObjectLost):
        list(domain.objects.pieces(sha(b"never")))


def test_a_delta_makes_the_one_of_the_other(domain: Domain, tmp_path: Path) -> None:
    old = noise(1, 3 * PIECE)
    new = old[:PIECE] + b"inserted" + old[PIECE + 7 :]
    base, digest = domain.keep(old, new)
    for _ in range(2):
        made = domain.objects.delta(base, digest)
        assert made is not None
        assert len(made) < 1_000
        assert applied(old, zlib.decompress(made)) == new
        domain = again(domain, tmp_path)


def test_a_large_content_that_replaces_another_is_packed_when_its_pieces_are_wanted(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    old = words(1, 300_000)
    new = old[: len(old) // 2] + b"inserted" + old[len(old) // 2 :]
    (base,) = domain.keep(old)
    packed = domain.objects.packed_size(base)
    domain.put(b"docroot/0 \xff\n", new)
    digest = sha(new)
    assert domain.objects.keep({digest: b"docroot/0 \xff\n"}, replacing=[digest]) == {}
    place = tmp_path / ".dasctl" / "objects" / digest[:2] / digest
    assert place.read_bytes() == new
    domain = again(domain, tmp_path)
    made = domain.objects.delta(base, digest)
    assert made is not None
    assert applied(old, zlib.decompress(made)) == new
    assert place.read_bytes() == new  # a delta is not packed for
    assert domain.objects.check([digest]) == {}
    for _ in range(2):
        domain = again(domain, tmp_path)
        assert packed <= domain.objects.packed_size(digest) < packed + 1_000
        assert raw(domain.objects.pieces(digest)) == new
        assert place.stat().st_size < len(new) // 2


def test_what_was_to_be_packed_later_and_is_damaged_is_told(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    data = words(1, 300_000)
    domain.put(b"docroot/0 \xff\n", data)
    digest = sha(data)
    domain.objects.keep({digest: b"docroot/0 \xff\n"}, replacing=[digest])
    place = tmp_path / ".dasctl" / "objects" / digest[:2] / digest
    place.write_bytes(data[:-1] + b"?")
    domain.remove(b"docroot/0 \xff\n")
    domain = again(domain, tmp_path)
    with pytest.raises(ObjectLost, match=digest):
        list(domain.objects.pieces(digest))
    assert not list((tmp_path / ".dasctl" / "objects" / "new").iterdir())


def test_a_delta_that_is_not_worth_it_is_none(domain: Domain, tmp_path: Path) -> None:
    base, digest, small = domain.keep(noise(1, 50_000), noise(2, 50_000), b"small")
    for _ in range(2):
        assert domain.objects.delta(base, digest) is None
        assert domain.objects.delta(small, digest) is None
        assert domain.objects.delta(sha(b"never"), digest) is None
        assert domain.objects.delta(base, sha(b"never")) is None
        domain = again(domain, tmp_path)


def test_what_nobody_needs_goes_when_it_is_time(domain: Domain) -> None:
    keeping, going = domain.keep(b"needed", b"not needed")
    asked = []

    def needed() -> list[str]:
        asked.append(True)
        return [keeping]

    gone = sum(domain.objects.collect(needed) for _ in range(objects_module.EVERY))
    assert gone == 1
    assert asked
    assert domain.objects.has(keeping)
    assert not domain.objects.has(going)


def test_from_several_threads(domain: Domain) -> None:
    contents = [words(number, 3_000) for number in range(30)]
    digests = domain.keep(*contents)
    faults: list[BaseException] = []

    def use() -> None:
        try:
            for digest, data in zip(digests, contents, strict=True):
                assert domain.objects.keep({digest: b"docroot/none"}) == {}
                assert raw(domain.objects.pieces(digest)) == data
                domain.objects.delta(digests[0], digest)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


# On a disk.


def test_what_replaces_another_is_not_packed_to_be_sent_as_it_is(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    data = words(1, 300_000)
    domain.put(b"docroot/a", data)
    assert domain.objects.keep({sha(data): b"docroot/a"}, replacing=[sha(data)]) == {}
    assert raw(domain.objects.pieces(sha(data), as_they_are=True)) == data
    assert file_of(tmp_path, sha(data)).read_bytes() == data


@pytest.mark.parametrize("packer", ["isal.isal_zlib", "zlib"])
def test_whatever_packs_every_python_unpacks(packer: str) -> None:
    """As helpers on nodes do, which have the standard library alone."""
    compress = pytest.importorskip(packer).compress
    for data in (b"", b"x", words(1, 900), words(2, 60_000), noise(1, PIECE), bytes(PIECE)):
        unpacking = zlib.decompressobj()
        assert unpacking.decompress(compress(data, packing.LEVEL)) == data
        assert unpacking.eof
        assert not unpacking.unused_data


def test_objects_are_plain_files_in_a_closed_folder(tmp_path: Path) -> None:
    data = noise(1, 400_000)
    (digest,) = on_disk(tmp_path).keep(data)
    assert file_of(tmp_path, digest).read_bytes() == data
    assert (tmp_path / ".dasctl").stat().st_mode & 0o777 == 0o700


def test_damage_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    domain = on_disk(tmp_path)
    (digest,) = domain.keep(b"hello" * 1_000)
    file_of(tmp_path, digest).write_bytes(b"")
    domain = again(domain, tmp_path)
    with caplog.at_level(logging.WARNING):
        domain.objects.keep({digest: b"docroot/0 \xff\n"})
        assert raw(domain.objects.pieces(digest)) == b"hello" * 1_000
    assert digest in caplog.text
    assert "docroot/0" in caplog.text


@pytest.mark.parametrize("size", [0, 1, 20, 36, 37, 40, 50, -1])
def test_no_truncation_passes_for_sound(tmp_path: Path, size: int) -> None:
    domain = on_disk(tmp_path)
    digest, large = domain.keep(b"hello" * 1_000, words(1, 200_000))
    for one in (digest, large):
        held = file_of(tmp_path, one).read_bytes()
        file_of(tmp_path, one).write_bytes(held[:size])
    fresh = FolderObjects(tmp_path)
    assert set(fresh.check([digest, large])) == {digest, large}


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    (tmp_path / ".dasctl").write_bytes(b"a file in its place")
    domain.put(b"docroot/a", b"hello")
    with pytest.raises(HistoryError) as caught:
        domain.objects.keep({sha(b"hello"): b"docroot/a"})
    assert "writable" in caught.value.hint


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_what_has_become_something_else_holds_another_content(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "thing")
    assert FolderObjects(tmp_path).keep({sha(b"hello"): b"thing"}) == {sha(b"hello"): b"thing"}


def test_a_damaged_delta_is_made_again(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    base, digest = domain.keep(noise(1, 50_000), noise(1, 50_000) + b"more")
    made = domain.objects.delta(base, digest)
    (file,) = (tmp_path / ".dasctl" / "deltas").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert domain.objects.delta(base, digest) == made


def test_deltas_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_deltas, "KEPT", 1_000)
    old = noise(1, 50_000)
    base, *others = on_disk(tmp_path).keep(old, *(old + noise(number, 200) for number in range(2, 22)))
    objects = FolderObjects(tmp_path)
    for digest in others:
        assert objects.delta(base, digest) is not None
        kept = list((tmp_path / ".dasctl" / "deltas").iterdir())
        assert sum(file.stat().st_size for file in kept) <= 1_000
    assert kept


def test_large_contents_are_mapped(tmp_path: Path) -> None:
    old = words(1, 3_000_000)
    assert len(old) > 17 << 20
    base, digest = on_disk(tmp_path).keep(old, old[:9_000_000] + b"new" + old[9_000_000:])
    made = FolderObjects(tmp_path).delta(base, digest)
    assert made is not None
    assert len(made) < 500
    (only,) = (tmp_path / ".dasctl" / "deltas").iterdir()
    assert only.name == f"{base}-{digest}"


def test_leftovers_of_killed_commands_go(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    domain.keep(b"hello")
    left = tmp_path / ".dasctl" / "objects" / "new" / "999999999-1"
    left.write_bytes(b"half")
    for _ in range(objects_module.EVERY):
        domain.objects.collect(lambda: [sha(b"hello")])
    assert not left.exists()


def test_a_snapshot_holds_the_beginning(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    domain.put(b"docroot/log", b"line\n" * 100)
    objects = FolderObjects(tmp_path)
    assert objects.snapshot(b"docroot/log", 50) == sha(b"line\n" * 10)
    assert raw(objects.pieces(sha(b"line\n" * 10))) == b"line\n" * 10
    assert objects.snapshot(b"docroot/log", 501) is None


KEEPING = """
import hashlib, os, sys
from dasctl.adapters.objects import FolderObjects
root = sys.argv[1]
paths = {}
for name in os.listdir(root + "/docroot"):
    data = open(root + "/docroot/" + name, "rb").read()
    paths[hashlib.sha256(data).hexdigest()] = b"docroot/" + name.encode()
print("begins", flush=True)
FolderObjects(root).keep(paths)
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.03, 0.06, 0.1])
def test_a_kill_leaves_nothing_wrong_under_a_name(tmp_path: Path, wait_s: float) -> None:
    chance = random.Random(1)
    (tmp_path / "docroot").mkdir()
    for number in range(400):
        (tmp_path / "docroot" / f"f{number}").write_bytes(
            chance.randbytes(chance.randrange(40_000)) + words(number, 2_000)
        )
    command = [sys.executable, "-c", KEEPING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begins\n"
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
    objects = FolderObjects(tmp_path)
    there = [file.name for file in (tmp_path / ".dasctl" / "objects").glob("??/*")]
    assert objects.check(there) == {}


def test_a_delta_of_a_file_that_has_changed_since_is_made_of_the_object(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    old = words(3, 400_000)
    new = old[: PIECE + 5] + b"inserted" + old[PIECE + 5 :]
    base, digest = domain.keep(old, new)
    for number in range(2):
        domain.put(b"docroot/%d \xff\n" % number, b"another content by now")
    made = domain.objects.delta(base, digest)
    assert made is not None
    assert applied(old, zlib.decompress(made)) == new


def test_a_damaged_base_makes_no_delta(tmp_path: Path) -> None:
    domain = on_disk(tmp_path)
    old = words(3, 400_000)
    base, digest = domain.keep(old, old + b"more")
    (tmp_path / "docroot").rename(tmp_path / "gone")
    domain.damage(base)
    assert FolderObjects(tmp_path).delta(base, digest) is None
    assert not any((tmp_path / ".dasctl" / "deltas").iterdir())
