"""What a plain synchronisation begins before anything heavy is imported: the lock, the scan, the logins.

What lives here: the order of these, and giving them up. What must not: what they are; anything that takes long to import.

    While one core imports asyncio and the rest for 60 ms, the other one scans the repository, and `ssh` logs in. Nothing is
    judged here: where anything is not as expected, all of it is dropped, and the ordinary way begins at the beginning
    and says what is wrong.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dasctl.adapters.domain_lock import CALLER
from dasctl.adapters.early_logins import EarlyLogins
from dasctl.adapters.store import YamlStore, find_domain
from dasctl.adapters.tree import FolderRepository
from dasctl.core.targets import resolve
from dasctl.errors import DasctlError


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStart:
    """What was begun: a store that holds the lock for the next who asks for it, a repository with a scan under way."""

    root: Path
    store: YamlStore
    repository: FolderRepository
    logins: EarlyLogins

    def drop(self) -> None:
        """End what nobody has taken over. May be called twice."""
        self.logins.end()
        self.repository.drop_ahead()
        self.store.release()


def begin(
    folder: Path | None, targets: Sequence[str], *, parallel: int, timeout_s: float
) -> HeadStart | None:
    """Begin a synchronisation of `targets` in the domain that is meant; None: it has to begin in the ordinary way.

    `parallel`: at how many nodes at once; `timeout_s` is for one connection.
    """
    if CALLER in os.environ:
        return None
    try:
        root = find_domain(Path.cwd(), folder, os.environ)
        begun = HeadStart(
            root=root, store=YamlStore(root, sleep=sleep_between_tries), repository=FolderRepository(root),
            logins=EarlyLogins(),
        )  # fmt: skip
    except (DasctlError, OSError):
        return None
    try:
        begun.store.lock_ahead(command_line(sys.argv[1:]))
        domain = begun.store.load()
        names = dict.fromkeys(domain.instances[name].node for name in resolve(domain, targets))
        begun.repository.scan_ahead(domain, criterion=domain.domain.criterion)
        nodes = [(name, domain.nodes[name]) for name in names]
        begun.logins.begin(root, nodes[:parallel], timeout_s=timeout_s)
    except Exception:  # whatever it is, the ordinary way meets it again, and says it
        begun.drop()
        return None
    return begun


def sleep_between_tries(seconds: float) -> None:
    """Wait for the lock. Nothing is awaited meanwhile, so an interrupt has to be looked for."""
    import asyncio

    time.sleep(seconds)
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


_WHERE = ("--domain", "--das", "--das-command", "--parallel", "--limit", "--wait", "--timeout")
_HOW = ("--json", "--terse", "--quiet", "-q", "--verbose", "-v")


def command_line(words: Sequence[str]) -> str:
    """The command as the history tells it: without the words that only say where and how to show."""
    told: list[str] = []
    left = iter(words)
    for word in left:
        if word in _WHERE:
            next(left, None)
        elif word not in _HOW and not word.startswith(tuple(f"{option}=" for option in _WHERE)):
            told.append(word)
    return shlex.join(told)[:500]
