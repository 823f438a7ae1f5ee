"""Nodes on the embedded server, `serve-ssh` as a process of its own: nothing of a session stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import DASCTL, Cluster
from tests.system.ssh_domain import nodes_domain, reaches
from tests.system.sshd import SshSetting, free_port

LIMIT_S = 60.0


@pytest.fixture
def served(tmp_path: Path, ssh: SshSetting) -> Iterator[tuple[Cluster, subprocess.Popen[str]]]:
    """A domain of three nodes on one `serve-ssh`, and its process."""
    port, keys = free_port(), tmp_path / "authorized_keys"
    keys.write_text(ssh.public)
    words = ("--dir", str(tmp_path / "node"), "--authorized-keys", str(keys), "--port", str(port))
    (tmp_path / "node").mkdir()
    process = subprocess.Popen(
        [*DASCTL, "serve-ssh", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    try:
        assert "ready" in process.stdout.readline()
        entry = {"host": "127.0.0.1", "port": port, "key": str(ssh.key)}
        nodes = {f"n{number}": {**entry, "dir": f"{tmp_path}/node/das{number}"} for number in range(1, 4)}
        cluster = nodes_domain(tmp_path, ssh, nodes)
        cluster.json("update-node-ssh", "n1", "--accept-host-key")
        yield cluster, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(text) for text in task.read_text().split()]
    return found


def quiet(pid: int, files: int) -> bool:
    """Whether the process comes back to no children and no more open files than it had."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if not children(pid) and len(os.listdir(f"/proc/{pid}/fd")) <= files:
            return True
        time.sleep(0.05)
    return False


def test_sessions_clean_up(served: tuple[Cluster, subprocess.Popen[str]]) -> None:
    cluster, process = served
    reaches(cluster)
    assert quiet(process.pid, 1000)
    files = len(os.listdir(f"/proc/{process.pid}/fd"))
    for _ in range(3):
        reaches(cluster)
    assert quiet(process.pid, files)


def test_a_killed_client_leaves_no_helper(served: tuple[Cluster, subprocess.Popen[str]]) -> None:
    cluster, process = served
    reaches(cluster)
    assert quiet(process.pid, 1000)
    files = len(os.listdir(f"/proc/{process.pid}/fd"))
    for _ in range(5):
        client = cluster.start("ping-node-ssh")
        deadline = time.monotonic() + LIMIT_S
        while not children(process.pid) and client.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        client.send_signal(signal.SIGKILL)
        client.communicate(timeout=LIMIT_S)
    assert quiet(process.pid, files)


def test_ends_with_its_sessions(served: tuple[Cluster, subprocess.Popen[str]]) -> None:
    cluster, process = served
    reaches(cluster)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LIMIT_S) == 0
