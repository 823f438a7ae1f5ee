"""The domain's folder on disk: `config/domain.yaml`, the lock, and how a domain comes to be.

What lives here: files. What must not: the meaning of entries (`core/`), the notation (`yaml_text.py`, `yaml_edit.py`).
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dasctl
from dasctl.adapters import domain_cache, domain_lock
from dasctl.core import names
from dasctl.core.domain import FILE, Domain
from dasctl.errors import DomainNotFound, InvalidDomain, OperationFailed, UsageError

if TYPE_CHECKING:
    from dasctl.adapters.yaml_text import Document
    from dasctl.core.edits import Edit
    from dasctl.core.faults import Path as FaultPath

FOLDERS = ("config", "applications", "lib", "docroot")
VARIABLE = "DASCTL_DOMAIN"
GITIGNORE = ".dasctl/\n"
REPLACED = Path(".dasctl") / "replaced"  # in a folder that a restore put aside: what took its place


class YamlStore:
    """Fits ports.Store."""

    def __init__(
        self,
        root: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = _absolute(root)
        self._sleep = sleep
        self._now = now
        self._monotonic = monotonic
        self._loaded: tuple[str, Domain] | None = None
        self._held: ExitStack | None = None  # the lock, for the next who asks for it

    @property
    def root(self) -> Path:
        return self._root

    @property
    def path(self) -> Path:
        """Where `domain.yaml` is."""
        return self._root / "config" / "domain.yaml"

    def load(self) -> Domain:
        # A command asks several times; a file of 1,000 instances takes a second to judge.
        text = self._read()
        if self._loaded is None or self._loaded[0] != text:
            self._loaded = (text, self._judged(text))
        return self._loaded[1]

    def _judged(self, text: str) -> Domain:
        own = self._root / ".dasctl"
        key = domain_cache.key_of(text)
        domain = domain_cache.kept(own, key)
        if domain is None:
            from dasctl.adapters.yaml_text import domain_of  # brings PyYAML and all rules

            domain = domain_of(text)
            domain_cache.keep(own, key, domain)
        return domain

    def edit(self, edits: Sequence[Edit]) -> Domain:
        before = self._read()
        after, domain = _edited(before, edits)
        if after != before:
            _replace(self.path, after.encode("utf-8"))
        return domain

    @contextmanager
    def undoable(self) -> Iterator[Callable[[], None]]:
        target, kept = Path(os.path.realpath(self.path)), self._root / ".dasctl" / "domain.yaml.before"
        content, folder = target.read_bytes(), target.parent.stat()
        kept.unlink(missing_ok=True)
        try:
            os.link(target, kept)
        except OSError:
            pass  # another file system, or one without links: then it has to be written anew

        def undo() -> None:
            try:
                if kept.exists():
                    kept.replace(target)
                else:
                    _replace(self.path, content)
                # As if it had never been touched: a folder's modtime is part of the domain's state.
                os.utime(target.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))
            except OSError as error:
                raise OperationFailed(f"{target} cannot be put back: {error.strerror}") from error

        try:
            yield undo
        finally:
            kept.unlink(missing_ok=True)

    def edited(self, edits: Sequence[Edit]) -> bytes:
        return _edited(self._read(), edits)[0].encode("utf-8")

    def written(self) -> Document:
        from dasctl.adapters.yaml_text import parsed

        return parsed(self._read())

    def parsed(self, text: bytes) -> Domain:
        from dasctl.adapters.yaml_text import domain_of

        return domain_of(_decoded(text))

    def warnings(self, domain: Domain) -> tuple[str, ...]:
        from dasctl.adapters.yaml_text import warnings_in

        return warnings_in(self._read(), domain)

    def place(self, path: FaultPath) -> str:
        from dasctl.adapters.yaml_text import place_in

        return place_in(self._read(), path)

    def domain_locked(self, command: str, *, wait_s: float) -> AbstractContextManager[None]:
        if self._held is not None:
            held, self._held = self._held, None
            return _handed_over(held)
        return domain_lock.locked(
            self._root, command, wait_s=wait_s, sleep=self._sleep, now=self._now, monotonic=self._monotonic
        )

    def lock_ahead(self, command: str) -> None:
        """Take the lock now, for whoever asks for it next. Raises as `domain_locked` does; nothing is waited for."""
        held = ExitStack()
        held.enter_context(self.domain_locked(command, wait_s=0.0))
        self._held = held

    def release(self) -> None:
        """Give back a lock that nobody has asked for. May be called twice."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def _read(self) -> str:
        try:
            content = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise not_found(f"{self._root} is not a domain: it has no {FILE}") from error
        except OSError as error:
            raise OperationFailed(f"{self.path} cannot be read: {error.strerror}") from error
        return _decoded(content)


@contextmanager
def _handed_over(held: ExitStack) -> Iterator[None]:
    with held:
        yield


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidDomain(
            f"{FILE} is not YAML",
            faults=(f"{FILE}:{line}: not UTF-8: the byte 0x{content[error.start]:02x}",),
            hint="save the file as UTF-8",
        ) from error


def _edited(text: str, edits: Sequence[Edit]) -> tuple[str, Domain]:
    from dasctl.adapters.yaml_edit import edit_text  # brings ruamel.yaml
    from dasctl.adapters.yaml_text import edited_domain

    after = edit_text(text, edits)
    return after, edited_domain(after)


