"""Backups as files: writing one while everything runs, listing them, removing the oldest.

What lives here: which files go in, from where, and replacing nothing until all is written. What must not: the form of the
file (`backup_tar.py`), reading one (`backup_reading.py`), putting one in place (`restored.py`).

    A backup is a revision: contents come from objects, the history is a copy that SQLite makes. The moving folder is read
    only where an object is missing, and believed only where its bytes have the digest.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH103, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dasctl.adapters import backup_reading, object_form
from dasctl.adapters.backup_tar import TarGz
from dasctl.adapters.durable import sync_path
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.working import FolderWorking
from dasctl.core import areas, backups
from dasctl.core.backups import OWN, BackupFile, Facts
from dasctl.core.exchange import Who
from dasctl.core.stamps import Revision
from dasctl.errors import DasctlError, ObjectLost, OperationFailed
from dasctl.remote.manifest import Entry, decode
from dasctl.remote.paths import printable

PIECE = 256 << 10  # bytes read at once
PART = ".part"  # of a file that is being written
FOLDER = "backups"  # in the domain's .dasctl
ROOM = "make room there, or name another folder with --to"

OnWritten = Callable[[int, int], None]


class FolderBackups:
    """ports.Backups."""

    def folder(self, root: Path) -> Path:
        """See `ports.Backups`."""
        return root / ".dasctl" / FOLDER

    def write(
        self,
        root: Path,
        folder: Path,
        *,
        who: Who,
        now: float,
        history: bool,
        extra: Mapping[str, bytes],
        on_written: OnWritten,
    ) -> BackupFile:
        """See `ports.Backups`."""
        objects = FolderObjects(root)
        with objects.held(), FolderWorking(root).making() as copy:
            source = _Source(root, copy, objects, history=history, extra=extra)
            plan = source.planned(who, now)
            with _told(folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                return source.written(plan, folder, on_written)

    def listed(self, folder: Path) -> list[BackupFile]:
        """See `ports.Backups`."""
        found = []
        try:
            names = sorted(name for name in os.listdir(folder) if backups.is_name(name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OperationFailed(f"{folder} cannot be read: {error.strerror}") from error
        for name in names:
            path = folder / name
            with suppress(OSError):
                if stat.S_ISREG(path.lstat().st_mode):
                    found.append(_looked_at(path))
        return found

    def prune(self, folder: Path, id: str, keep: int) -> list[Path]:
        """See `ports.Backups`."""
        known = [(each.path.name, each.facts) for each in self.listed(folder) if each.facts is not None]
        gone = [folder / name for name in backups.superfluous(known, id, keep)]
        for path in gone:
            try:
                path.unlink()
            except OSError as error:
                raise OperationFailed(f"{path} cannot be removed: {error.strerror}") from error
        return gone

    def verify(self, path: Path, on_read: OnWritten) -> Facts:
        """See `ports.Backups`."""
        return backup_reading.read(path, None, on_read)


def _looked_at(path: Path) -> BackupFile:
    """What a look at the beginning and the end of the file tells."""
    size = path.lstat().st_size
    try:
        return BackupFile(path=path, size=size, facts=backup_reading.facts(path), fault="")
    except DasctlError as error:
        return BackupFile(path=path, size=size, facts=None, fault=error.message)


class _Plan:
    """What goes in, in order."""

    def __init__(self, revision: Revision, entries: list[Entry]) -> None:
        self.revision = revision
        self.entries = entries
        self.own: list[tuple[bytes, bytes, str]] = []  # name below the domain's folder, file here, SHA-256
        self.facts = b""
        self.domain = b""
        self.name = ""

    @property
    def members(self) -> list[tuple[bytes, str]]:
        """Names and digests of all files, in the order in which they stand in the archive."""
        top = self.domain + b"/"
        tree = [
            (top + entry.path, entry.digest.decode("ascii")) for entry in self.entries if entry.kind == "f"
        ]
        facts = (backups.FACTS, hashlib.sha256(self.facts).hexdigest())
        return [facts, *tree, *((top + name, digest) for name, _, digest in self.own)]

    @property
    def total(self) -> int:
        return sum(entry.size for entry in self.entries) + sum(
            os.stat(file).st_size for _, file, _ in self.own
        )


class _Source:
    """The domain at `root` as it goes into a backup. `copy`: a folder for the copy of the history."""

    def __init__(
        self, root: Path, copy: Path, objects: FolderObjects, *, history: bool, extra: Mapping[str, bytes]
    ) -> None:
        self._root = os.fsencode(root)
        self._copy = copy
        self._objects = objects
        self._with_history = history
        self._extra = extra
        SqliteHistory(root).copy_to(copy / ".dasctl" / "history.db")
        self._history = SqliteHistory(copy)

    def planned(self, who: Who, now: float) -> _Plan:
        """Read what the last revision of the copied history says. Raises OperationFailed where it says too little."""
        head = self._history.head()
        parts = self._history.parts_of(head.number) if head is not None else None
        if head is None or parts is None:
            raise OperationFailed(
                "there is no revision whose contents are known",
                hint="record one: dasctl sync-domain --dry-run tells more",
            )
        entries = _ordered({**parts, **self._extra}.values())
        plan = _Plan(head, entries)
        self._keep(entries)
        domain = self._domain(entries)
        plan.domain = domain[0].encode("ascii")
        plan.own = list(self._own(entries))
        files = [entry for entry in entries if entry.kind == "f"]
        plan.facts = Facts(
            domain=domain[0], id=domain[1], revision=head.number, digest=head.digest, epoch=head.epoch, when=head.when,
            made=now, who=who.user, host=who.host, history=self._with_history, tree=backups.tree_digest(entries),
            files=len(files), size=sum(entry.size for entry in files),
        ).as_bytes()  # fmt: skip
        plan.name = domain[0]
        return plan

    def _keep(self, entries: list[Entry]) -> None:
        """Let objects that are missing be made of the working files, where those still hold the content."""
        files = {entry.digest.decode("ascii"): entry.path for entry in entries if entry.kind == "f"}
        gone = self._objects.keep(files)
        if gone:
            names = ", ".join(printable(path) for path in sorted(gone.values())[:5])
            raise ObjectLost(
                f"the last revision had contents that are kept nowhere any more: {names}",
                hint="record the domain as it is now, with dasctl sync-domain, and back that up",
            )

    def _domain(self, entries: list[Entry]) -> tuple[str, str]:
        """Name and id, as that revision's domain.yaml says."""
        from dasctl.adapters.yaml_text import domain_of  # brings PyYAML

        digest = next((e.digest.decode("ascii") for e in entries if e.path == areas.DEFINITION), None)
        if digest is None:
            raise OperationFailed(
                "the last revision was recorded without its domain.yaml", hint="run dasctl sync-domain"
            )
        text = b"".join(object_form.unpacked(piece) for piece in self._objects.pieces(digest))
        settings = domain_of(text.decode("utf-8")).domain
        return settings.name, settings.id

    def _own(self, entries: list[Entry]) -> Iterator[tuple[bytes, bytes, str]]:
        """The files of .dasctl that go along, with their digests."""
        for name in backups.KEPT_FILES:
            yield from self._copied(name)
        for folder in backups.KEPT_FOLDERS:
            for name, _, _ in self._all_below(folder):
                yield from self._copied(name)
        if not self._with_history:
            return
        database = os.fsencode(self._copy / ".dasctl" / "history.db")
        yield backups.DATABASE, database, _digest_of(database)
        for folder in backups.WITH_HISTORY:
            yield from self._all_below(folder)
        there = {entry.digest for entry in entries}  # made anew of the tree when it is restored
        for file in self._objects.files():
            name = os.path.basename(file)
            if name not in there:
                yield b"%s/%s/%s" % (backups.OBJECTS, name[:2], name), file, _digest_of(file)

    def _copied(self, name: bytes) -> Iterator[tuple[bytes, bytes, str]]:
        """A small file that commands replace meanwhile: a copy of it, with its modtime."""
        copy = os.fsencode(self._copy) + b"/" + name
        os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.copy2(self._root + b"/" + name, copy, follow_symlinks=False)
            if stat.S_ISREG(os.lstat(copy).st_mode):
                yield name, copy, _digest_of(copy)

    def _if_there(self, name: bytes) -> Iterator[tuple[bytes, bytes, str]]:
        file = self._root + b"/" + name
        with suppress(FileNotFoundError):
            if stat.S_ISREG(os.lstat(file).st_mode):
                yield name, file, _digest_of(file)

    def _all_below(self, folder: bytes) -> Iterator[tuple[bytes, bytes, str]]:
        for base, _, files in os.walk(self._root + b"/" + folder):
            for name in sorted(files):
                yield from self._if_there(os.path.join(base, name)[len(self._root) + 1 :])

    def written(self, plan: _Plan, folder: Path, on_written: OnWritten) -> BackupFile:
        """Write beside, and rename. Raises OSError."""
        _sweep(folder, plan.name)
        handle, beside = tempfile.mkstemp(prefix=f".{plan.name}-", suffix=PART, dir=folder)
        try:
            with open(handle, "wb") as out:
                fcntl.flock(handle, fcntl.LOCK_SH)
                self._fill(TarGz(out), plan, on_written)
                out.flush()
                os.fsync(out.fileno())
            facts = backups.facts_of(plan.facts, beside)
            path = _renamed(Path(beside), folder, facts)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
            raise
        sync_path(os.fsencode(folder))
        return BackupFile(path=path, size=path.stat().st_size, facts=facts, fault="")

    def _fill(self, tar: TarGz, plan: _Plan, on_written: OnWritten) -> None:
        listing, made = backups.manifest(plan.members), int(backups.facts_of(plan.facts, "").made * 1e9)
        for name, data in ((backups.MANIFEST, listing), (backups.FACTS, plan.facts)):
            tar.member(name, "f", mode=0o600, size=len(data), mtime=made)
            for start in range(0, len(data), PIECE):
                tar.data(data[start : start + PIECE])
        tar.member(plan.domain, "d", mode=0o755, mtime=made)
        done, total = 0, plan.total
        for entry in plan.entries:
            self._entry(tar, plan.domain + b"/" + entry.path, entry)
            done += entry.size
            on_written(done, total)
        tar.member(plan.domain + b"/" + OWN, "d", mode=0o700, mtime=made)
        for folder in sorted({parent for name, _, _ in plan.own for parent in _parents(name)}):
            tar.member(plan.domain + b"/" + folder, "d", mode=0o700, mtime=made)
        for name, file, digest in plan.own:
            done += self._file(tar, plan.domain + b"/" + name, file, digest)
            on_written(done, total)
        tar.close()

    def _entry(self, tar: TarGz, name: bytes, entry: Entry) -> None:
        if entry.kind != "f":
            target = entry.digest if entry.kind == "l" else b""
            tar.member(name, entry.kind, mode=entry.mode, mtime=entry.mtime, target=target)
            return
        tar.member(name, "f", mode=entry.mode, size=entry.size, mtime=entry.mtime)
        for piece in self._objects.pieces(entry.digest.decode("ascii")):
            tar.piece(piece, object_form.unpacked(piece))

    def _file(self, tar: TarGz, name: bytes, path: bytes, digest: str) -> int:
        """A file of .dasctl, which has not changed since it was hashed. Returns its size."""
        with open(path, "rb") as file:
            seen, size = hashlib.sha256(), os.fstat(file.fileno()).st_size
            tar.member(name, "f", mode=0o600, size=size, mtime=os.fstat(file.fileno()).st_mtime_ns)
            left = size
            while left and (data := file.read(min(PIECE, left))):
                seen.update(data)
                tar.data(data)
                left -= len(data)
        if seen.hexdigest() != digest:
            raise OperationFailed(
                f"{printable(path)} was changed while it was read", hint="run the command again"
            )
        return size


