"""Servers: real processes, started, judged ready, stopped; through whole conversations."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, Das, Tree, ask, standing, talk

from dasctl.remote import frames, process

SLEEP = "exec sleep 1000"


def definition(start: str = SLEEP, **further: Any) -> bytes:
    return json.dumps(
        {
            "format": 1,
            "domain": {"name": "shop", "id": DOMAIN},
            "instance": {"name": "web1", "cluster": "web", "config": "web-config", "node": "n1", "host": "h"},
            "properties": {"http.port": "8081"},
            "start": start, "env": {"COLOUR": "deep blue", "WHERE": "${instance.dir}/x"},
            "ready": {"kind": "alive", "value": "", "timeout": 20.0},
            "stop": {"kind": "signal", "value": "TERM", "grace": 10.0},
            "reload": None, "restart_on": ["^config/", "^lib/"], **further,
        }
    ).encode()  # fmt: skip


class Node:
    """One instance on a node directory, driven by requests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.das = Das(path)
        self.tree = Tree().file("lib/a.jar", b"one")

    def define(self, start: str = SLEEP, **further: Any) -> None:
        self.tree.file("config/domain.yaml", definition(start, **further))
        self.sync()

    def sync(self) -> None:
        verdict = self.das.one(self.tree)
        assert verdict["verdict"] in ("done", "unchanged"), verdict

    def request(self, op: str, **further: Any) -> bytes:
        item = {
            "name": "web1",
            "expect": standing(self.das.revision),
            "lead": None,
            "config_id": 7,
            **further,
        }
        return frames.encode(
            {
                "op": op,
                "dir": str(self.path),
                "domain": DOMAIN,
                "epoch": 1,
                "probe": True,
                "instances": [item],
            }
        )

    def do(self, op: str, **further: Any) -> dict[str, Any]:
        reply = talk(self.request(op, **further))[-1][0]
        assert "instances" in reply, reply
        return dict(reply["instances"][0])

    def look(self) -> dict[str, Any]:
        return self.do("look")

    @property
    def root(self) -> Path:
        return self.path / "web1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    record = tmp_path / "web1" / ".dasctl" / "process.json"
    if record.exists():
        process.signal_all(json.loads(record.read_text()), signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_start_look_stop(node: Node) -> None:
    node.define('echo "$COLOUR $WHERE $DASCTL_INSTANCE $DASCTL_NODE_DIR $PWD"; umask; exec sleep 1000')
    started = node.do("start")
    assert started["verdict"] == "done", started
    assert node.do("start")["verdict"] == "unchanged"
    seen = node.look()
    assert (seen["state"], seen["pid"], seen["ready"]) == ("running", started["pid"], True)
    assert os.getsid(started["pid"]) == started["pid"]
    assert sorted(os.listdir(f"/proc/{started['pid']}/fd")) == ["0", "1", "2"]
    log = (node.root / "logs" / "server.log").read_text()
    assert log == f"deep blue {node.root}/x web1 {node.path} {node.root}\n0022\n"
    stopped = node.do("stop")
    assert (stopped["verdict"], stopped["how"]) == ("done", "TERM")
    assert node.look()["state"] == "not running"
    assert node.do("stop")["verdict"] == "unchanged"


def test_a_server_that_dies_while_starting_is_told_at_once(node: Node) -> None:
    node.define(
        "for i in $(seq 30); do echo line $i; done; exit 3",
        ready={"kind": "tcp", "value": "1", "timeout": 30},
    )
    began = time.monotonic()
    verdict = node.do("start")
    assert time.monotonic() - began < 10
    assert (verdict["verdict"], verdict["exit"]) == ("failed", {"status": 3})
    assert verdict["log"] == [f"line {number}" for number in range(11, 31)]
    by_hand = subprocess.run(verdict["by_hand"], shell=True, capture_output=True, text=True, check=False)
    assert (by_hand.returncode, by_hand.stdout.splitlines()[-1]) == (3, "line 30")
    seen = node.look()
    assert (seen["state"], seen["exit"]) == ("failed", {"status": 3})


def test_a_server_killed_while_starting(node: Node) -> None:
    node.define("kill -9 $$", ready={"kind": "log", "value": "never", "timeout": 30})
    assert node.do("start")["exit"] == {"signal": 9}


def test_not_ready_in_time(node: Node) -> None:
    node.define(SLEEP, ready={"kind": "log", "value": "never", "timeout": 0.3})
    verdict = node.do("start")
    assert verdict["verdict"] == "failed"
    assert verdict["message"].startswith("not ready within 0.3s; it still runs as pid ")
    assert node.look()["state"] == "starting"
    assert node.do("stop")["verdict"] == "done"


@pytest.mark.parametrize("kind", ["http", "tcp", "log", "command"])
def test_ready_checks(node: Node, kind: str) -> None:
    port = free_port()
    value = {
        "http": f"http://127.0.0.1:{port}/config/", "tcp": f"127.0.0.1:{port}", "log": "^Serving HTTP",
        "command": "test -e run/up",
    }[kind]  # fmt: skip
    node.define(
        f"sleep 0.2; touch run/up; exec {sys.executable} -u -m http.server {port} --bind 127.0.0.1",
        ready={"kind": kind, "value": value, "timeout": 30},
    )
    assert node.do("start")["verdict"] == "done"
    assert node.look()["state"] == "running"
    assert node.do("stop")["verdict"] == "done"


def test_another_process_on_the_port_is_not_taken_for_ours(node: Node) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        node.define(SLEEP, ready={"kind": "tcp", "value": str(port), "timeout": 0.5})
        verdict = node.do("start")
    assert verdict["verdict"] == "failed"
    assert f"another process listens on port {port}" in verdict["message"]


def test_stop_that_needs_force(node: Node) -> None:
    node.define("trap '' TERM; while :; do sleep 0.1; done")
    assert node.do("start")["verdict"] == "done"
    refused = node.do("stop", grace=0.2)
    assert (refused["verdict"], "--kill" in refused["hint"]) == ("failed", True)
    assert node.look()["state"] == "running"
    killed = node.do("stop", grace=0.2, kill=True)
    assert (killed["verdict"], killed["how"]) == ("done", "KILL")
    assert node.look()["state"] == "not running"


def test_a_death_of_its_own_accord_is_a_failure_and_its_children_are_stopped(node: Node) -> None:
    node.define("sleep 1000 & echo child $!; wait")
    pid = node.do("start")["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # the helper is in this process, so the server is our child
    assert node.look()["state"] == "failed"
    child = int((node.root / "logs" / "server.log").read_text().split()[1])
    assert process.stat_of(child) is not None
    assert node.do("stop")["verdict"] == "done"
    assert process.stat_of(child) is None
    assert node.look()["state"] == "not running"


def test_a_reused_pid_and_another_boot_are_not_believed(node: Node) -> None:
    node.define()
    node.do("start")
    path = node.root / ".dasctl" / "process.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "ticks": record["ticks"] - 1}))
    assert node.look()["state"] == "failed"
    assert node.do("stop")["verdict"] == "unchanged"
    assert process.lives(record), "a process that is not ours was signalled"
    path.write_text(json.dumps({**record, "boot": "another"}))
    assert node.look()["state"] == "not running"
    path.write_text(json.dumps(record))
    assert node.do("stop")["verdict"] == "done"


def test_requires_restart_is_exact(node: Node) -> None:
    node.define()
    node.do("start")
    assert node.look()["requires_restart"] is False
    node.tree.file("docroot/page", b"new")
    node.sync()
    assert node.look()["requires_restart"] is False
    node.tree.file("lib/a.jar", b"two", mtime=7)
    node.sync()
    assert node.look()["requires_restart"] is True
    node.tree.file("lib/a.jar", b"one", mtime=9)
    node.sync()
    assert node.look()["requires_restart"] is False
    node.define(stop={"kind": "signal", "value": "TERM", "grace": 5.0})
    assert node.look()["requires_restart"] is False
    node.define(SLEEP + "0")
    assert node.look()["requires_restart"] is True
    node.define()
    assert node.look()["requires_restart"] is False
    (node.root / "lib" / "__cache").write_text("its own")
    assert node.look()["requires_restart"] is False
    node.do("stop")


def test_a_stop_of_what_is_outdated_stops_nothing_else(node: Node) -> None:
    node.define()
    node.do("start")
    left = node.do("stop", outdated=True)
    assert (left["verdict"], left["state"]) == ("unchanged", "running")
    node.tree.file("lib/a.jar", b"two", mtime=7)
    node.sync()
    assert node.do("stop", outdated=True)["verdict"] == "done"
    left = node.do("stop", outdated=True)
    assert (left["verdict"], left["state"]) == ("unchanged", "not running")


def test_a_server_that_ended_by_itself_stays_failed_where_only_what_is_outdated_is_stopped(
    node: Node,
) -> None:
    node.define()
    pid = node.do("start")["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while node.look()["state"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    left = node.do("stop", outdated=True)
    assert (left["verdict"], left["state"]) == ("unchanged", "failed")
    assert node.look()["state"] == "failed"


def test_a_stranger_on_the_port_is_not_taken_for_the_server_later_either(node: Node) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        node.define(SLEEP, ready={"kind": "tcp", "value": address, "timeout": 0.5})
        for _try in range(2):
            failed = node.do("start")
            assert failed["verdict"] == "failed", failed
            assert "another process listens" in failed["message"]
            seen = node.look()
            assert (seen["state"], seen["ready"]) == ("starting", False)
    assert node.do("stop")["verdict"] == "done"


def test_beats_go_out_while_instances_are_opened_and_judged(node: Node) -> None:
    node.define()
    with open(node.root / ".dasctl" / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for op in ("start", "stop", "remove"):
            *events, (reply, _body) = talk(node.request(op))
            assert {"event": "beat"} in [event for event, _body in events], op
            assert "busy" in reply["instances"][0]["message"]


def test_reload(node: Node) -> None:
    node.define(
        "trap 'echo reloaded' HUP; while :; do sleep 0.05; done", reload={"kind": "signal", "value": "HUP"}
    )
    assert node.do("reload")["verdict"] == "unchanged"
    node.do("start")
    assert node.do("reload")["verdict"] == "done"
    log = node.root / "logs" / "server.log"
    deadline = time.monotonic() + 10
    while "reloaded" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "reloaded" in log.read_text()
    assert node.do("remove")["verdict"] == "failed"
    assert node.do("stop")["verdict"] == "done"


def test_remove(node: Node) -> None:
    node.define()
    folder = node.root / "docroot" / "closed"
    folder.mkdir()
    (folder / "x").write_text("x")
    folder.chmod(0o555)
    assert node.do("remove", keep_files=True)["verdict"] == "done"
    assert (node.root / "lib" / "a.jar").exists()
    assert not (node.root / ".dasctl").exists()
    assert node.do("remove", expect=None)["verdict"] == "done"
    assert not node.root.exists()


def test_ping(tmp_path: Path) -> None:
    reply = ask({"op": "ping", "dir": str(tmp_path / "a" / "b"), "domain": DOMAIN})
    assert (reply["reply"], reply["writable"], reply["dir"]) == ("ping", True, str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_text("")
    assert ask({"op": "ping", "dir": str(tmp_path / "a" / "b"), "domain": DOMAIN})["writable"] is False


def test_names_in_proc_stat_may_hold_anything() -> None:
    line = b"7 (a) R (b c) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 0 0"
    found = process.parsed_stat(line)
    assert found is not None
    assert (found.state, found.session, found.ticks) == ("S", 7, 4711)


def test_a_helper_that_is_killed_while_it_starts_leaves_no_unknown_server(node: Node) -> None:
    """Ahead of each change to the disk: afterwards either no server runs, or one that is known."""
    node.define("echo here; exec sleep 1000")
    number = 0
    finished = False
    while not finished:
        number += 1
        count = 0

        def before(operation: str) -> None:
            nonlocal count
            count += 1
            if count == number:  # noqa: B023
                os._exit(42)

        pid = os.fork()
        if pid == 0:
            try:
                talk(node.request("start", wait=False), before=before)
            finally:
                os._exit(0)
        finished = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        log = node.root / "logs" / "server.log"
        time.sleep(0.1)
        started = log.exists() and "here" in log.read_text()
        assert started == finished
        assert (node.look()["state"] in ("running", "starting")) == finished
    assert number > 2
    assert node.do("stop")["verdict"] == "done"


def test_the_other_end_goes_while_a_start_is_awaited(node: Node) -> None:
    node.define(SLEEP, ready={"kind": "log", "value": "never", "timeout": 60})
    program = "import sys; from dasctl.remote import main; main.main(sys.stdin.buffer, sys.stdout.buffer)"
    helper = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert helper.stdin is not None and helper.stdout is not None
    helper.stdin.write(node.request("start"))
    helper.stdin.flush()
    while b"starting" not in helper.stdout.readline():
        pass
    _out, err = helper.communicate(timeout=30)
    assert (helper.returncode, err) == (0, b"")
    assert node.look()["state"] == "starting"
    assert node.do("stop")["verdict"] == "done"
