"""A command of somebody elsewhere as a child: its terminal, what is typed, signals, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dasctl.adapters.called_command import CallerGone, Channel, Child, Terminal
from dasctl.adapters.called_warden import end_group
from dasctl.remote import frames

ALL = Terminal(streams=(True, True, True), size=(30, 90))
NONE = Terminal(streams=(False, False, False))


@contextmanager
def channel(*said: bytes, gone: bool = False) -> Iterator[tuple[Channel, int]]:
    """A channel whose other end has said all that already; and where it hears."""
    source, tell = os.pipe()
    hear, sink = os.pipe()
    os.write(tell, b"".join(said))
    if gone:
        os.close(tell)
    try:
        yield Channel(source, sink), hear
    finally:
        for handle in (source, sink, hear, *([] if gone else [tell])):
            os.close(handle)


def heard(handle: int) -> dict[int, bytes]:
    os.set_blocking(handle, False)
    found: dict[int, bytes] = {}
    for header, body in frames.Decoder().feed(os.read(handle, 1 << 20)):
        found[header["out"]] = found.get(header["out"], b"") + body
    return found


def run(command: str, terminal: Terminal, *said: bytes) -> tuple[int, dict[int, bytes]]:
    with channel(*said) as (line, hear):
        with Child(["/bin/sh", "-c", command], environment=dict(os.environ), terminal=terminal) as child:
            status = child.relay(line)
        return status, heard(hear)


def test_streams_stay_apart() -> None:
    status, out = run("printf 'a\\377\\n'; echo b >&2; cat; exit 7", NONE)
    assert (status, out) == (7, {1: b"a\xff\n", 2: b"b\n"})


def test_a_terminal_of_the_callers_size_and_what_is_typed() -> None:
    said = frames.encode({"window": [41, 101]}), frames.encode({"typed": True}, b"hello\n")
    status, out = run(
        "stty size; read x; stty size; echo $x; test -t 0 && test -t 1 && test -t 2", ALL, *said
    )
    assert status == 0
    lines = out[0].replace(b"\r", b"").split(b"\n")
    assert lines[-4:-1] == [b"41 101", b"hello"][:3] or lines[-3:-1] == [b"41 101", b"hello"]


def test_a_mixture() -> None:
    mixed = Terminal(streams=(False, False, True))
    status, out = run("test -t 0 || echo 0; test -t 1 || echo 1; test -t 2 && echo 2 >&2", mixed)
    assert (status, out) == (0, {1: b"0\n1\n", 0: b"2\r\n"})


@pytest.mark.parametrize(
    ("said", "terminal"),
    [
        (frames.encode({"typed": True}, b"\x03"), ALL),
        (frames.encode({"signal": "INT"}), NONE),
        (frames.encode({"signal": "INT"}), ALL),
    ],
)
def test_ctrl_c(said: bytes, terminal: Terminal) -> None:
    python = f"exec {sys.executable} -c 'import time; time.sleep(100)'"
    with channel() as (line, _), Child(["/bin/sh", "-c", python], environment={}, terminal=terminal) as child:
        source, tell = os.pipe()
        line.source = source
        os.write(tell, said)
        assert child.relay(line) in (1, 130)
        os.close(source)
        os.close(tell)


def test_much_output_and_who_inherited_it() -> None:
    """More than a pipe holds, and a child of its own that lives on with its output."""
    with channel() as (line, hear):
        reader = os.fork()
        if reader == 0:
            os.close(line.sink)
            size = 0
            while data := os.read(hear, 1 << 20):
                size += len(data)
            os._exit(0 if size > 20_000_000 else 1)
        command = "head -c 20000000 /dev/zero; sleep 30 & exit 3"
        with Child(["/bin/sh", "-c", command], environment=dict(os.environ), terminal=NONE) as child:
            assert child.relay(line) == 3
            pid = child._process.pid if child._process is not None else 0
        os.killpg(pid, 9)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, line.sink)
        os.close(null)
        assert os.waitpid(reader, 0)[1] == 0


def test_the_caller_goes() -> None:
    with (
        channel(gone=True) as (line, _),
        pytest.raises(CallerGone),
        Child(
            ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 100 & wait"], environment={}, terminal=NONE
        ) as child,
    ):
        child.relay(line)
    assert child._process is not None
    assert child._process.returncode in (0, -15)  # it may not have come as far as the trap


SERVED = """
import os, sys
from dasctl.adapters.called_command import Channel, Child, Terminal
source, sink = os.pipe()
streams = (sys.argv[2] == "terminal",) * 3
with Child(["/bin/sh", "-c", sys.argv[1]], environment=dict(os.environ), terminal=Terminal(streams=streams)) as child:
    child.relay(Channel(source, sink))
"""


@contextmanager
def served(command: str, terminal: str) -> Iterator[subprocess.Popen[bytes]]:
    """Who runs the command for somebody, as `serve-caller` does; nobody ever hears of him."""
    process = subprocess.Popen([sys.executable, "-c", SERVED, command, terminal], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + 60.0
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether it runs; one that has ended and waits for somebody who asks does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("terminal", ["terminal", "pipes"])
def test_kill_9_of_who_runs_it_ends_the_command_in_order(tmp_path: Path, terminal: str) -> None:
    """A whole group: the command and a child of its own."""
    mark = tmp_path / "pids"
    ended = tmp_path / "ended"
    command = (
        f"trap 'echo in order > {ended}; exit 0' TERM HUP; sleep 1000 & "
        f"echo $$ $! > {mark}.new; mv {mark}.new {mark}; wait"
    )
    with served(command, terminal) as process:
        until(mark.exists)
        pids = [int(word) for word in mark.read_text().split()]
        assert all(map(is_running, pids))
        process.kill()
        until(lambda: not any(map(is_running, pids)))
    assert ended.read_text() == "in order\n"


def test_kill_9_of_his_whole_group_ends_the_command_as_well(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with served(f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 1000", "pipes") as process:
        until(mark.exists)
        pid = int(mark.read_text())
        os.killpg(process.pid, signal.SIGKILL)
        until(lambda: not is_running(pid))


def test_nobody_watches_any_more_when_the_command_has_ended(tmp_path: Path) -> None:
    """Its children may live on, as they may at home: only what nobody waits for is ended."""
    mark = tmp_path / "pid"
    run(f"sleep 1000 > /dev/null 2>&1 & echo $! > {mark}; echo begun", NONE)
    pid = int(mark.read_text())
    time.sleep(0.5)
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


def test_who_does_not_end_is_ended() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
    with subprocess.Popen(
        [sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end_group(process.pid, 0.5)
        assert process.wait(60) == -signal.SIGKILL