def _ordered(parts: Iterable[bytes]) -> list[Entry]:
    """All entries of all parts, in the order of a walk."""
    found = {entry.path: entry for data in parts for entry in decode(data)}
    return [found[path] for path in sorted(found, key=lambda path: path.replace(b"/", b"\0"))]


def _parents(name: bytes) -> Iterator[bytes]:
    folder = os.path.dirname(name)
    while folder != OWN and folder:
        yield folder
        folder = os.path.dirname(folder)


def _digest_of(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(folder: Path, name: str) -> None:
    """Remove what killed commands were writing: what nobody holds."""
    for path in folder.glob(f".{name}-*{PART}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _renamed(beside: Path, folder: Path, facts: Facts) -> Path:
    """Put it where nothing is."""
    again = 0
    while True:
        path = folder / backups.name_of(facts.domain, facts.made, facts.revision, again)
        try:
            os.link(beside, path)
        except FileExistsError:
            again += 1 + (again == 0)
            continue
        except OSError:
            if path.exists():
                again += 1 + (again == 0)
                continue
            beside.rename(path)  # a file system without hard links
            return path
        beside.unlink()
        return path


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OperationFailed(
            f"the backup cannot be written to {folder}: {error.strerror}; nothing of it is left",
            hint=ROOM if full else "make the folder writable, or name another one with --to",
        ) from error
