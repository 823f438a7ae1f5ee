"""The domain's lock: one command at a time changes a domain.

What lives here: `flock` on `.dasctl/lock`, and who holds it. The kernel frees it when its holder dies, however it dies;
what the file says is only for the message, and is believed only while its writer lives.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dasctl.errors import DomainLocked, OperationFailed

CALLER = "DASCTL_CALLER"  # see core/elsewhere.py
POLL_S = 0.05  # between two tries: short beside a command, long beside a system call


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock. `since` is in seconds since the epoch."""

    who: str
    host: str
    pid: int
    command: str
    since: float

    @classmethod
    def me(cls, command: str, now: float) -> Holder:
        return cls(who=user_name(), host=os.uname().nodename, pid=os.getpid(), command=command, since=now)

    def locked(self, root: Path) -> DomainLocked:
        since = time.strftime("%H:%M:%S", time.localtime(self.since))
        return DomainLocked(
            f"the domain {root} is locked by {self.command!r} ({self.who}@{self.host}, pid {self.pid}, since {since})",
            hint="wait for it, or give it time with --wait SECONDS",
        )


def user_name() -> str:
    """Who acts: the name of the user, or of somebody elsewhere on whose behalf this runs, and of the user."""
    if CALLER not in os.environ:
        return login_name()
    from dasctl.core.elsewhere import caller_of  # of commands from elsewhere only

    caller = caller_of(os.environ[CALLER])
    return caller.via(login_name()) if caller is not None else login_name()


def login_name() -> str:
    """The name of the user, or the number of one who has none."""
    # As `getpass.getuser`, which brings the terminal.
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := os.environ.get(variable):
            return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):
        return str(os.getuid())


def dasctl_folder(root: Path) -> Path:
    """The domain's `.dasctl`, made if need be, for its owner alone."""
    folder = root / ".dasctl"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise OperationFailed(f"{folder} cannot be made: {error.strerror}") from error
    return folder


@contextmanager
def locked(
    root: Path,
    command: str,
    *,
    wait_s: float,
    sleep: Callable[[float], None],
    now: Callable[[], float],
    monotonic: Callable[[], float],
) -> Iterator[None]:
    """Hold the lock of the domain at `root`. DomainLocked after `wait_s` seconds.

    OperationFailed where a change that a killed command had begun cannot be finished.
    """
    path = dasctl_folder(root) / "lock"
    deadline = monotonic() + wait_s
    while True:
        handle = _opened(path)
        try:
            if _taken(handle, path):
                _write(handle, json.dumps(asdict(Holder.me(command, now()))).encode())
                try:
                    _finish(root)
                    yield
                finally:
                    _write(handle, b"")
                return
            if monotonic() >= deadline:
                holder = _holder(handle)
                raise holder.locked(root) if holder is not None else _locked_by_somebody(root)
        finally:
            os.close(handle)
        sleep(min(POLL_S, max(0.0, deadline - monotonic())))


def _finish(root: Path) -> None:
    """Carry out what a killed command had begun to change, before anybody looks."""
    if os.path.lexists(root / ".dasctl" / "making"):
        from dasctl.adapters import working  # hardly ever needed

        working.finish(os.fsencode(root))


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OperationFailed(
            f"{path} cannot be opened: {error.strerror}",
            hint="the domain's owner must be able to write in .dasctl",
        ) from error


def _taken(handle: int, path: Path) -> bool:
    """Whether the lock is ours now. A file that was removed meanwhile locks nobody out, so it does not count."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise OperationFailed(f"{path} cannot be locked: {error.strerror}") from error
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _write(handle: int, content: bytes) -> None:
    """Say who holds the lock. A full disk keeps nobody from working: the message is poorer then."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, content, 0)
    except OSError:
        pass


def _holder(handle: int) -> Holder | None:
    """Who holds the lock, as far as the file tells and its writer lives."""
    try:
        holder = Holder(**json.loads(os.pread(handle, 65536, 0)))
        if holder.host == os.uname().nodename and not _lives(int(holder.pid)):
            return None
        return holder
    except (ValueError, TypeError, OSError):
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _locked_by_somebody(root: Path) -> DomainLocked:
    return DomainLocked(
        f"the domain {root} is locked by another command",
        hint="wait for it, or give it time with --wait SECONDS",
    )
