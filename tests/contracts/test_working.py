"""One suite for every Working: the files of a folder on disk, and those in memory; and what survives a kill at any point."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.adapters.memory_store import MemoryStore
from dasctl.adapters.memory_working import MemoryWorking
from dasctl.adapters.store import YamlStore
from dasctl.adapters.working import FolderWorking
from dasctl.core.moves import Move, Touch
from dasctl.errors import OperationFailed

TEXT = "format: 1\ndomain: {name: shop, id: 7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11}\n"
MTIME = 1_600_000_000_123_456_789
ODD = b"docroot/odd \xff\n name"

Seen = dict[bytes, tuple[str, int, bytes]]  # kind, mode, content


class Killed(BaseException):
    """Nothing that cleans up after errors sees it coming."""


class Disk:
    """A domain on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.working_of = lambda **more: FolderWorking(root, **more)
        self.store = YamlStore(root)

    def file(self, path: bytes, data: bytes, mode: int = 0o644) -> None:
        place = os.fsencode(self.root) + b"/" + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as out:
            out.write(data)
        os.chmod(place, mode)

    def seen(self) -> Seen:
        base = os.fsencode(self.root)
        found: Seen = {}
        for folder, folders, files in os.walk(base):
            if folder == base:
                folders.remove(b".dasctl") if b".dasctl" in folders else None
            for name in folders + files:
                path = folder + b"/" + name
                found[path[len(base) + 1 :]] = _seen(path)
        return found

    def mtime(self, path: bytes) -> int:
        return os.lstat(os.fsencode(self.root) + b"/" + path).st_mtime_ns

    def left(self) -> list[str]:
        """What is left of the making of things."""
        making = self.root / ".dasctl" / "making"
        return sorted(str(path.relative_to(making)) for path in making.rglob("*")) if making.exists() else []


class Memory:
    """The same in memory."""

    def __init__(self, root: Path) -> None:
        self.repository = MemoryRepository()
        self.store = MemoryStore(None, root=root)
        self.working_of = lambda **more: MemoryWorking(self.repository, self.store, **more)

    def file(self, path: bytes, data: bytes, mode: int = 0o644) -> None:
        self.repository.put_file(path, data, mode=mode)
        if path == b"config/domain.yaml":
            self.store.text = data.decode()

    def seen(self) -> Seen:
        things = self.repository._things
        return {
            path: (areas_kind(thing.mode), stat.S_IMODE(thing.mode), thing.data)
            for path, thing in things.items()
        }

    def mtime(self, path: bytes) -> int:
        return self.repository._things[path].mtime

    def left(self) -> list[str]:
        return []


def areas_kind(mode: int) -> str:
    return "d" if stat.S_ISDIR(mode) else "l" if stat.S_ISLNK(mode) else "f"


def _seen(path: bytes) -> tuple[str, int, bytes]:
    mode = os.lstat(path).st_mode
    kind = areas_kind(mode)
    if kind == "f":
        with open(path, "rb") as file:
            return kind, stat.S_IMODE(mode), file.read()
    return kind, stat.S_IMODE(mode), os.readlink(path) if kind == "l" else b""


@pytest.fixture(params=[Disk, Memory], ids=["disk", "memory"])
def domain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    umask = os.umask(0o022)
    yield filled(request.param(tmp_path / "shop"))
    os.umask(umask)


def filled(domain: Any) -> Any:
    domain.file(b"config/domain.yaml", TEXT.encode())
    domain.file(b"docroot/index.html", b"one")
    domain.file(b"docroot/deep/er/page.html", b"deep")
    domain.file(b"applications/hello/app.py", b"app 1")
    domain.file(b"applications/hello/old/gone.py", b"gone")
    domain.file(b"lib/a.jar", b"jar")
    domain.file(ODD, b"odd")
    return domain


def wanted(folder: Path) -> tuple[list[Move], list[Touch]]:
    """A change of every kind."""
    app = folder / "app"
    (app / "new").mkdir(parents=True)
    (app / "app.py").write_bytes(b"app 2")
    (app / "new" / "more.py").write_bytes(b"more")
    (app / "link").symlink_to("app.py")
    os.utime(app, ns=(MTIME, MTIME))
    for name, data in (
        ("page", b"two"),
        ("yaml", (TEXT + "# new\n").encode()),
        ("deep", b"a file now"),
        ("jar", b"J"),
    ):
        (folder / name).write_bytes(data)
        os.utime(folder / name, ns=(MTIME, MTIME))
    (folder / "now a folder").mkdir(mode=0o755)
    (folder / "now a folder" / "x").write_bytes(b"x")
    moves = [
        Move(to=b"docroot/index.html", staged=folder / "page"),
        Move(to=b"docroot/deep", staged=folder / "deep"),
        Move(to=b"applications/hello", staged=app),
        Move(to=b"config/domain.yaml", staged=folder / "yaml"),
        Move(to=ODD, staged=None),
        Move(to=b"never/there", staged=None),
        Move(to=b"lib/a.jar", staged=folder / "now a folder"),
        Move(to=b"applications/__internal/hello/1/hello.war", staged=folder / "jar"),
    ]
    return moves, [Touch(path=b"docroot", mode=0o750, mtime=MTIME), Touch(path=b"never/there", mtime=1)]


