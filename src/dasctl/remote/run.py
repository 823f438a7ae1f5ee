"""`run`: a command in the folder of each instance, and what it said.

What lives here: processes from their start to their end, side by side in one loop. What must not: what commands mean.

A command has a session of its own, and it is ended as a whole: at its time limit, and when the other end is gone. What a
command leaves in the background lives on, as it would after a login; its output is not waited for.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque

from dasctl.remote import asked, definition, messages, process, visiting, words
from dasctl.remote.bounded import Bounded
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from dasctl.remote import state
    from dasctl.remote.wire import Link

    Reply = dict[str, Any]

MOST_COMMAND = 100_000  # bytes: a shell takes no longer argument (MAX_ARG_STRLEN of Linux is 128 KiB)
MOST_AT_ONCE = 64  # commands: each has two pipes, and 1024 files may be open
MOST_KEPT = 1 << 22  # bytes of all answers of a reply: as JSON a byte may take six
PIECE = 1 << 16  # what a pipe holds
TURNS = 16  # pieces that are read of one pipe before the others have their turn
FIRST_LOOK_S = 0.001  # a command ends a moment after its output does
LOOK_S = 0.02  # how often, later, we look who has ended, and whether the other end is still there
LINGER_S = 0.2  # how long the output may be silent after its command has ended, and still count as its own
LINGER_MOST_S = 2.0  # the same where something in the background goes on talking
TERM_S = 2.0  # between asking a session to end and ending it
KILL_S = 5.0  # how long the kernel may take then


def run(link: Link, header: Reply) -> Reply:
    """Answer a `run`."""
    common = messages.common(header)
    requests = messages.instances(header, checked)
    share = MOST_KEPT // max(1, 2 * len(requests))

    def prepared(node: str, place: state.Place, kept: state.Kept, request: Reply) -> Command:
        return Command(request, place.path, environment(node, place), min(request["most"], share))

    found = visiting.each(common, requests, prepared)
    carry_out(link, [item for item in found if isinstance(item, Command)])
    replies = [item.reply if isinstance(item, Command) else item for item in found]
    return {"reply": words.RUN, "instances": replies}


def checked(item: Reply) -> Reply:
    """An instance of `run`."""
    command = messages.need(item, "command", str)
    if not command.strip() or "\0" in command or not _encodable(command):
        raise messages.BadMessage("command: %r cannot be given to a shell" % command[:80])
    limit = messages.optional(item, "timeout", (int, float))
    most = messages.optional(item, "most", int, 1 << 16)
    if most < 0 or (limit is not None and not 0 < limit < 1e9):
        raise messages.BadMessage("timeout: %r, most: %r" % (limit, most))
    return {"name": item["name"], "command": command, "timeout": limit, "most": most}


def _encodable(command: str) -> bool:
    try:
        return len(os.fsencode(command)) <= MOST_COMMAND
    except UnicodeError:
        return False


def environment(node: str, place: state.Place) -> dict[str, str]:
    """The server's own environment, and DASCTL_PID where it runs. Raises Failure where its definition cannot be used."""
    own = {**os.environ, **definition.load(place).own_variables(node, place.path)}
    record = process.load(place)
    if record is not None and process.lives(record):
        own["DASCTL_PID"] = str(record["pid"])
    return own


