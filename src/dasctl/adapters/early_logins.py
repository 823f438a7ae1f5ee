"""Logins that begin before dasctl has imported itself: `ssh` waits for its server most of the time, and that is time to use.

What lives here: beginning those that are remembered, sending the helper after them, and ending what nobody took. What must
not: which nodes are meant, the event loop, anything that takes long to import.

    No node is asked for anything before its link is opened: a helper that the command does not come to need ends unused, as
    one does whose command fails in between.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.adapters.logins import Login, Logins, config_of_environment
from dasctl.adapters.node_command import COMMAND
from dasctl.adapters.ssh_program import Running, started
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.adapters.helper_pack import Shipment
    from dasctl.core.domain import Node

LOGINS_AT_ONCE = 8  # per sshd: OpenSSH's default MaxStartups drops the eleventh that has not logged in


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A login that was begun, what was sent behind it of the helper (bytes), and what the kernel did not take of that."""

    running: Running
    helper: Shipment
    sent: int
    rest: bytes


class EarlyLogins:
    """The logins that were begun, by the names of their nodes."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._begun: dict[str, Begun] = {}

    def begin(self, root: Path, nodes: Iterable[tuple[str, Node]], *, timeout_s: float) -> None:
        """Begin those of `nodes`, of the domain in `root`, that are remembered; of one sshd so many as may be at once.

        Each gets the helper for a synchronisation, as far as there is room for it on the way.
        """
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
                    break  # who opens the link finds out
                self._running[name] = running
        if self._running:
            self._send(root)

    def take(self, name: str, login: Login) -> Begun | None:
        """The one that was begun for the node `name`, if it is this one; from now on it is the caller's."""
        begun = self._begun.get(name)
        if begun is None or begun.running.login != login:
            return None
        del self._running[name]
        return self._begun.pop(name)

    def end(self) -> None:
        """End those that nobody took. May be called twice."""
        self._begun.clear()
        while self._running:
            _, running = self._running.popitem()
            running.sock.close()
            running.kill()

    def _send(self, root: Path) -> None:
        from dasctl.adapters.helpers import Helpers

        helpers = Helpers(root / ".dasctl")
        for name, running in self._running.items():
            helper = helpers.shipment(name)
            data = helper.opening() + helper.ahead_of({"op": words.SYNC})
            try:
                sent = running.sock.send(data, socket.MSG_DONTWAIT)
            except OSError:  # it has ended, or takes nothing: who opens the link finds out
                sent = 0
            self._begun[name] = Begun(running=running, helper=helper, sent=sent, rest=data[sent:])