AFTER: Seen = {
    b"config": ("d", 0o755, b""),
    b"config/domain.yaml": ("f", 0o644, (TEXT + "# new\n").encode()),
    b"docroot": ("d", 0o750, b""),
    b"docroot/index.html": ("f", 0o644, b"two"),
    b"docroot/deep": ("f", 0o644, b"a file now"),
    b"applications": ("d", 0o755, b""),
    b"applications/__internal": ("d", 0o755, b""),
    b"applications/__internal/hello": ("d", 0o755, b""),
    b"applications/__internal/hello/1": ("d", 0o755, b""),
    b"applications/__internal/hello/1/hello.war": ("f", 0o644, b"J"),
    b"applications/hello": ("d", 0o755, b""),
    b"applications/hello/app.py": ("f", 0o644, b"app 2"),
    b"applications/hello/new": ("d", 0o755, b""),
    b"applications/hello/new/more.py": ("f", 0o644, b"more"),
    b"applications/hello/link": ("l", 0o777, b"app.py"),
    b"lib": ("d", 0o755, b""),
    b"lib/a.jar": ("d", 0o755, b""),
    b"lib/a.jar/x": ("f", 0o644, b"x"),
}


def test_a_change_of_every_kind(domain: Any) -> None:
    working = domain.working_of()
    with working.making() as folder:
        assert list(folder.iterdir()) == []
        working.put(*wanted(folder))
        assert not (folder / "page").exists() or isinstance(domain, Memory)
    assert domain.seen() == AFTER
    assert (domain.mtime(b"docroot"), domain.mtime(b"docroot/index.html")) == (MTIME, MTIME)
    assert domain.mtime(b"applications/hello") == MTIME
    assert domain.store.load().domain.name == "shop"
    assert not folder.exists()
    assert domain.left() == []


@pytest.mark.parametrize(
    "to",
    [
        b"../out",
        b"/etc/x",
        b"a//b",
        b"",
        b"a/../b",
        b".dasctl/making/x",
        b".dasctl",
        b".dasctl/making",
        b"a\0b",
    ],
)
def test_places_that_are_none(domain: Any, to: bytes) -> None:
    working, before = domain.working_of(), domain.seen()
    with pytest.raises(OperationFailed, match="nothing has been changed"):
        working.put([Move(to=to, staged=None)])
    assert domain.seen() == before


def test_moves_do_not_meet(domain: Any) -> None:
    with pytest.raises(ValueError, match="is moved as well"):
        domain.working_of().put(
            [Move(to=b"a", staged=None), Move(to=b"a-b", staged=None), Move(to=b"a/b", staged=None)]
        )
    with pytest.raises(ValueError, match="is moved as well"):
        domain.working_of().put([Move(to=b"a", staged=None), Move(to=b"a", staged=None)])


def test_a_file_is_no_folder_to_put_something_into(domain: Any) -> None:
    working, before = domain.working_of(), domain.seen()
    with working.making() as folder:
        (folder / "x").write_bytes(b"x")
        with pytest.raises(OperationFailed, match="nothing has been changed"):
            working.put([Move(to=b"docroot/new", staged=None), Move(to=b"lib/a.jar/x", staged=folder / "x")])
    assert domain.seen() == before
    assert domain.left() == []


def test_edited_is_what_edit_would_leave(domain: Any) -> None:
    from dasctl.core.edits import Put

    edits = [Put(path=("nodes", "n1"), value={"host": "a.example.com"})]
    before = domain.seen()
    text = domain.store.edited(edits)
    assert domain.seen() == before
    assert b"a.example.com" in text
    assert text.startswith(TEXT.splitlines()[0].encode())
    domain.store.edit(edits)
    after = domain.store.text.encode() if isinstance(domain, Memory) else domain.store.path.read_bytes()
    assert after == text


# Interrupt everything.


def killed_at(number: int) -> Callable[[str], None]:
    """Raises before the operation of this number (from 0)."""
    left = [number]

    def before(operation: str) -> None:
        if left[0] == 0:
            raise Killed(operation)
        left[0] -= 1

    return before


