"""A command line that somebody on another machine typed, run on this one: `serve-caller`.

What lives here: the conversation on standard input and output (docs/protocol.md, "A command from elsewhere"): files come,
the command runs, its output and its files go back. What must not: how the child is run (`called_command.py`), who may log
in: that is sshd's business.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH102, PTH118, PTH208

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dasctl import __version__
from dasctl.adapters import carrying
from dasctl.adapters.called_command import CallerGone, Channel, Child, Terminal
from dasctl.adapters.domain_lock import login_name
from dasctl.core import elsewhere
from dasctl.core.elsewhere import CALLER_VARIABLE, CURRENT, MARKER, Caller
from dasctl.errors import DasctlError, OperationFailed
from dasctl.remote.frames import FrameError
from dasctl.remote.paths import PathError

PREFIX = "dasctl-caller-"
PASSED = ("TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES")  # of the caller's environment
WITHHELD = ("DASCTL_DOMAIN", "DASCTL_DAS", "DASCTL_DAS_COMMAND", CALLER_VARIABLE)  # of ours
MOST_FILES = 1000

Header = Mapping[str, Any]


def serve(domain: Path | None) -> None:
    """Serve the caller on standard input and output until the command has ended. `domain`: the only one that it may mean."""
    channel = Channel.standard()
    try:
        channel.write(b"\n" + MARKER + b"\n")
        channel.send(
            {"greeting": 1, "version": __version__, "host": socket.gethostname(), "user": login_name()}
        )
        try:
            with _ended_by_signals(), _folder() as folder:
                _serve(channel, folder, domain)
        except DasctlError as error:
            channel.send({"error": error.message, "hint": error.hint, "exit_code": int(error.exit_code)})
        except (ValueError, KeyError, TypeError, IndexError, FrameError, PathError) as error:
            channel.send({"error": f"the DAS did not understand the caller: {error!r:.200}", "exit_code": 1})
        channel.flush()
    except CallerGone:
        pass  # what there was to end has ended


def _serve(channel: Channel, folder: bytes, domain: Path | None) -> None:
    order, _ = channel.receive()
    run = order["run"]
    places = [_place(folder, number, given) for number, given in enumerate(run["files"][:MOST_FILES])]
    _receive(channel, places)
    caller = _caller(run, places)
    paths = [os.fsdecode(place) for _, place in places]
    current = next((place for way, place in places if way == CURRENT), None)
    words = [
        "--domain",
        _domain(run["domain"], domain, current is not None),
        *elsewhere.words_of(run["words"], paths),
    ]
    child = Child(
        [sys.executable, "-P", "-m", "dasctl", *words],
        environment=_environment(run.get("environment") or {}, caller),
        terminal=Terminal.of(run["terminal"], run.get("window")),
        folder=current,
    )
    with child:
        status = child.relay(channel)
    for number, (way, place) in enumerate(places):
        if way != "up" and os.path.lexists(place):
            for frame in carrying.sent(place, number):
                channel.write(frame)
    channel.send({"exit": status})


def _place(folder: bytes, number: int, given: Any) -> tuple[str, bytes]:
    """Where the caller's file lies, in a folder of its own so that it keeps its name."""
    way, name = given["way"], given["name"]
    if way not in ("up", "file", "folder", CURRENT) or not isinstance(name, str):
        raise ValueError(f"a file that is none: {given!r:.80}")
    if "/" in name or name in ("", ".", "..") or "\0" in name:
        raise ValueError(f"not the name of a file: {name!r:.80}")
    own = folder + b"/%d" % number
    os.mkdir(own, 0o700)
    place = own + b"/" + os.fsencode(name)
    if way in ("folder", CURRENT):
        os.mkdir(place, 0o700)
    return way, place


def _receive(channel: Channel, places: list[tuple[str, bytes]]) -> None:
    """The files that come, each whole, and the word to begin."""
    for way, place in places:
        if way != "up":
            continue
        arriving = carrying.Receiving(place)
        try:
            while "carried" not in (frame := channel.receive())[0]:
                arriving.take(*frame)
            arriving.finish()
        except OSError as error:
            raise OperationFailed(
                f"what is sent cannot be kept on the DAS, in {os.fsdecode(os.path.dirname(place))}: {error.strerror}",  # noqa: PTH120
                hint="make room there, or let TMPDIR of the login name a folder with more of it",
            ) from error
        finally:
            arriving.close()
    if "begin" not in channel.receive()[0]:
        raise ValueError("it did not say to begin")


def _caller(run: Header, places: list[tuple[str, bytes]]) -> Caller:
    said = run["caller"]
    words = [str(given["words"]) for given in run["files"]]
    told = zip(places, words, strict=True)
    files = {os.fsdecode(place): text for (way, place), text in told if way != CURRENT}
    return Caller(who=elsewhere.name_of(said["who"]), command=str(said["command"])[:2000], files=files)


def _domain(wanted: Any, only: Path | None, elsewhere: bool) -> str:
    """The domain, as it is told a command that runs here, or in a folder `elsewhere`."""
    if not isinstance(wanted, str) or "\0" in wanted:
        raise ValueError("no domain")
    if only is None:
        return str(Path(wanted).expanduser().absolute()) if elsewhere else wanted
    if Path(wanted).expanduser().absolute() != only.expanduser().absolute():
        raise OperationFailed(
            f"this login serves the domain {only}, not {wanted}",
            hint=f"name that one: --das USER@HOST:{only}",
        )
    return str(only.expanduser().absolute())


def _environment(given: Header, caller: Caller) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in (*WITHHELD, *PASSED)}
    passed = {key: str(given[key])[:200].replace("\0", "") for key in PASSED if key in given}
    return {**kept, **passed, CALLER_VARIABLE: caller.as_text()}


@contextmanager
def _folder() -> Iterator[bytes]:
    """A private folder, gone at the end; what killed ones left goes first."""
    base = tempfile.gettempdir()
    _sweep(base)
    try:
        folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base)
    except OSError as error:
        raise OperationFailed(f"nothing can be kept in {base} on the DAS: {error.strerror}") from error
    try:
        yield os.fsencode(folder)
    finally:
        _removed(folder)


def _sweep(base: str) -> None:
    for name in os.listdir(base):
        number = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and number.isdigit() and not _lives(int(number)):
            with suppress(OSError):
                path = os.path.join(base, name)
                if os.lstat(path).st_uid == os.getuid():
                    _removed(path)


def _removed(folder: str) -> None:
    """Remove it all; a folder that came without the right to write is ours all the same."""
    for base, names, _ in os.walk(folder):
        for name in names:
            with suppress(OSError):
                path = os.path.join(base, name)
                if not os.path.islink(path):  # noqa: PTH114
                    os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Here a signal that would end this process at once lets it clean up first."""

    def end(number: int, frame: object) -> None:
        raise CallerGone(f"signal {number}")

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
