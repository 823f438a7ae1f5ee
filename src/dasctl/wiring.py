"""The one place where the floors meet: which adapter stands behind which port, and how an operation is run.

What lives here: construction, the event loop, signals. What must not: decisions. SSH is imported when the first
connection is made, and not before: commands that need none start fast.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dasctl.adapters.clock import SystemClock
from dasctl.adapters.domain_lock import CALLER, user_name
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.ssh import SshLinks
from dasctl.adapters.store import YamlStore, create_domain, find_domain
from dasctl.adapters.threads import Threads
from dasctl.adapters.tree import FolderRepository
from dasctl.core import outcome as outcomes
from dasctl.core.domain import Node
from dasctl.core.exchange import BundleFile, Event, HostKey, Who
from dasctl.core.outcome import Outcome
from dasctl.errors import DasctlError, OperationFailed
from dasctl.head_start import HeadStart, command_line, sleep_between_tries
from dasctl.operations.ports import Context, Link

if TYPE_CHECKING:
    from dasctl.adapters.admission import Admission
    from dasctl.adapters.early_logins import EarlyLogins
    from dasctl.adapters.member_files import FolderMembers
    from dasctl.adapters.objects import FolderObjects
    from dasctl.adapters.rollouts import FolderRollouts
    from dasctl.adapters.throttle import Throttle
    from dasctl.adapters.working import FolderWorking
    from dasctl.core.bundles import Plan
    from dasctl.core.elsewhere import CarriedFile, Place
    from dasctl.core.moves import Move, Touch
    from dasctl.operations.collecting_ports import LogArchive
    from dasctl.operations.member_ports import Outside
    from dasctl.remote.manifest import Entry

Port = TypeVar("Port")

AGAIN = "run the command again: it finishes what was begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says about how to run, whatever the command. Times in seconds."""

    domain: Path | None = None
    parallel: int = 64
    limit: float | None = None  # bytes per second, over all nodes together
    wait_s: float = 0.0
    timeout_s: float = 10.0


def run(
    options: Options,
    command: str,
    operation: Callable[[Context], Awaitable[Outcome]],
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    ask: Callable[[str], bool] | None = None,
    begun: HeadStart | None = None,
) -> Outcome:
    """Run `operation` on the domain that is meant; a DasctlError becomes its outcome. `ask`: see `Context`."""
    try:
        return _timed(
            command, lambda: _with_revision(replace(connected(options, on_event, begun), ask=ask), operation)
        )
    finally:
        if begun is not None:
            begun.drop()


async def _with_revision(context: Context, operation: Callable[[Context], Awaitable[Outcome]]) -> Outcome:
    """The operation's outcome; one that names no revision was about the domain as it stands."""
    outcome = await operation(context)
    if outcome.revision is not None:
        return outcome
    with suppress(DasctlError):  # a history that cannot be read is told by what needs it
        head = context.history.head()
        return replace(outcome, revision=head.number if head is not None else None)
    return outcome