@contextmanager
def never_left() -> Iterator[ExitStack]:
    """Contexts that are entered and, as after a kill, not left before the test is over."""
    stack = ExitStack()
    try:
        yield stack
    finally:
        stack.close()


@pytest.mark.parametrize("kind", [Disk, Memory], ids=["disk", "memory"])
def test_a_kill_before_any_operation_leaves_nothing_or_all(kind: Any, tmp_path: Path) -> None:
    ends = []
    for number in range(500):
        domain = filled(kind(tmp_path / str(number)))
        before = domain.seen()
        working = domain.working_of(before=killed_at(number))
        with never_left() as stack:
            folder = stack.enter_context(working.making())
            try:
                working.put(*wanted(folder))
            except Killed:
                pass
            else:
                break
            with domain.store.domain_locked("next", wait_s=0):
                after = domain.seen()
        assert after in (before, AFTER), f"half changed after a kill before operation {number}"
        ends.append(after == AFTER)
        if after == AFTER:
            assert domain.mtime(b"docroot") == domain.mtime(b"applications/hello") == MTIME
        assert not [path for path in domain.left() if path.startswith(("commit", "journal"))]
    assert domain.seen() == AFTER
    assert ends == sorted(ends), "once it is decided, it stays decided"
    assert True in ends


def test_a_kill_while_a_killed_change_is_finished(tmp_path: Path) -> None:
    """Each operation of the change, and before each of them its finishing is killed, three times."""
    total = operations_of(filled(Disk(tmp_path / "whole")))
    for number in range(total):
        domain = filled(Disk(tmp_path / f"kill {number}"))
        before = domain.seen()
        with never_left() as stack:
            working = domain.working_of(before=killed_at(number))
            folder = stack.enter_context(working.making())
            with pytest.raises(Killed):
                working.put(*wanted(folder))
            for again in (0, 1, 3):
                try:
                    domain.working_of(before=killed_at(again)).put([Move(to=b"never/there", staged=None)])
                except Killed:
                    pass
            with domain.store.domain_locked("next", wait_s=0):
                assert domain.seen() in (before, AFTER)


def operations_of(domain: Disk) -> int:
    told: list[str] = []
    working = domain.working_of(before=told.append)
    with working.making() as folder:
        working.put(*wanted(folder))
    return len(told)


KILLED_FOR_REAL = """
import os, signal, sys
from pathlib import Path
from dasctl.adapters.store import YamlStore
from dasctl.adapters.working import FolderWorking
from tests.contracts.test_working import wanted
left = [int(sys.argv[2])]
def before(operation):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
os.umask(0o022)
root = Path(sys.argv[1])
with YamlStore(root).domain_locked("killed", wait_s=0):
    working = FolderWorking(root, before=before)
    with working.making() as folder:
        working.put(*wanted(folder))
"""


def test_a_real_kill(tmp_path: Path) -> None:
    outcomes = set()
    for number in (2, 16, 24):
        domain = filled(Disk(tmp_path / str(number)))
        before = domain.seen()
        child = subprocess.run(
            [sys.executable, "-c", KILLED_FOR_REAL, domain.root, str(number)], timeout=60, check=False
        )
        assert child.returncode == -signal.SIGKILL
        assert domain.left()
        with domain.store.domain_locked("next", wait_s=0):
            after = domain.seen()
        assert after in (before, AFTER)
        outcomes.add(after == AFTER)
        assert domain.left() == [], "what the killed command was making is gone as well"
    assert outcomes == {True, False}


# What only a disk has.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    umask = os.umask(0o022)
    yield filled(Disk(tmp_path / "shop"))
    os.umask(umask)


def test_what_another_command_makes_is_left_alone(disk: Disk) -> None:
    working = disk.working_of()
    with working.making() as mine:
        (mine / "x").write_bytes(b"x")
        with disk.store.domain_locked("other", wait_s=0), disk.working_of().making() as other:
            assert other != mine
        assert (mine / "x").read_bytes() == b"x"
    assert disk.left() == []


@pytest.mark.parametrize("link", [b"docroot", b"docroot/deep"])
def test_no_link_is_followed(disk: Disk, link: bytes, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "er").mkdir()
    place = disk.root / os.fsdecode(link)
    place.rename(tmp_path / "away")
    place.symlink_to(outside)
    working = disk.working_of()
    with working.making() as folder:
        (folder / "x").write_bytes(b"x")
        with pytest.raises(
            OperationFailed, match="is a symbolic link, and no link in the domain is followed"
        ):
            working.put([Move(to=link + b"/er/x", staged=folder / "x")])
    working.put([], [Touch(path=link + b"/er", mode=0o700)])
    assert sorted(path.name for path in outside.rglob("*")) == ["er"]
    assert stat.S_IMODE((outside / "er").stat().st_mode) == 0o755