def _absolute(path: Path) -> Path:
    """Absolute and without `..`, links not followed: the operator's own words for a folder."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def not_found(message: str) -> DomainNotFound:
    return DomainNotFound(
        message,
        hint=f"go into a domain's folder, name it with --domain DIR or {VARIABLE}, or make one: dasctl create-domain DIR",
    )


def find_domain(start: Path, explicit: str | Path | None, env: Mapping[str, str]) -> Path:
    """The domain's folder: `explicit` (--domain), else DASCTL_DOMAIN, else the nearest one upwards from `start`."""
    for given, origin in ((explicit, "--domain"), (env.get(VARIABLE), VARIABLE)):
        if given:
            root = _absolute(start / Path(given).expanduser())
            if not (root / FILE).is_file():
                raise _between(root) or not_found(f"{root} ({origin}) is not a domain: it has no {FILE}")
            return _in_force(root)
    start = _absolute(start)
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return _in_force(folder)
    raise not_found(f"no domain in {start} or above it: no folder there holds {FILE}")


def _in_force(root: Path) -> Path:
    """`root`, unless a restore put another folder in its place. Who went on with the old one would act behind its back."""
    try:
        now = os.fsdecode((root / REPLACED).read_bytes())
    except OSError:
        return root
    raise DomainNotFound(
        f"{root} is the domain no more: a restore put another folder in its place, {now}",
        hint=f"cd {shlex.quote(now)} (a shell that stood in the domain's folder stands in the old one now); "
        f"to go on with the old one all the same: rm {shlex.quote(str(root / REPLACED))}",
    )


def _between(root: Path) -> DomainNotFound | None:
    """What is said where a restore was killed between its two renames (`restored.py`)."""
    if root.exists() or not (root.parent / f".{root.name}.restoring").exists():
        return None
    kept = sorted(root.parent.glob(f"{root.name}.before-*"))
    return DomainNotFound(
        f"{root} is not there: a restore was interrupted",
        hint="run `dasctl restore-domain` again"
        + (f", or go back to the domain that was there: mv {kept[-1]} {root}" if kept else ""),
    )


def create_domain(root: Path, name: str | None, *, sample: bool, id: str) -> YamlStore:
    """Make a domain at `root`: from the commented template, or a copy of the sample. Other files there are left alone.

    `name` None is the folder's name. UsageError where the name is not allowed, or there is a domain already.
    """
    from dasctl.core.templates import without_entries

    root = _absolute(root)
    name = name if name is not None else root.name
    if (why := names.fault_of(name)) is not None:
        raise UsageError(f"{why} (it would be the domain's name)", hint="choose another one with --name NAME")
    if (root / FILE).exists() or (root / FILE).is_symlink():
        raise UsageError(f"{root} is a domain already", hint=f"look at {root / FILE}")
    try:
        _fill(root, sample=sample)
        text = sample_text()
        _replace(root / FILE, _named(text if sample else without_entries(text), name, id).encode())
    except OSError as error:
        raise OperationFailed(
            f"the domain {root} cannot be made: {error.strerror}: {error.filename}"
        ) from error
    return YamlStore(root)


def sample_folder() -> Path:
    """The sample domain, as it travels in the package."""
    return Path(dasctl.__file__).parent / "sample"


def sample_text() -> str:
    """The sample's `domain.yaml`: the manual of every key."""
    return (sample_folder() / FILE).read_text("utf-8")


def _named(text: str, name: str, id: str) -> str:
    from dasctl.adapters.yaml_edit import edit_text
    from dasctl.core.edits import Put

    return edit_text(text, [Put(path=("domain", "name"), value=name), Put(path=("domain", "id"), value=id)])


def _fill(root: Path, *, sample: bool) -> None:
    """The folders, `.gitignore`, and the sample's files; nothing that exists is touched."""
    root.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:
        (root / folder).mkdir(exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text(GITIGNORE, "utf-8")
    elif ".dasctl/" not in ignore.read_text("utf-8", "replace").split():
        with ignore.open("a", encoding="utf-8") as out:
            out.write(f"\n{GITIGNORE}")
    if sample:
        _copy_sample(root)


def _copy_sample(root: Path) -> None:
    import shutil

    source = sample_folder()
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if inside == Path(FILE) or {"__pycache__", ".dasctl"} & {*inside.parts}:
            continue
        target = root / inside
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not target.exists():
            shutil.copyfile(path, target)
            target.chmod(0o644)  # a package may be installed read-only


def _replace(path: Path, content: bytes) -> None:
    """Replace a file in one step: the old one or the new one, never half. A symbolic link stays one; its target changes."""
    import tempfile  # only who writes pays for it

    target = Path(os.path.realpath(path))
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise _not_replaced(target, error) from error
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            _keep_owner(out.fileno(), target)
            os.fsync(out.fileno())
        Path(beside).replace(target)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_replaced(target, error) from error
        raise
    _sync_folder(target.parent)


def _not_replaced(file: Path, error: OSError) -> OperationFailed:
    return OperationFailed(
        f"{file} cannot be replaced: {error.strerror}; nothing has been changed",
        hint="make room on the disk that holds the domain's folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "make the domain's folder writable for whoever administers the domain",
    )


def _keep_owner(handle: int, target: Path) -> None:
    """Mode and owner as before; a new file is readable for all, as its creator's umask allows."""
    try:
        old = target.stat()
    except FileNotFoundError:
        umask = os.umask(0o077)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        return
    os.fchmod(handle, stat.S_IMODE(old.st_mode))
    try:
        os.fchown(handle, old.st_uid, old.st_gid)
    except OSError:
        pass  # only root may give files away


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems cannot
    finally:
        os.close(handle)
