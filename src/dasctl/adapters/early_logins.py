"""Logins that begin before dasctl has imported itself: `ssh` waits for its server most of the time, and that is time to use.

What lives here: beginning those that are remembered, and ending what nobody took. What must not: which nodes are meant, the
event loop, anything that takes long to import.

    Nothing is said to a node before its link is opened: a login that the command does not come to need ends unused, as one
    does whose command fails in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.adapters.logins import Login, Logins, config_of_environment
from dasctl.adapters.node_command import COMMAND
from dasctl.adapters.ssh_program import Running, started

if TYPE_CHECKING:
    from dasctl.core.domain import Node

LOGINS_AT_ONCE = 8  # per sshd: OpenSSH's default MaxStartups drops the eleventh that has not logged in


class EarlyLogins:
    """The logins that were begun, by the names of their nodes."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}

    def begin(self, root: Path, nodes: Iterable[tuple[str, Node]], *, timeout_s: float) -> None:
        """Begin those of `nodes`, of the domain in `root`, that are remembered; of one sshd so many as may be at once."""
        logins = Logins(root, config_of_environment())
        at_once: dict[tuple[str, int], int] = {}
        for name, node in nodes:
            login = logins.remembered(name, node)
            if login is None:
                continue
            place = (login.host, login.port)
            at_once[place] = at_once.get(place, 0) + 1
            if at_once[place] <= LOGINS_AT_ONCE:
                try:
                    running = started(login, logins.hosts_file(login), COMMAND, timeout_s=timeout_s)
                except OSError:
                    return  # who opens the link finds out
                self._running[name] = running

    def take(self, name: str, login: Login) -> Running | None:
        """The one that was begun for the node `name`, if it is this one; from now on it is the caller's."""
        found = self._running.get(name)
        return self._running.pop(name) if found is not None and found.login == login else None

    def end(self) -> None:
        """End those that nobody took. May be called twice."""
        while self._running:
            _, running = self._running.popitem()
            running.sock.close()
            running.kill()
