"""One suite for both repositories; below it, what only a folder on a disk can get wrong."""

import contextlib
import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from dasctl.adapters import tree_hash, tree_index
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.tree import FolderRepository
from dasctl.core.domain import Application, Areas, Domain, Patterns, Settings
from dasctl.errors import RepositoryError
from dasctl.remote import manifest
from dasctl.remote.manifest import digest_of

OLD_NS = 1_600_000_000_123_456_789


def domain_of(*applications: str, exclude: tuple[str, ...] = ()) -> Domain:
    return Domain(
        format=1,
        domain=Settings(name="shop", id="6f1c", exclude=list(exclude)),
        applications={name: Application() for name in applications},
    )


class Folder(FolderRepository):
    """A repository on disk, with the memory repository's words to fill it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = os.fsencode(root)
        self.put_file(b"config/domain.yaml", b"format: 1\n")

    def put_file(self, path: bytes, data: bytes, *, mode: int = 0o644, mtime: int = OLD_NS) -> None:
        place = self._place(path)
        with open(place, "wb") as file:
            file.write(data)
        os.chmod(place, mode)
        os.utime(place, ns=(mtime, mtime))

    def put_folder(self, path: bytes, *, mode: int = 0o755, mtime: int = OLD_NS) -> None:
        place = self._place(path)
        os.makedirs(place, exist_ok=True)
        os.chmod(place, mode)
        os.utime(place, ns=(mtime, mtime))

    def put_link(self, path: bytes, target: bytes, *, mtime: int = OLD_NS) -> None:
        os.symlink(target, self._place(path))
        os.utime(self._place(path), ns=(mtime, mtime), follow_symlinks=False)

    def put_pipe(self, path: bytes) -> None:
        os.mkfifo(self._place(path))

    def remove(self, path: bytes) -> None:
        place = self._place(path)
        if os.path.isdir(place) and not os.path.islink(place):
            for name in os.listdir(place):
                self.remove(path + b"/" + name)
            os.rmdir(place)
        else:
            os.unlink(place)

    def _place(self, path: bytes) -> bytes:
        place = self.root + b"/" + path
        parts = place.split(b"/")
        for end in range(self.root.count(b"/") + 1, len(parts)):
            above = b"/".join(parts[:end])
            if not os.path.isdir(above):
                os.makedirs(above)
        return place


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "shop")


@pytest.fixture(params=["folder", "memory"])
def repository(request, tmp_path):
    return MemoryRepository() if request.param == "memory" else Folder(tmp_path / "shop")


def scan(repository, domain=None, criterion="modtime"):
    return repository.scan(domain or domain_of(), criterion=criterion)


def paths_in(repository, area: str, domain=None, criterion="modtime") -> list[bytes]:
    return [entry.path for entry in scan(repository, domain, criterion).areas[area].entries]


def problems_of(repository, domain=None) -> dict[bytes, str]:
    return {problem.path: problem.message for problem in scan(repository, domain).problems}


def content(repository, path: bytes, piece: int = 1000) -> bytes:
    return b"".join(repository.read(path, piece=piece))


def test_an_empty_repository(repository):
    found = scan(repository)
    assert list(found.areas) == ["config"]
    assert paths_in(repository, "config") == [b"config"]
    assert found.problems == ()
    assert found.domain_yaml == digest_of(b"format: 1\n")


def test_entries_are_what_is_there(repository):
    repository.put_file(b"docroot/a", b"hello", mode=0o640, mtime=OLD_NS)
    repository.put_link(b"docroot/l", b"a b%", mtime=OLD_NS + 1)
    repository.put_folder(b"docroot/empty", mode=0o2750, mtime=OLD_NS + 2)
    repository.put_folder(b"docroot", mode=0o711, mtime=OLD_NS + 3)
    assert scan(repository).areas["docroot"].entries == [
        manifest.Entry(b"docroot", "d", 0o711, 0, OLD_NS + 3, b"-"),
        manifest.Entry(b"docroot/a", "f", 0o640, 5, OLD_NS, digest_of(b"hello").encode()),
        manifest.Entry(b"docroot/empty", "d", 0o2750, 0, OLD_NS + 2, b"-"),
        manifest.Entry(b"docroot/l", "l", 0o777, 0, OLD_NS + 1, b"a b%"),
    ]


def test_digests_are_of_the_bytes(repository):
    repository.put_file(b"lib/x", b"")
    for name, area in scan(repository).areas.items():
        assert (area.name, area.digest) == (name, digest_of(area.data))


def test_canonical_order_is_that_of_a_walk(repository):
    for path in (b"a/x", b"a-b", b"a.b", b"a/b/c", b"aa", b"a\x01", b"A"):
        repository.put_file(b"lib/" + path, b"")
    names = paths_in(repository, "lib")
    assert names == sorted(names, key=manifest.order)
    assert len(names) == 10


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"two\nlines", b"-rf", b" ", b"f 644 1 1 x y", b"%20", b"\x01\x7f", b"*", "é".encode(), b"n" * 255]
)  # fmt: skip
def test_names_in_any_bytes(repository, name):
    repository.put_file(b"docroot/" + name + b"/" + name, name)
    assert paths_in(repository, "docroot")[1:] == [b"docroot/" + name, b"docroot/" + name + b"/" + name]
    assert content(repository, b"docroot/" + name + b"/" + name) == name


def test_only_named_applications_are_looked_at(repository):
    for path in (b"hello/x", b"other/y", b"__internal/z"):
        repository.put_file(b"applications/" + path, b"")
    found = scan(repository, domain_of("hello"))
    assert list(found.areas) == ["applications", "config", "applications/__internal", "applications/hello"]
    assert [entry.path for entry in found.areas["applications"].entries] == [b"applications"]
    assert found.problems == ()


def test_strays_and_missing_applications_are_problems(repository):
    repository.put_file(b"applications/hello.war", b"")
    found = problems_of(repository, domain_of("gone"))
    assert set(found) == {b"applications/hello.war", b"applications/gone"}
    assert "no folder" in found[b"applications/gone"]


def test_domain_yaml_is_no_entry_but_in_the_state(repository):
    before = scan(repository)
    repository.put_file(b"config/domain.yaml", b"format: 1\n\n", mtime=OLD_NS)
    repository.put_folder(b"config", mtime=before.areas["config"].entries[0].mtime)
    after = scan(repository)
    assert before.areas == after.areas
    assert before.state != after.state


@pytest.mark.parametrize("name", [b".domain.yaml.x4k2", b".domain.yaml.swp", b"domain.yaml~"])
def test_what_is_left_beside_domain_yaml_goes_to_no_node(repository, name):
    repository.put_file(b"config/" + name, b"format: 1\n")
    repository.put_file(b"docroot/" + name, b"")
    assert paths_in(repository, "config") == [b"config"]
    assert paths_in(repository, "docroot") == [b"docroot", b"docroot/" + name]


def test_links_that_lead_out_are_refused(repository):
    repository.put_link(b"docroot/root", b"/etc/passwd")
    repository.put_link(b"docroot/up", b"../../x")
    repository.put_link(b"docroot/behind", b"good/../../..")
    repository.put_link(b"docroot/good", b"../lib/x")
    assert paths_in(repository, "docroot") == [b"docroot", b"docroot/good"]
    found = problems_of(repository)
    assert set(found) == {b"docroot/root", b"docroot/up", b"docroot/behind"}
    assert "'/etc/passwd'" in found[b"docroot/root"]


def test_a_link_to_a_folder_is_not_walked(repository):
    repository.put_file(b"lib/x", b"")
    repository.put_link(b"docroot/l", b"../lib")
    assert paths_in(repository, "docroot") == [b"docroot", b"docroot/l"]


def test_special_files_are_reported_and_left_out(repository):
    repository.put_folder(b"docroot")
    repository.put_pipe(b"docroot/p")
    assert paths_in(repository, "docroot") == [b"docroot"]
    assert problems_of(repository) == {b"docroot/p": "a named pipe is not synchronised"}


def test_an_area_leaves_out_what_it_says_and_brings_back_what_the_domain_leaves_out(repository):
    for name in (
        b"a.bak",
        b"index.bak",
        b"drafts/x",
        b"drafts/index.bak",
        b"deep/drafts/x",
        b"\xff.psd",
        b"\xff.jpg",
    ):
        repository.put_file(b"docroot/" + name, name)
    repository.put_file(b"lib/index.bak", b"")
    repository.put_file(b"applications/hello/tests/t", b"")
    repository.put_file(b"applications/hello/main", b"")
    domain = Domain(
        format=1,
        domain=Settings(name="shop", id="6f1c", exclude=["*.bak"]),
        areas=Areas(docroot=Patterns(exclude=["!index.bak", "/drafts/", "*.psd"])),
        applications={"hello": Application(exclude=["tests/"])},
    )
    for _ in range(2):  # the second time from the index
        assert [path for path in paths_in(repository, "docroot", domain) if b"." in path or b"x" in path] == [
            b"docroot/deep/drafts/x", b"docroot/index.bak", b"docroot/\xff.jpg",
        ]  # fmt: skip
        assert paths_in(repository, "lib", domain) == [b"lib"]
        assert paths_in(repository, "applications/hello", domain)[-1] == b"applications/hello/main"
    assert b"docroot/a.bak" in paths_in(repository, "docroot", domain_of("hello"))


def test_exclusions(repository):
    pytest.importorskip("dasctl.core.patterns")
    for path in (b"docroot/x.swp", b"docroot/y", b"docroot/.git/HEAD", b"lib/.git", b"lib/a.swp/b"):
        repository.put_file(path, b"")
    domain = domain_of(exclude=("*.swp", ".git/"))
    for _ in range(2):
        assert paths_in(repository, "docroot", domain) == [b"docroot", b"docroot/y"]
        assert paths_in(repository, "lib", domain) == [b"lib", b"lib/.git"]
    wider = domain_of(exclude=("*.swp",))
    assert paths_in(repository, "docroot", wider)[1:3] == [b"docroot/.git", b"docroot/.git/HEAD"]
    assert paths_in(repository, "docroot", domain_of(exclude=("y",)))[-1] == b"docroot/x.swp"
    assert "lib" not in scan(repository, domain_of(exclude=("/lib",))).areas
    assert paths_in(repository, "docroot", domain) == [b"docroot", b"docroot/y"]


@pytest.mark.parametrize("criterion", ["modtime", "hash"])
def test_every_change_shows(repository, criterion):
    repository.put_file(b"docroot/a", b"1")
    repository.put_file(b"docroot/d/b", b"1")
    states = [scan(repository, criterion=criterion).state]
    for change in (
        lambda: repository.put_file(b"docroot/a", b"2"),
        lambda: repository.put_file(b"docroot/a", b"333"),
        lambda: repository.put_file(b"docroot/a", b"333", mode=0o600),
        lambda: repository.put_file(b"docroot/a", b"333", mode=0o600, mtime=OLD_NS - 5),
        lambda: repository.remove(b"docroot/d/b"),
        lambda: repository.remove(b"docroot/d"),
        lambda: repository.remove(b"docroot"),
        lambda: repository.put_file(b"docroot/a/x", b""),
    ):
        change()
        states.append(scan(repository, criterion=criterion).state)
        assert scan(repository, criterion="hash").state == states[-1]
    assert len(set(states)) == len(states)


def test_something_else_in_an_areas_place_is_an_error(repository):
    repository.put_file(b"docroot", b"")
    with pytest.raises(RepositoryError, match="docroot is not a folder"):
        scan(repository)


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 100])
def test_reading_in_pieces(repository, piece):
    repository.put_file(b"docroot/a", b"12345678")
    pieces = list(repository.read(b"docroot/a", piece=piece))
    assert b"".join(pieces) == b"12345678"
    assert max(map(len, pieces)) <= piece


def test_reading_an_empty_file(repository):
    repository.put_file(b"docroot/a", b"")
    assert list(repository.read(b"docroot/a", piece=5)) == []


@pytest.mark.parametrize(
    "path", [b"docroot/absent", b"docroot", b"docroot/l", b"docroot/p", b"../x", b"/etc/passwd", b"", b"a/b/c"]
)  # fmt: skip
def test_what_cannot_be_read_is_an_error(repository, path):
    repository.put_file(b"docroot/a", b"")
    repository.put_link(b"docroot/l", b"a")
    repository.put_pipe(b"docroot/p")
    with pytest.raises(RepositoryError, match="cannot be read"):
        content(repository, path)


def test_published_parts_can_be_read(repository):
    entries = repository.publish({"web1": b'{"a": 1}', "web2": b""})
    assert set(entries) == {"web1", "web2"}
    for name, data in (("web1", b'{"a": 1}'), ("web2", b"")):
        entry = entries[name]
        assert (entry.kind, entry.mode, entry.size) == ("f", 0o644, len(data))
        assert entry.digest.decode() == digest_of(data)
        assert content(repository, entry.path) == data


def test_publishing_the_same_again_changes_nothing(repository):
    first = repository.publish({"web1": b"1", "web2": b"2"})
    second = repository.publish({"web1": b"1", "web2": b"changed"})
    assert second["web1"] == first["web1"]
    assert second["web2"] != first["web2"]
    assert "web2" not in repository.publish({"web1": b"1"})
    with pytest.raises(RepositoryError):
        content(repository, first["web2"].path)


def test_own_folder_is_in_no_area(repository):
    before = scan(repository).state
    repository.publish({"web1": b"1"})
    assert scan(repository).state == before


# The folder on a disk.


def test_a_socket_and_a_device_are_problems(folder):
    folder.put_folder(b"docroot")
    here = os.getcwd()
    os.chdir(folder.root + b"/docroot")  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
    finally:
        os.chdir(here)
    assert problems_of(folder) == {b"docroot/s": "a socket is not synchronised"}


@pytest.mark.parametrize("area", [b"docroot", b"lib", b"applications", b"applications/hello"])
def test_an_area_that_is_a_link_is_refused(folder, tmp_path, area):
    (tmp_path / "elsewhere").mkdir()
    folder.put_link(area, os.fsencode(tmp_path / "elsewhere"))
    with pytest.raises(RepositoryError, match="is a symbolic link") as caught:
        scan(folder, domain_of("hello"))
    assert caught.value.hint


def test_a_very_deep_tree():
    parent = tempfile.mkdtemp()
    try:
        folder = Folder(Path(parent) / "shop")
        path = b"docroot" + b"/d" * 1200
        folder.put_file(path + b"/f", b"x")
        assert paths_in(folder, "docroot")[-1] == path + b"/f"
        assert content(folder, path + b"/f") == b"x"
    finally:
        subprocess.run(["rm", "-rf", parent], check=True, timeout=60)  # shutil recurses too deep for it


def test_reading_does_not_follow_a_link_on_the_way(folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/x").write_text("secret")
    folder.put_link(b"docroot/l", b"../../secret")
    with pytest.raises(RepositoryError):
        content(folder, b"docroot/l/x")


def spoil(folder, path: bytes, data: bytes) -> None:
    """Change a file's content so that nothing but its ctime tells; then make the index believe that too."""
    place = folder.root + b"/" + path
    seen = os.stat(place)
    with open(place, "r+b") as file:
        file.write(data)
    os.utime(place, ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    index = tree_index.load(folder.root + b"/.dasctl/index")
    where, _, name = path.rpartition(b"/")
    record = index.folders[where].files[name]
    index.folders[where].files[name] = (record[0], os.stat(place).st_ctime_ns, *record[2:])
    tree_index.save(folder.root + b"/.dasctl/index", index)


def settled(folder) -> None:
    """Let the files grow older than the file system's tick."""
    time.sleep(0.05)
    scan(folder)
    time.sleep(0.05)
    scan(folder)


def test_an_unchanged_file_is_not_read_again(folder):
    folder.put_file(b"docroot/a", b"1")
    settled(folder)
    before = scan(folder).state
    spoil(folder, b"docroot/a", b"2")
    assert scan(folder).state == before
    assert scan(folder, criterion="hash").state != before


def test_a_change_that_only_ctime_tells_is_seen(folder):
    folder.put_file(b"docroot/a", b"1")
    settled(folder)
    before = scan(folder).state
    folder.put_file(b"docroot/a", b"2")
    assert scan(folder).state != before


def test_a_racy_file_is_never_believed(folder):
    for number in range(50):
        folder.put_file(b"docroot/a", b"%03d" % number)
        found = scan(folder).areas["docroot"].entries[-1]
        assert found.digest.decode() == digest_of(b"%03d" % number)


def test_a_file_from_the_future_is_not_recorded(folder):
    folder.put_file(b"docroot/a", b"1", mtime=time.time_ns() + 10**12)
    settled(folder)
    assert tree_index.load(folder.root + b"/.dasctl/index").folders[b"docroot"].files == {}


@pytest.mark.parametrize(
    "mtime, ctime, racy",
    [
        (1, 10**18 - 10**9 - 1, False),
        (1, 10**18 + 1, True),
        (1, 10**18 - tree_index.TICK_NS - 1, False),
        (1, 10**18 - tree_index.TICK_NS + 1, True),
        (10**18 + 1, 1, True),
        (1, 10**18 - 10**9, True),  # whole seconds: the file system may count in twos
        (1, 10**18 - 3 * 10**9, False),
    ],
)
def test_what_is_racy(mtime, ctime, racy):
    assert tree_index.is_racy((mtime, ctime, 0, 0, 0, b""), 10**18) == racy


def test_the_index_is_written_only_when_something_changed(folder):
    folder.put_file(b"docroot/a", b"1")
    settled(folder)
    index = folder.root + b"/.dasctl/index"
    before = os.stat(index)
    scan(folder)
    assert os.stat(index).st_ino == before.st_ino
    folder.put_file(b"docroot/b", b"1")
    settled(folder)
    assert os.stat(index).st_ino != before.st_ino
    assert stat.S_IMODE(os.stat(index).st_mode) == 0o600


def test_what_is_gone_leaves_the_index(folder):
    folder.put_file(b"docroot/d/a", b"1")
    folder.put_file(b"docroot/b", b"1")
    settled(folder)
    folder.remove(b"docroot/d")
    folder.remove(b"docroot/b")
    scan(folder)
    index = tree_index.load(folder.root + b"/.dasctl/index")
    assert set(index.folders) == {b"config", b"docroot"}
    assert index.folders[b"docroot"].files == {}


@pytest.mark.parametrize("place", [0, 5, 20, 30, 60, -1])
def test_a_damaged_index_is_as_good_as_none(folder, place):
    folder.put_file(b"docroot/a", b"1")
    settled(folder)
    before = scan(folder)
    index = Path(os.fsdecode(folder.root)) / ".dasctl/index"
    data = bytearray(index.read_bytes())
    data[place] ^= 0x20
    index.write_bytes(data)
    assert tree_index.load(os.fsencode(index)) == tree_index.Index()
    assert scan(folder) == before
    for cut in (0, 3, len(data) // 2):
        index.write_bytes(data[:cut])
        assert scan(folder) == before


def test_a_folder_that_cannot_be_written_to_is_scanned_nevertheless(folder):
    folder.put_file(b"docroot/a", b"1")
    folder.put_file(b".dasctl", b"in the way")  # root may write wherever it likes, but not below a file
    assert paths_in(folder, "docroot") == [b"docroot", b"docroot/a"]
    with pytest.raises(RepositoryError, match="cannot be written") as caught:
        folder.publish({"web1": b""})
    assert ".dasctl" in caught.value.hint


def test_large_files_side_by_side(folder):
    sizes = [tree_hash.SMALL, tree_hash.SMALL + 1, tree_hash.PIECE, 3 * tree_hash.PIECE + 7, 0, 1]
    for size in sizes:
        folder.put_file(b"lib/%09d" % size, b"x" * size)
    entries = scan(folder).areas["lib"].entries[1:]
    assert [entry.size for entry in entries] == sorted(sizes)
    assert all(entry.digest.decode() == digest_of(b"x" * entry.size) for entry in entries)


def test_files_that_come_and_go_do_not_stop_a_scan(folder):
    for number in range(300):
        folder.put_file(b"docroot/%03d" % number, b"x")
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            folder.put_file(b"docroot/churn", b"1")
            folder.remove(b"docroot/churn")
            time.sleep(0.004)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            names = paths_in(folder, "docroot", criterion="hash")
            assert len([name for name in names if name != b"docroot/churn"]) == 301
    finally:
        stop.set()
        thread.join(60)


@contextlib.contextmanager
def happening(strike):
    """`strike` is called with the log's handle all the time."""
    stop = threading.Event()

    def go_on():
        while not stop.is_set():
            strike()
            time.sleep(0.0002)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def test_a_file_that_is_rewritten_without_pause_is_an_error(folder):
    folder.put_file(b"docroot/log", b"x" * 20_000_000)
    with open(folder.root + b"/docroot/log", "r+b", buffering=0) as file:
        with happening(lambda: os.pwrite(file.fileno(), b"y", 5)):
            with pytest.raises(RepositoryError, match="docroot/log keeps changing"):
                scan(folder)
    assert scan(folder).areas["docroot"].entries[-1].size == 20_000_000


def test_a_file_that_grows_without_pause_is_taken_as_it_was(folder):
    """And kept at once, as nobody can read the same again."""
    folder.put_file(b"docroot/log", b"x" * 20_000_000)
    with open(folder.root + b"/docroot/log", "ab", buffering=0) as file, happening(lambda: file.write(b"x")):
        entry = scan(folder).areas["docroot"].entries[-1]
    assert entry.size >= 20_000_000
    assert entry.digest.decode() == hashlib.sha256(b"x" * entry.size).hexdigest()
    objects = FolderObjects(os.fsdecode(folder.root))
    assert objects.keep({entry.digest.decode(): b"docroot/log"}) == {}
    assert objects.check([entry.digest.decode()]) == {}
    assert scan(folder).areas["docroot"].entries[-1].size > entry.size


LOOK_AS_NOBODY = """
import os, sqlite3, sys
from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.history import SqliteHistory
from dasctl.core.domain import Domain, Settings
from dasctl.errors import RepositoryError
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)  # root may read everything
print(SqliteHistory(sys.argv[1]).epoch())
try:
    FolderRepository(sys.argv[1]).scan(Domain(format=1, domain=Settings(name="shop", id="6f1c")), criterion="modtime")
except RepositoryError as error:
    print(error)
    print(error.hint)
"""


def test_unreadable_files_are_all_named_and_nothing_is_left_out_silently():
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Folder(Path(parent) / "shop")
        history = SqliteHistory(os.fsdecode(folder.root))
        history.raise_epoch(7)
        history.close()
        os.chmod(folder.root + b"/.dasctl", 0o555)
        os.chmod(folder.root + b"/.dasctl/history.db", 0o444)
        for number in range(12):
            folder.put_file(b"docroot/f%02d" % number, b"", mode=0)
        folder.put_folder(b"lib/closed", mode=0)
        looked = subprocess.run(
            [sys.executable, "-c", LOOK_AS_NOBODY, folder.root], capture_output=True, text=True, timeout=120
        )
        os.chmod(folder.root + b"/lib/closed", 0o755)
    lines = looked.stdout.splitlines()
    assert looked.returncode == 0, looked.stderr
    assert lines[0] == "7"
    assert lines[1].startswith("13 of the repository's files or folders cannot be read")
    assert "  lib/closed: Permission denied" in lines
    assert "  and 3 more" in lines
    assert "exclude" in lines[-1]
