"""`dump`: what is told of servers that run, misbehave or are dead; real processes, sockets and files."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, ask
from tests.remote.test_servers import Node, free_port

from dasctl.remote import proc, process

SERVER = """\
import os, socket, subprocess, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
child = subprocess.Popen(["sleep", "1000"])
kept = [open("lib/a.jar") for _ in range(20)]
print("serving", flush=True)
talking, _ = listener.accept()
time.sleep(1000)
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    record = tmp_path / "web1" / ".dasctl" / "process.json"
    if record.exists():
        process.signal_all(json.loads(record.read_text()), signal.SIGKILL)


def dump(node: Node, **further: Any) -> dict[str, Any]:
    item = {"name": "web1", "command": None, "timeout": 30, "lines": 3, **further}
    header = {"op": "dump", "dir": str(node.path), "domain": DOMAIN, "epoch": 1, "instances": [item]}
    reply = ask(header)
    assert "instances" in reply, reply
    return {**reply["instances"][0], "machine": reply["node"]}


def test_a_server_that_runs(node: Node) -> None:
    port = free_port()
    node.tree.file("lib/server.py", SERVER.encode())
    node.define(
        f"{sys.executable} lib/server.py {port}; true", env={"SECRET": "do not tell"},
        ready={"kind": "tcp", "value": str(port), "timeout": 60},
    )  # fmt: skip
    pid = node.do("start")["pid"]
    with socket.create_connection(("127.0.0.1", port)):
        told = dump(node, command="echo of $DASCTL_PID; echo err >&2; exit 4")
    assert (told["verdict"], told["state"], told["troubles"]) == ("done", "running", [])
    shell, server, child = told["processes"]
    assert (shell["pid"], server["ppid"], child["ppid"]) == (pid, pid, server["pid"])
    assert child["command"] == "sleep 1000"
    assert 1 << 20 < server["rss"] < 1 << 30
    assert abs(server["since"] - time.time()) < 120
    assert not any(row["stray"] for row in told["processes"])
    # It has accepted the ready check, which is gone, and nobody since.
    assert told["listening"] == [["127.0.0.1", port, server["pid"], 1]]
    assert told["peers"] == [["127.0.0.1", "close-wait", 1]]
    files = next(row for row in told["files"] if row["pid"] == server["pid"])
    assert files["count"] >= 23
    assert files["limit"] > files["count"]
    assert sum(target == f"{node.root}/lib/a.jar" for _, target in files["open"]) == 20
    assert {"SECRET", "DASCTL_INSTANCE"} <= {*told["environment"]}
    assert "do not tell" not in json.dumps(told)
    assert any(row["name"] == "Max open files" for row in told["limits"])
    assert told["log"] == ["serving"]
    assert told["command"]["out"] == f"of {pid}\n"
    assert (told["command"]["err"], told["command"]["exit"]) == ("err\n", {"status": 4})
    assert told["deviations"] == []
    assert told["at"]["revision"] == node.das.revision


def test_the_machine(node: Node) -> None:
    node.define()
    machine = dump(node)["machine"]
    assert abs(machine["time"] - time.time()) < 60
    assert 0 < machine["memory"]["available"] <= machine["memory"]["total"]
    assert 0 <= machine["disk"]["free"] <= machine["disk"]["size"]
    assert len(machine["load"]) == 3


def test_a_server_that_is_dead_and_what_it_left_behind(node: Node) -> None:
    node.define("sleep 1000 & echo $! >run/left; echo last words; exec sleep 1000")
    pid = node.do("start")["pid"]
    left = int((node.root / "run" / "left").read_text())
    try:
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while process.stat_of(pid) is not None:
            assert time.monotonic() < until
            time.sleep(0.01)
        (node.root / "lib" / "a.jar").write_text("edited")
        (node.root / "lib" / "extra").write_text("extra")
        told = dump(node, command="echo $DASCTL_PID.")
        assert told["state"] == "failed"
        assert [row["pid"] for row in told["processes"]] == [left]
        assert told["log"][-1] == "last words"
        assert told["command"]["out"] == ".\n"
        kinds = {row["path"]: row["kind"] for row in told["deviations"]}
        assert kinds == {"lib/a.jar": "changed", "lib/extra": "extra"}
    finally:
        os.kill(left, signal.SIGKILL)


def test_a_process_that_nobody_started_as_a_server_is_a_stray(node: Node) -> None:
    node.define()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {"DASCTL_INSTANCE_DIR": str(node.root)})
    try:
        until = time.monotonic() + 10
        while not (rows := dump(node)["processes"]):
            assert time.monotonic() < until
        assert [(row["pid"], row["stray"]) for row in rows] == [(pid, True)]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_what_cannot_be_looked_at_is_told_and_the_rest_all_the_same(node: Node) -> None:
    node.define()
    (node.root / "config" / "domain.yaml").write_text("no longer what it was")
    (node.root / ".dasctl" / "process.json").write_text('{"pid": 99999999, "ticks": 1, "boot": "another"}')
    told = dump(node, command="true")
    assert told["verdict"] == "done"
    assert told["state"] == "not running"
    assert any("dump command" in trouble for trouble in told["troubles"])
    assert told["deviations"] == [{"path": "config/domain.yaml", "kind": "changed"}]


def test_a_dump_command_that_hangs_is_ended(node: Node) -> None:
    node.define()
    began = time.monotonic()
    told = dump(node, command="echo begun; sleep 1000", timeout=0.3)
    assert time.monotonic() - began < 20
    assert (told["command"]["late"], told["command"]["out"]) == (True, "begun\n")


def test_an_instance_that_is_not_there(node: Node) -> None:
    told = dump(node, name="web9")
    assert told["verdict"] == "failed"
    assert "there is no instance" in told["message"]


@pytest.mark.parametrize(
    ("field", "address"),
    [
        (b"0100007F:1F90", ["127.0.0.1", 8080]),
        (b"00000000000000000000000001000000:0016", ["::1", 22]),
        (b"0000000000000000FFFF00000100007F:0050", ["127.0.0.1", 80]),
    ],
)
def test_addresses_of_the_kernel(field: bytes, address: list[Any]) -> None:
    assert proc._address(field) == address
