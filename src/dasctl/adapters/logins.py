"""Logins that worked, remembered: the program `ssh` repeats them at once, where asyncssh has to be imported first.

What lives here: what is remembered, whether it still holds, the file that it lies in. What must not: what a login amounted
to (`login_notes.py`), processes (`ssh_program.py`), asyncssh. Imports little: it is read before anything else happens.

    A memory is believed while nothing has changed that had a say in the login: the node's definition, who we are, and how
    each file looked that was read for it (SSH configurations, known hosts, the key, the program). Whatever differs, is
    damaged, or could have been written by others: nothing is remembered, and asyncssh logs in as ever. So a memory lets
    nobody in who would not get in without it, and it names no host key that was not verified.
"""

# Names as text: who comes first imports little.
# ruff: noqa: PTH100, PTH101, PTH103, PTH108, PTH111, PTH116

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from dasctl.core.domain import Node

SSH_CONFIG = "DASCTL_SSH_CONFIG"  # names a file to read instead of ~/.ssh/config
SWITCH = "DASCTL_REMEMBER_LOGINS"  # `no`: asyncssh logs in each time
_FORMAT = 1
_LONGEST = 1 << 24  # bytes of the file
_LOGS_S = 3600.0
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:-]{0,255}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}")
_HOST_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/=]{16,8192}")
_OPTION = re.compile(r"[A-Za-z]{2,40}=[A-Za-z0-9@.,+^*?-]{1,4096}")
_PATH = re.compile(r"/[A-Za-z0-9._/@+,=-]{1,1023}")  # nothing that OpenSSH expands or splits

