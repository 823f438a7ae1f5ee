"""`run`: commands in instances' folders, through whole conversations, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, ask
from tests.remote.test_servers import Node

from dasctl.remote import frames, process


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.define()
    return made


def request(node: Node, command: str, **further: Any) -> dict[str, Any]:
    item = {"name": "web1", "command": command, "timeout": None, "most": 1 << 16, **further}
    return {"op": "run", "dir": str(node.path), "domain": DOMAIN, "epoch": 1, "instances": [item]}


def run(node: Node, command: str, **further: Any) -> dict[str, Any]:
    reply = ask(request(node, command, **further))
    assert "instances" in reply, reply
    return dict(reply["instances"][0])


def lives(pid: int) -> bool:
    return process.stat_of(pid) is not None


def test_a_command_runs_in_the_instances_folder_with_the_servers_environment(node: Node) -> None:
    told = run(node, 'echo "$PWD $COLOUR $DASCTL_INSTANCE"; echo two words >&2; cat; exit 3')
    assert (told["verdict"], told["exit"], told["more"]) == ("done", {"status": 3}, 0)
    assert told["out"] == f"{node.root} deep blue web1\n"  # and `cat` read an end at once
    assert told["err"] == "two words\n"
    assert not told["late"]
    assert not told["left"]


def test_a_running_servers_pid_is_told(node: Node) -> None:
    started = node.do("start")
    try:
        assert run(node, "echo $DASCTL_PID")["out"] == f"{started['pid']}\n"
    finally:
        node.do("stop")
    assert run(node, "echo .$DASCTL_PID.")["out"] == "..\n"


def test_a_command_that_is_killed_says_by_which_signal(node: Node) -> None:
    assert run(node, "kill -9 $$")["exit"] == {"signal": 9}


def test_a_late_command_is_ended_with_all_that_it_started(node: Node) -> None:
    began = time.monotonic()
    script = "trap '' TERM; sleep 1000 & echo $!; echo $$; sleep 1000; sleep 1000"
    told = run(node, script, timeout=0.5)
    assert time.monotonic() - began < 20
    assert (told["verdict"], told["late"]) == ("done", True)
    assert told["exit"] == {"signal": 9}, "TERM was not heard, so KILL followed"
    deadline = time.monotonic() + 10  # the kernel needs a moment for those who are not our children
    while any(lives(int(pid)) for pid in told["out"].split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_left_in_the_background_is_neither_waited_for_nor_ended(node: Node) -> None:
    began = time.monotonic()
    told = run(node, "sleep 1000 & echo $!")
    pid = int(told["out"])
    try:
        assert time.monotonic() - began < 10
        assert (told["exit"], told["left"]) == ({"status": 0}, True)
        assert lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_talkative_child_in_the_background_does_not_hold_the_answer_up(node: Node) -> None:
    began = time.monotonic()
    told = run(node, "(while :; do echo again; sleep 0.01; done) & echo $! >run/pid; echo done")
    pid = int((node.root / "run" / "pid").read_text())
    try:
        assert time.monotonic() - began < 15
        assert told["left"]
        assert "done\n" in told["out"]
    finally:
        os.kill(pid, signal.SIGKILL)


def test_much_output_keeps_its_beginning_and_its_end(node: Node) -> None:
    told = run(node, "seq 3000000; seq 5 >&2", most=1000)
    lines = told["out"].splitlines()
    assert lines[:2] == ["1", "2"]
    assert lines[-1] == "3000000"
    assert f"[... {told['more']} bytes are not shown here ...]" in lines
    assert len(told["out"]) < 1200
    whole = sum(len(str(number)) + 1 for number in range(1, 3_000_001))
    shown = sum(len(line) + 1 for line in lines if not line.startswith("["))
    assert told["more"] == whole - shown
    assert told["err"] == "1\n2\n3\n4\n5\n"


def test_bytes_that_are_no_text_arrive(node: Node) -> None:
    told = run(node, r"printf '\377\000\033[31mred'")
    assert told["out"].encode("utf-8", "surrogateescape") == b"\xff\0\x1b[31mred"


def test_an_end_of_output_is_not_the_end(node: Node) -> None:
    assert run(node, "exec >&- 2>&-; sleep 0.3; exit 7")["exit"] == {"status": 7}


def test_many_instances_run_side_by_side(tmp_path: Path) -> None:
    node = Node(tmp_path)
    names = [f"web{number}" for number in range(1, 11)]
    node.tree.file("config/domain.yaml", json.dumps({"format": 1, "start": "x"}).encode())
    node.das.sync(node.tree, *names)
    items = [{"name": name, "command": "sleep 1; pwd"} for name in names]
    began = time.monotonic()
    reply = ask({**request(node, "x"), "instances": items})
    assert time.monotonic() - began < 8
    assert [item["out"] for item in reply["instances"]] == [f"{tmp_path}/{name}\n" for name in names]


def test_an_instance_that_is_not_there(node: Node) -> None:
    told = run(node, "true", name="web9")
    assert told["verdict"] == "failed"
    assert f"there is no instance at {node.path}/web9" in told["message"]


def test_another_domain_and_a_fenced_das_run_nothing(node: Node) -> None:
    other = ask({**request(node, "touch run/x"), "domain": "another"})["instances"][0]
    assert (other["verdict"], other["reason"]) == ("refused", "another domain")
    node.das.sync(node.tree, epoch=3)
    fenced = ask(request(node, "touch run/x"))["instances"][0]
    assert (fenced["verdict"], fenced["reason"]) == ("refused", "fenced")
    assert not (node.root / "run" / "x").exists()


@pytest.mark.parametrize("command", ["", "  ", "a\0b", "x" * 200_000, "\ud800"])
def test_what_no_shell_takes_is_an_error(node: Node, command: str) -> None:
    reply = ask(request(node, command))
    assert reply["reply"] == "error"
    assert "cannot be given to a shell" in reply["message"]


def test_a_link_that_ends_takes_the_commands_with_it(node: Node) -> None:
    program = "import sys; from dasctl.remote import main; main.main(sys.stdin.buffer, sys.stdout.buffer)"
    helper = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert helper.stdin is not None
    assert helper.stdout is not None
    told = node.root / "run" / "pids"
    script = "sleep 1000 & echo $! >>run/pids; echo $$ >>run/pids; wait"
    helper.stdin.write(frames.encode(request(node, script)))
    until = time.monotonic() + 30
    while not (told.exists() and len(told.read_text().split()) == 2):
        assert time.monotonic() < until
        time.sleep(0.02)
    pids = [int(pid) for pid in told.read_text().split()]
    helper.stdin.close()
    helper.wait(30)
    helper.stdout.close()
    assert not any(lives(pid) for pid in pids)
