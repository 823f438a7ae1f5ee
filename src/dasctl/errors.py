"""The error tree on one page: what went wrong, what to do now, and the exit code.

An exception here ends a command or one node's part of it. What merely could not be done to one file is data
(`dasctl.core.outcome.Problem`). Foreign exceptions are translated into these at the adapters' edges, with `from`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the shell sees. The table in docs/exit-codes.md is made from these lines."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    UNREACHABLE = 4
    LOCKED = 5
    REFUSED = 6
    DIFFERS = 7

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done, or nothing to do",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage, or an invalid domain",
    ExitCode.PARTIAL: "some targets succeeded and some failed",
    ExitCode.UNREACHABLE: "no target could be reached",
    ExitCode.LOCKED: "the domain is locked by another command",
    ExitCode.REFUSED: "refused by a node's guard (stale, fenced, another domain)",
    ExitCode.DIFFERS: "differences were found (`list-deviations`, `diff-instance`, `diff`)",
}


class DasctlError(Exception):
    """Base of all. `str()` is the message, one line or more; `hint` is what to do now, or empty."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OperationFailed(DasctlError):
    """The command could not do what it was asked to."""


class NotChanged(OperationFailed):
    """An instance was left as it is because another one could not go along (`--together`)."""


class ArchiveRefused(OperationFailed):
    """An archive holds what is not unpacked, or is damaged; the message names the member."""


class UsageError(DasctlError):
    """The words of the command are wrong: an unknown target, a missing option, a name that is not allowed."""

    exit_code = ExitCode.USAGE


class DomainNotFound(UsageError):
    """No folder holds `config/domain.yaml`, here or upwards."""


class InvalidDomain(DasctlError):
    """`domain.yaml` has faults; `faults` lists all of them, each one line with file, line and path."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, faults: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__("\n".join([message, *faults]), hint=hint)
        self.faults = faults


class DomainLocked(DasctlError):
    """Another command holds the domain's lock; the message says who, where, since when."""

    exit_code = ExitCode.LOCKED


class FormatTooNew(DasctlError):
    """Something kept (domain.yaml, history, state on a node) was written by a newer dasctl."""

    exit_code = ExitCode.USAGE


class RepositoryError(DasctlError):
    """A file of the repository could not be read, or keeps changing while it is read."""


class ObjectLost(RepositoryError):
    """A content of a kept revision is missing or damaged in `.dasctl/objects`, and no working file holds it."""


class HistoryError(DasctlError):
    """The history's database cannot be used."""


class NodeError(DasctlError):
    """Something about one node. It never passes through another node's work."""


class NodeUnreachable(NodeError):
    """No answer: refused, no route, unknown host, reset, closed before the greeting, timed out while connecting."""

    exit_code = ExitCode.UNREACHABLE


class NodeTimeout(NodeUnreachable):
    """The node was connected and then said nothing for too long."""


class LinkLost(NodeUnreachable):
    """The link broke in the middle of a conversation; what was done there is known only after the next one."""


class AuthenticationFailed(NodeUnreachable):
    """The node did not accept any key."""


class UnknownHostKey(NodeUnreachable):
    """The node showed a host key that nobody has accepted yet; `fingerprint` is `SHA256:…`."""

    def __init__(self, message: str, *, fingerprint: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fingerprint = fingerprint


class ChangedHostKey(NodeUnreachable):
    """The node showed another host key than the accepted one. A hard stop."""


class NodeNotUsable(NodeError):
    """The node answers, but the helper cannot work there: no python3, too old, folder not writable, disk full."""


class ProtocolError(NodeError):
    """What came through the link is not what the protocol allows."""


class GuardRefused(NodeError):
    """The guard on the node refused: another domain, fenced, an unknown revision, another membership."""

    exit_code = ExitCode.REFUSED