Watched = list[tuple[str, list[int] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What the program `ssh` is told. `key` and `program` are paths, `options` are `Name=value` for -o."""

    host: str
    port: int
    user: str
    key: str
    host_key: str  # type and base64
    program: str
    options: tuple[str, ...] = ()

    @property
    def alias(self) -> str:
        """The name under which the host key is known: one of its own for each key."""
        return "k" + sha256(self.host_key.encode("ascii")).hexdigest()[:40]

    def is_plain(self) -> bool:
        """Whether nothing in it could mean something else to `ssh`."""
        return (
            0 < self.port < 65536
            and bool(_HOST.fullmatch(self.host))
            and bool(_USER.fullmatch(self.user))
            and bool(_HOST_KEY.fullmatch(self.host_key))
            and bool(_PATH.fullmatch(self.key))
            and bool(_PATH.fullmatch(self.program))
            and all(_OPTION.fullmatch(option) for option in self.options)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one node. `login` None: asyncssh is to log in until then, without another look at whether this can be repeated."""

    login: Login | None
    node: tuple[object, ...]  # what its definition says of logging in
    watched: tuple[str, ...]  # paths of files and folders that had a say
    guard: str
    until: float  # seconds since the epoch


class Logins:
    """Those of the domain in `root`. Each file is read when it is first needed; `keep` writes what was learned."""

    def __init__(
        self,
        root: str | Path,
        config: Path | None,
        *,
        folder: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = _users_cache() if folder is None else folder
        self._name = sha256(os.path.abspath(os.fsencode(root))).hexdigest()[:40] + ".json"
        self._config = config
        self._now = now
        self._found: dict[str, Memory] | None = None
        self._told: dict[str, Memory | None] = {}

    @property
    def folder(self) -> str:
        """Where all of this lies; empty: nothing is remembered."""
        return self._folder

    def remembered(self, name: str, node: Node) -> Login | None:
        """How to log in to `node`, if that is known and still holds."""
        memory = self._holding(name, node)
        return memory.login if memory and memory.login and self._shows(memory.login) else None

    def rests(self, name: str, node: Node) -> bool:
        """Whether nothing is to be learned about `node` for now."""
        memory = self._holding(name, node)
        return memory is not None and memory.login is None

    def learn(self, name: str, node: Node, login: Login | None, watched: Watched, *, for_s: float) -> None:
        """Remember `login` for `for_s` seconds, or until one of `watched` looks otherwise; None: none is to be tried."""
        until = self._now() + for_s
        defined, paths = _of(node), tuple(path for path, _ in watched)
        guard = self._guard(defined, watched, login, until)
        self._told[name] = Memory(login=login, node=defined, watched=paths, guard=guard, until=until)

    def forget(self, name: str) -> None:
        """What is remembered of `name` did not work."""
        self._told[name] = None

    def keep(self) -> None:
        """Write down what was learned; where that cannot be, it is learned again."""
        told, self._told = self._told, {}
        if not told or not self._folder:
            return
        try:
            self._write(told)
        except OSError:
            pass
        self._found = None

    # Judging.

    def _holding(self, name: str, node: Node) -> Memory | None:
        memory = self._told[name] if name in self._told else self._read().get(name)
        return memory if memory is not None and memory.node == _of(node) and self._holds(memory) else None

    def _holds(self, memory: Memory) -> bool:
        if self._now() >= memory.until:
            return False
        return memory.guard == self._guard(memory.node, looks_of(memory.watched), memory.login, memory.until)

    def _guard(self, node: tuple[object, ...], watched: Watched, login: Login | None, until: float) -> str:
        told = [
            _FORMAT, _who(), self._config and str(self._config), until, watched, login and asdict(login), node,
        ]  # fmt: skip
        return sha256(json.dumps(told, ensure_ascii=True).encode("ascii")).hexdigest()

    def _shows(self, login: Login) -> bool:
        """Whether the file that `ssh` reads the host key from holds that one and no other."""
        try:
            return login.is_plain() and _own(self.hosts_file(login)) == _hosts_line(login)
        except OSError:
            return False

    def hosts_file(self, login: Login) -> str:
        """A file of known hosts with the one key, under its alias. Its name says what is in it: it never changes."""
        return f"{self._folder}/{login.alias}"

    # The files.

    def _read(self) -> dict[str, Memory]:
        if self._found is None:
            self._found = self._from_disk()
        return self._found

    def _from_disk(self) -> dict[str, Memory]:
        if not self._folder:
            return {}
        try:
            if not _is_ours(os.lstat(self._folder), stat.S_ISDIR):
                return {}
            found = json.loads(_own(f"{self._folder}/{self._name}"))
            if not isinstance(found, dict) or found.get("format") != _FORMAT:
                return {}
            return {str(name): _memory(row) for name, row in found["nodes"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}

    def _write(self, told: dict[str, Memory | None]) -> None:
        from dasctl.adapters.beside import write_beside

        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        os.chmod(self._folder, 0o700)
        self._tidy()
        nodes = self._from_disk()
        for name, memory in told.items():
            if memory is None:
                nodes.pop(name, None)
                continue
            nodes[name] = memory
            if memory.login is not None and not self._shows(memory.login):
                path = os.fsencode(self.hosts_file(memory.login))
                write_beside(path, _hosts_line(memory.login), mode=0o600)
        rows = {name: asdict(memory) for name, memory in nodes.items()}
        data = json.dumps({"format": _FORMAT, "nodes": rows}, indent=0).encode("ascii")
        write_beside(os.fsencode(f"{self._folder}/{self._name}"), data, mode=0o600)

    def _tidy(self) -> None:
        with os.scandir(self._folder) as found:
            for path in [entry.path for entry in found if _is_old_log(entry, self._now())]:
                os.unlink(path)


def _is_old_log(entry: os.DirEntry[str], now: float) -> bool:
    """What an `ssh` logged whose dasctl was killed before it could take the name away."""
    return entry.name.count(".") == 2 and now - entry.stat(follow_symlinks=False).st_mtime > _LOGS_S


def config_of_environment() -> Path | None:
    """The SSH configuration that the environment names."""
    from pathlib import Path

    path = os.environ.get(SSH_CONFIG)
    return Path(path) if path else None


def looks_of(paths: Iterable[str]) -> Watched:
    """How these files look now: any change to one changes its row. None: it is not there, or cannot be looked at."""
    return [(path, _look(path)) for path in paths]


def _look(path: str) -> list[int] | None:
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return None
    return [
        seen.st_dev,
        seen.st_ino,
        seen.st_size,
        seen.st_mtime_ns,
        seen.st_ctime_ns,
        seen.st_mode,
        seen.st_uid,
    ]


def _who() -> list[object]:
    """On whose behalf: what a configuration's `~` and an absent user name mean."""
    user = next(filter(None, map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))), None)
    return [os.getuid(), os.path.expanduser("~"), user, os.uname().nodename]


def _hosts_line(login: Login) -> bytes:
    return f"{login.alias} {login.host_key}\n".encode("ascii")


def _own(path: str) -> bytes:
    """A file that nobody but us can have written. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not _is_ours(os.fstat(handle), stat.S_ISREG):
            raise PermissionError(f"{path} is not ours alone")
        data = os.read(handle, _LONGEST)
        while more := os.read(handle, _LONGEST):
            data += more
        return data
    finally:
        os.close(handle)


def _is_ours(seen: os.stat_result, kind: Callable[[int], bool]) -> bool:
    return kind(seen.st_mode) and seen.st_uid == os.getuid() and not seen.st_mode & 0o077


def _users_cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.environ.get(SWITCH) == "no" or not _PATH.fullmatch(base):
        return ""
    return f"{base}/dasctl/logins"


def _of(node: Node) -> tuple[object, ...]:
    return node.host, node.port, node.user, node.key, node.jump


def _memory(row: dict[str, Any]) -> Memory:
    """Raises TypeError, ValueError, KeyError where it is damaged."""
    login = row["login"]
    if login is not None:
        login = Login(**{**login, "options": tuple(login["options"])})
        kinds = {"port": int, "options": tuple}
        for name, value in asdict(login).items():
            if type(value) is not kinds.get(name, str):
                raise TypeError(name)
        if not all(type(option) is str for option in login.options):
            raise TypeError("options")
    until, watched = float(row["until"]), tuple(row["watched"])
    if not all(type(path) is str for path in watched):
        raise TypeError("watched")
    return Memory(login=login, node=tuple(row["node"]), watched=watched, guard=str(row["guard"]), until=until)