def test_a_link_itself_is_replaced(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"outside")
    (disk.root / "docroot" / "link").symlink_to(tmp_path / "outside")
    working = disk.working_of()
    with working.making() as folder:
        (folder / "x").write_bytes(b"x")
        working.put([Move(to=b"docroot/link", staged=folder / "x")])
    assert disk.seen()[b"docroot/link"] == ("f", 0o644, b"x")
    assert (tmp_path / "outside").read_bytes() == b"outside"


def test_a_domain_yaml_that_is_a_link_is_not_replaced_by_a_file(disk: Disk) -> None:
    disk.store.path.rename(disk.root / "elsewhere.yaml")
    disk.store.path.symlink_to("../elsewhere.yaml")
    working = disk.working_of()
    with working.making() as folder:
        (folder / "x").write_bytes(b"x")
        with pytest.raises(OperationFailed, match="is a symbolic link") as caught:
            working.put([Move(to=b"config/domain.yaml", staged=folder / "x")])
    assert "cp --remove-destination" in caught.value.hint
    assert disk.store.path.is_symlink()


def test_folders_that_may_not_be_written_to_are_opened_and_closed_again(disk: Disk) -> None:
    closed = ("docroot/deep/er", "docroot/deep", "applications/hello/old", "applications/hello")
    for folder in closed:
        (disk.root / folder).chmod(0o555)

    def change() -> None:
        working = disk.working_of()
        with working.making() as folder:
            new = folder / "new"
            new.mkdir()
            (new / "x").write_bytes(b"x")
            new.chmod(0o555)
            working.put(
                [
                    Move(to=b"docroot/deep/er/page.html", staged=None),
                    Move(to=b"applications/hello", staged=new),
                ]
            )

    as_owner(disk, change)
    seen = disk.seen()
    assert [seen[folder.encode()][1] for folder in (*closed[:2], closed[3])] == [0o555] * 3
    assert b"docroot/deep/er/page.html" not in seen
    assert seen[b"applications/hello/x"][2] == b"x"
    assert disk.left() == []


def test_what_lies_deeper_than_calls_can_go_is_removed(disk: Disk) -> None:
    """What stays behind stops every command that comes after."""

    def grown(folder: int) -> None:
        for _ in range(1100):
            os.mkdir("d", dir_fd=folder)
            inner = os.open("d", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(folder)

    with disk.working_of().making() as folder:
        grown(os.open(folder, os.O_RDONLY))
    assert disk.left() == []


def test_what_belongs_to_somebody_else_is_found_out_before_anything_changes(disk: Disk) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")

    def change() -> None:
        with pytest.raises(OperationFailed, match="docroot cannot be written to: nothing has been changed"):
            disk.working_of().put(
                [Move(to=b"lib/a.jar", staged=None), Move(to=b"docroot/index.html", staged=None)]
            )
        with pytest.raises(OperationFailed, match="docroot belongs to somebody else"):
            disk.working_of().put([Move(to=b"lib/a.jar", staged=None)], [Touch(path=b"docroot", mtime=1)])

    before = disk.seen()
    as_owner(disk, change, but_for="docroot")
    assert disk.seen() == before
    assert disk.left() == []


def as_owner(disk: Disk, change: Callable[[], None], *, but_for: str | None = None) -> None:
    """Do it as somebody who is not root, and owns the domain's files."""
    if os.geteuid() != 0:
        change()
        return
    for path in (disk.root, *disk.root.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    if but_for is not None:
        os.chown(disk.root / but_for, 0, 0)
    for folder in disk.root.parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            change()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_journal_that_is_damaged_stops_everybody(disk: Disk) -> None:
    making = disk.root / ".dasctl" / "making"
    making.mkdir(parents=True)
    (making / "journal").write_bytes(b'{"format": 1, "steps"')
    with pytest.raises(OperationFailed, match=r"\.dasctl/making/journal cannot be read"):
        with disk.store.domain_locked("next", wait_s=0):
            raise AssertionError("the domain may be half changed")
    (making / "journal").unlink()
    with disk.store.domain_locked("next", wait_s=0):
        pass


def test_what_was_not_made_beside_is_not_put(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(OperationFailed, match="was not made beside"):
        disk.working_of().put([Move(to=b"docroot/x", staged=tmp_path / "x")])
    assert (tmp_path / "x").exists()
    assert disk.left() == []
