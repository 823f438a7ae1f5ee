"""Processes: who a server is, whether it lives, starting it, signalling it.

What lives here: /proc, fork, signals, and the process record. A pid alone is never believed: pid, start time in ticks and
boot id together say who a process is. What must not: waiting for readiness (`ready.py`), requests.
"""

from __future__ import annotations

import os

from dasctl.remote import handles as by_handle
from dasctl.remote import state, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Record = dict[str, Any]

RECORD = state.DOT + b"/process.json"
LOG = b"logs/server.log"
UMASK = 0o022
MOST_FILES = 65_536  # file descriptors that are closed in a server, where /proc does not list them


class Stat:
    """What /proc says of a process."""

    __slots__ = ("group", "session", "state", "ticks")

    def __init__(self, letter: str, group: int, session: int, ticks: int) -> None:
        self.state, self.group, self.session, self.ticks = letter, group, session, ticks


def stat_of(pid: int) -> Stat | None:
    """The process `pid`, or None; the dead that nobody has waited for count as none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return parsed_stat(file.read())
    except OSError:
        return None


def parsed_stat(data: bytes) -> Stat | None:
    """A line of /proc/PID/stat. The name in parentheses may hold anything, parentheses and spaces too."""
    fields = data[data.rfind(b")") + 1 :].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return Stat(fields[0].decode("ascii"), int(fields[2]), int(fields[3]), int(fields[19]))


def boot_id() -> str:
    """What tells one boot of this machine from another; "" where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def load(place: state.Place) -> Record | None:
    """The process record, or None where there is none, or none that can be understood."""
    import json

    data = by_handle.contents(place.handles, RECORD, state.MOST_STATE)
    if data is None:
        return None
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(record, dict)
        or type(record.get("pid")) is not int
        or type(record.get("ticks")) is not int
    ):
        return None
    return record if record["pid"] > 1 else None


def save(place: state.Place, record: Record) -> None:
    """Write the process record."""
    import json

    place.disk.write(RECORD, json.dumps(record, indent=1).encode("ascii") + b"\n", lasting=False)


def lives(record: Record) -> bool:
    """Whether the recorded process itself runs."""
    if record.get("boot") != boot_id():
        return False
    found = stat_of(record["pid"])
    return found is not None and found.ticks == record["ticks"]


def members(record: Record) -> list[int]:
    """The processes of the server's session that run, its leader included."""
    if record.get("boot") != boot_id():
        return []
    pid = record["pid"]
    leader = stat_of(pid)
    if leader is not None and leader.ticks != record["ticks"]:
        return []  # somebody else has that number now, so the session is no more
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _may_be_of(int(name), pid):
            process = stat_of(int(name))
            if process is not None and process.session == pid and process.ticks >= record["ticks"]:
                found.append(int(name))
    return found


def _may_be_of(pid: int, session: int) -> bool:
    """One system call, a tenth of what reading /proc/PID/stat costs: a machine has many processes, and many servers ask."""
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False
    except OSError:
        return True


def state_of(record: Record | None) -> str:
    """The state of a server by its record and its process."""
    if record is None:
        return words.NOT_RUNNING
    if lives(record):
        return words.RUNNING if record.get("ready") else words.STARTING
    if record.get("stopped") or record.get("boot") != boot_id():
        return words.NOT_RUNNING
    return words.SERVER_FAILED


def signal_number(name: str) -> int:
    """The number of `TERM`, `SIGTERM` or `15`."""
    import signal

    text = name.upper()
    if text.isdigit() and 0 < int(text) < signal.NSIG:
        return int(text)
    found = getattr(signal, text if text.startswith("SIG") else "SIG" + text, None)
    if not isinstance(found, signal.Signals):
        raise state.Failure("there is no signal %r" % name)
    return int(found)


def signal_all(record: Record, number: int) -> bool:
    """Signal the server's process group and what else lives in its session; False where nothing lives there."""
    found = members(record)
    outside = []
    for pid in found:
        process = stat_of(pid)
        if process is not None and process.group != record["pid"]:
            outside.append(pid)
    if len(found) > len(outside):
        try:
            os.killpg(record["pid"], number)
        except ProcessLookupError:
            pass
    for pid in outside:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
    return bool(found)


def spawn(
    place: state.Place,
    command: str,
    environment: Mapping[str, str],
    record: Callable[[int, int], None],
) -> None:
    """Start `/bin/sh -c command` in the instance's folder, in a session of its own, detached from us.

    `record` is given its pid and the offset in the log at which its output begins, before a single instruction of it
    runs: if we are killed in between, there is no server that nobody knows of. Raises OSError where it cannot be executed.
    """
    log, offset = _open_log(place)
    wait, go = os.pipe()
    told, tell = os.pipe()  # closed by a successful exec; otherwise it brings the reason
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _become(place.root, log, wait, tell, command, dict(environment))
    for handle in (log, wait, tell):
        os.close(handle)
    try:
        record(pid, offset)
        os.write(go, b"go")
        os.close(go)
        go = -1
        reason = os.read(told, 64)
    except BaseException:
        if go >= 0:
            os.close(go)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(told)
    if reason:
        os.waitpid(pid, 0)
        raise OSError(int(reason), "the server's shell could not be started: " + os.strerror(int(reason)))


def _open_log(place: state.Place) -> tuple[int, int]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        folder, name = place.handles.parent(LOG)
        log = os.open(name, flags, 0o644, dir_fd=folder)
    except OSError as error:
        raise state.explained(error, os.path.join(place.path, LOG.decode())) from error
    os.set_blocking(log, True)
    return log, os.fstat(log).st_size


def _become(root: int, log: int, wait: int, tell: int, command: str, environment: dict[str, str]) -> None:
    """In the child: become the server. Never returns."""
    import signal

    try:
        os.setsid()
        os.fchdir(root)
        if not os.read(wait, 2):
            os._exit(127)
        silence = os.open("/dev/null", os.O_RDONLY)
        os.dup2(silence, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _close_others(tell)
        os.umask(UMASK)
        for number in signal.valid_signals():
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass  # KILL and STOP
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve("/bin/sh", ["/bin/sh", "-c", command], environment)
    except OSError as error:
        os.write(tell, b"%d" % (error.errno or 1))
    except BaseException:
        os.write(tell, b"1")
    finally:
        os._exit(127)


def _close_others(kept: int) -> None:
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(3, MOST_FILES))
    for number in numbers:
        if number > 2 and number != kept:
            try:
                os.close(number)
            except OSError:
                pass


def ended(pid: int) -> dict[str, int] | None:
    """How our child `pid` ended, or None while it runs; {} where it is not our child (any more)."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return {}
    if done == 0:
        return None
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"status": os.WEXITSTATUS(status)}