def run_without_domain(
    options: Options,
    command: str,
    operation: Callable[[Outside], Awaitable[Outcome]],
    *,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """The same for an operation that has no domain folder, or none yet."""
    return _timed(command, lambda: operation(outside(options, on_event)))


def connected(options: Options, on_event: Callable[[Event], None], begun: HeadStart | None = None) -> Context:
    """The context of a command in its domain, with what was `begun` there. Raises DomainNotFound; nothing is opened yet."""
    root = begun.root if begun else find_domain(Path.cwd(), options.domain, os.environ)
    store = begun.store if begun else YamlStore(root, sleep=sleep_between_tries)
    repository = begun.repository if begun else FolderRepository(root)
    links = _Ssh(store, options.timeout_s, limit=options.limit, early=begun.logins if begun else None)
    return Context(
        store=store, repository=repository, working=_LateWorking(root),
        history=SqliteHistory(root), objects=_late(_objects, root), links=links, host_keys=links,
        clock=SystemClock(), who=_who(), parallel=options.parallel, wait_s=options.wait_s,
        timeout_s=options.timeout_s, on_event=on_event, members=_late(_members, root),
        first_links=_Ssh(store, options.timeout_s, limit=options.limit, repeat=False),
        bundles=_LateBundles(), archives=_LateArchives(), releases=_LateReleases(root),
        rollouts=_late(_rollouts, root), switches=_late(_switches, root), backups=_LateBackups(),
        log_archives=_LateLogArchives(), boot=_boot if options.limit is None else str,
    )  # fmt: skip


def outside(options: Options, on_event: Callable[[Event], None]) -> Outside:
    """What an operation without a domain is given."""
    from dasctl.adapters.backup_file import FolderBackups
    from dasctl.adapters.coordinates import FolderNodeDirs
    from dasctl.adapters.das_link import SshDas
    from dasctl.adapters.embedded_server import EmbeddedServer
    from dasctl.adapters.local import LocalLinks
    from dasctl.adapters.machine import this_machine
    from dasctl.adapters.restored import FolderRestoring
    from dasctl.operations.member_ports import Outside

    return Outside(
        clock=SystemClock(), who=_who(), make_domain=create_domain, on_event=on_event, timeout_s=options.timeout_s,
        wait_s=options.wait_s, machine=this_machine(), local_links=LocalLinks(), ssh_server=EmbeddedServer(),
        das=SshDas(timeout_s=options.timeout_s),
        node_dirs=FolderNodeDirs(home=Path.home(), current=Path.cwd(), environment=os.environ),
        backups=FolderBackups(), restoring=FolderRestoring(),
        open_domain=lambda root: connected(replace(options, domain=root), on_event),
    )  # fmt: skip


class _Ssh:
    """ports.Links and ports.HostKeys, made when first used: their nodes are those of domain.yaml as it is by then."""

    def __init__(
        self,
        store: YamlStore,
        timeout_s: float,
        *,
        limit: float | None,
        early: EarlyLogins | None = None,
        repeat: bool = True,
    ) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._throttle = _throttle(limit) if limit is not None else None
        self._early = early
        self._repeat = repeat
        self._made: SshLinks | None = None

    @property
    def _links(self) -> SshLinks:
        if self._made is None:
            self._made = SshLinks(
                self._store.root, self._store.load().nodes, timeout_s=self._timeout_s, throttle=self._throttle,
                early=self._early, repeat=self._repeat,
            )  # fmt: skip
        return self._made

    @property
    def _admission(self) -> Admission:
        from dasctl.adapters.admission import Admission

        return Admission(self._links)

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Link]:
        async with self._links.open(name, node) as link:
            yield link

    async def admit(
        self, name: str, node: Node, *, accept_any: bool = False, fingerprint: str | None = None
    ) -> HostKey:
        return await self._admission.admit(name, node, accept_any=accept_any, fingerprint=fingerprint)

    def forget(self, node: Node) -> None:
        self._admission.forget(node)

    async def install_key(
        self,
        name: str,
        node: Node,
        public_key: Path | None,
        *,
        generate: bool,
        ask_password: Callable[[str], str],
    ) -> str:
        return await self._admission.install_key(
            name, node, public_key, generate=generate, ask_password=ask_password
        )


class _Late:
    """An adapter that is made, and imported, when it is first used; by several threads at once, perhaps."""

    def __init__(self, make: Callable[[Path], Any], root: Path) -> None:
        self._make = make
        self._root = root
        self._lock = threading.Lock()
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._make(self._root)
        return getattr(self._made, name)


def _late(make: Callable[[Path], Port], root: Path) -> Port:
    return cast("Port", _Late(make, root))


def _objects(root: Path) -> FolderObjects:
    from dasctl.adapters.objects import FolderObjects  # where nothing is to be sent, no object is looked at

    return FolderObjects(root)


def _members(root: Path) -> FolderMembers:
    from dasctl.adapters.member_files import FolderMembers  # of use to two commands only

    return FolderMembers(root)


def _rollouts(root: Path) -> FolderRollouts:
    from dasctl.adapters.rollouts import FolderRollouts

    return FolderRollouts(root)


def _switches(root: Path) -> FolderRollouts:
    from dasctl.adapters.rollouts import UPGRADING, FolderRollouts

    return FolderRollouts(root, UPGRADING)


def _boot() -> str:
    from dasctl.adapters.machine import boot_id

    return boot_id()


def _throttle(limit: float) -> Throttle:
    from dasctl.adapters.throttle import Throttle

    return Throttle(limit)


class _LateWorking:
    """ports.Working, imported when files are changed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def making(self) -> AbstractContextManager[Path]:
        return self._made().making()

    def put(self, moves: Sequence[Move], touches: Sequence[Touch] = ()) -> None:
        self._made().put(moves, touches)

    def write(self, at: Path, entries: Sequence[Entry], content: Callable[[str], Iterable[bytes]]) -> None:
        self._made().write(at, entries, content)

    def _made(self) -> FolderWorking:
        from dasctl.adapters.working import FolderWorking

        return FolderWorking(self._root)


class _LateBackups:
    """ports.Backups, imported when there is something to do with one."""

    def __getattr__(self, name: str) -> Any:
        from dasctl.adapters.backup_file import FolderBackups

        return getattr(FolderBackups(), name)


class _LateLogArchives:
    """ports.LogArchives, imported when one is written."""

    def writing(self, file: Path, *, force: bool) -> AbstractContextManager[LogArchive]:
        from dasctl.adapters.log_archives import TarLogArchives

        return TarLogArchives().writing(file, force=force)


class _LateBundles:
    """ports.Bundles, imported when one is written: zip files are of use to one command only."""

    def write(
        self,
        file: Path,
        plan: Plan,
        content: Callable[[str], Iterable[bytes]],
        on_written: Callable[[int], None],
    ) -> BundleFile:
        from dasctl.adapters.bundles import ZipBundles

        return ZipBundles().write(file, plan, content, on_written)


class _LateArchives:
    """ports.Archives, imported when one is opened."""

    def __getattr__(self, name: str) -> Any:
        from dasctl.adapters.archives import FileArchives

        return getattr(FileArchives(), name)


class _LateReleases:
    """ports.Releases, imported when one is installed, or a revision is recorded."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getattr__(self, name: str) -> Any:
        from dasctl.adapters.releases import FolderReleases

        return getattr(FolderReleases(self._root), name)