class Command:
    """One command: to be started, on its way, or ended with its `reply`."""

    def __init__(self, request: Reply, folder: str, variables: Mapping[str, str], most: int) -> None:
        self.name: str = request["name"]
        self.reply: Reply = {}
        self._request, self._folder, self._variables = request, folder, dict(variables)
        self.out, self.err = Bounded(most), Bounded(most)
        self.open: dict[int, Bounded] = {}  # pipes that may bring more
        self._began = self._ended = self._heard = 0.0
        self._asked_to_end: float | None = None
        self._killed = False

    def start(self) -> None:
        """Start it. Raises OSError where no shell can be started."""
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", os.fsencode(self._request["command"])],
            cwd=self._folder, env=self._variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, umask=process.UMASK,
        )  # fmt: skip
        found = process.stat_of(self._process.pid)
        self._record = {
            "pid": self._process.pid, "ticks": found.ticks if found is not None else 0, "boot": process.boot_id(),
        }  # fmt: skip
        for stream, kept in ((self._process.stdout, self.out), (self._process.stderr, self.err)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self.open[stream.fileno()] = kept

    def read(self, pipe: int) -> bool:
        """Take what a pipe holds; whether it may bring more."""
        for _ in range(TURNS):
            try:
                data = os.read(pipe, PIECE)
            except BlockingIOError:
                return True
            if not data:
                del self.open[pipe]
                return False
            self._heard = time.monotonic()
            self.open[pipe].add(data)
        return True

    def over(self) -> bool:
        """Whether it has ended and said what it had to say; one that is late is ended."""
        now = time.monotonic()
        if self._process.poll() is None:
            self._hurry(now)
            return self._asked_to_end is not None and now > self._asked_to_end + TERM_S + KILL_S
        self._ended = self._ended or now
        if self._asked_to_end is not None and not self._killed:
            self._kill()  # what it left behind is late, too
        silent = now - max(self._ended, self._heard)
        return not self.open or silent > LINGER_S or now - self._ended > LINGER_MOST_S

    def _hurry(self, now: float) -> None:
        limit = self._request["timeout"]
        if self._asked_to_end is None and limit is not None and now - self._began >= limit:
            self.ask_to_end()
        elif self._asked_to_end is not None and now - self._asked_to_end >= TERM_S:
            self._kill()

    def ask_to_end(self) -> None:
        """TERM to all of its session."""
        self._asked_to_end = time.monotonic()
        self._signal(signal.SIGTERM)

    def _kill(self) -> None:
        self._killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            process.signal_all(self._record, number)
        except OSError:
            pass  # one that has made itself another user's: there is nothing else that we could do

    def lives(self) -> bool:
        """Whether anything of its session does."""
        self._process.poll()
        return bool(process.members(self._record))

    def end(self) -> None:
        """KILL to what is left of its session."""
        self._kill()
        try:
            self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            pass
        self.close()

    def close(self) -> None:
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def conclude(self) -> None:
        """Make the reply, and let the pipes go."""
        left = bool(self.open) and self._process.returncode is not None
        self.close()
        code = self._process.returncode
        if code is None:
            self.reply = asked.failed(
                self.name, "the command could not be ended (pid %d)" % self._process.pid
            )
            return
        out, more_out = self.out.text()
        err, more_err = self.err.text()
        self.reply = {
            "name": self.name, "verdict": words.DONE, "exit": {"signal": -code} if code < 0 else {"status": code},
            "out": out, "err": err, "more": more_out + more_err, "seconds": time.monotonic() - self._began,
            "late": self._asked_to_end is not None, "left": left,
        }  # fmt: skip


def carry_out(link: Link, commands: list[Command]) -> None:
    """Start all, hear all, end all; beats go out meanwhile. Raises Gone, with all of them ended, when nobody listens."""
    waiting, going = deque(commands), list[Command]()
    pause = FIRST_LOOK_S
    beat = time.monotonic() + words.BEAT_S
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or going:
                while waiting and len(going) < MOST_AT_ONCE:
                    if _started(waiting[0], selector):
                        going.append(waiting[0])
                    waiting.popleft()
                pause = FIRST_LOOK_S if _hear(selector, pause) else min(2 * pause, LOOK_S)
                going = [command for command in going if not _concluded(command, selector)]
                if link.gone():
                    raise Gone
                if time.monotonic() >= beat:
                    link.send({"event": "beat"})
                    beat = time.monotonic() + words.BEAT_S
        except BaseException:
            _end(going)
            raise


def _end(going: list[Command]) -> None:
    for command in going:
        command.ask_to_end()
    until = time.monotonic() + TERM_S
    while time.monotonic() < until and any(command.lives() for command in going):
        time.sleep(LOOK_S)
    for command in going:
        command.end()


def _started(command: Command, selector: selectors.BaseSelector) -> bool:
    try:
        command.start()
    except (OSError, ValueError) as error:  # ValueError: variables that cannot be given to a process
        command.reply = asked.failed(command.name, "the command could not be started: %s" % error)
        return False
    for pipe in command.open:
        selector.register(pipe, selectors.EVENT_READ, command)
    return True


def _hear(selector: selectors.BaseSelector, pause: float) -> bool:
    """Take what there is to hear, for at most `pause` seconds; whether there was anything."""
    if not selector.get_map():
        time.sleep(pause)
        return False
    heard = selector.select(pause)
    for key, _ in heard:
        if not key.data.read(key.fd):
            selector.unregister(key.fd)
    return bool(heard)


def _concluded(command: Command, selector: selectors.BaseSelector) -> bool:
    if not command.over():
        return False
    for pipe in command.open:
        selector.unregister(pipe)
    command.conclude()
    return True