def _timed(command: str, operation: Callable[[], Awaitable[Outcome]]) -> Outcome:
    started, interrupt = time.monotonic(), _Interrupt()
    try:
        with _interruptible(interrupt):
            result = asyncio.run(_terminable(operation, interrupt))
    except DasctlError as error:
        result = outcomes.failed(command, error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        result = outcomes.failed(command, OperationFailed("interrupted", hint=AGAIN))
    return result.timed(time.monotonic() - started)


class _Interrupt:
    """What Ctrl-C does: it cancels the command's task once that is known; before, and another time, it is an exception.

    asyncio's own handler does the same, but wherever it is replaced, `signal` describes it in words, with the task and its
    outcome: 10 ms.
    """

    def __init__(self) -> None:
        self._end: Callable[[], None] | None = None

    def ends(self, end: Callable[[], None] | None) -> None:
        """The next one calls `end`; None: it is an exception."""
        self._end = end

    def __call__(self, number: int, frame: FrameType | None) -> None:
        end, self._end = self._end, None
        if end is None:
            raise KeyboardInterrupt
        end()


@contextmanager
def _interruptible(handler: Callable[[int, FrameType | None], None] | None = None) -> Iterator[None]:
    """Here Ctrl-C is an exception, which becomes an outcome; before and after it simply ends the process (`cli/main.py`)."""
    before = None
    with suppress(ValueError):  # not the main thread: signals are somebody else's
        before = signal.signal(signal.SIGINT, handler or signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


async def _terminable(operation: Callable[[], Awaitable[Outcome]], interrupt: _Interrupt) -> Outcome:
    """Let SIGTERM (systemd, CI) end the command as Ctrl-C does: with an outcome."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    threads = Threads()
    loop.set_default_executor(threads)

    def end() -> None:
        # At once, as asyncio does for Ctrl-C: a handler of the loop waits for the loop's turn.
        threads.leave_alone = True
        task.cancel()
        loop.call_soon_threadsafe(lambda: None)

    interrupt.ends(end)
    before = None
    with suppress(ValueError):  # not the main thread: signals are somebody else's
        before = signal.signal(signal.SIGTERM, lambda number, frame: end())
    try:
        return await operation()
    finally:
        interrupt.ends(None)
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _who() -> Who:
    command, files = command_line(sys.argv[1:]), dict[str, str]()
    if CALLER in os.environ:
        from dasctl.core.elsewhere import caller_of  # of commands from elsewhere only

        caller = caller_of(os.environ[CALLER])
        if caller is not None:
            command, files = caller.command[:500], dict(caller.files)
    return Who(user=user_name(), host=socket.gethostname(), command=command, files=files)


def run_elsewhere(
    place: Place,
    words: Sequence[str | tuple[str, int]],
    files: Sequence[CarriedFile],
    *,
    typed: Sequence[str],
    timeout_s: float,
    quiet: bool,
    ask: Callable[[str], bool] | None,
) -> int:
    """Run a command line on the machine of its DAS; returns its exit code there. Raises DasctlError, KeyboardInterrupt.

    `typed`: the words as the history tells them. `ask`: whether to trust a host key; None: nobody is there.
    """
    from dasctl.adapters.das_commands import run_there
    from dasctl.core.elsewhere import Caller, Order

    caller = Caller(who=f"{user_name()}@{socket.gethostname()}", command=command_line(list(typed)))
    order = Order(words=tuple(words), files=tuple(files), caller=caller, quiet=quiet)
    with _interruptible():
        try:
            return asyncio.run(run_there(place, order, timeout_s=timeout_s, ask=ask))
        except asyncio.CancelledError as error:
            raise KeyboardInterrupt from error


def serve_caller(domain: Path | None) -> None:
    """Run the command line of somebody elsewhere, who is on standard input and output."""
    from dasctl.adapters.serve_caller import serve

    serve(domain)


logging.getLogger("asyncssh").setLevel("CRITICAL")  # its errors are ours to tell, once
